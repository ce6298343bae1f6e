"""The zygote's loop, with a daemon that reports its attributes."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from pelagos_core.shim import zygote_client, zygote_request
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.unix_socket import Lock, is_served
from pelagos_core.shim.zygote_request import DONE, REFUSED, STALE, own_request
from pelagos_core.zygote.server import Zygote
from tests.support.containerd import until


class Fresh:
    """Instead of the installed packages: stale when a test says so."""

    def __init__(self, flag):
        self._flag = flag

    def is_stale(self):
        return os.path.exists(self._flag)


def daemon(words, listener):
    """Send every client our attributes, until one ends this."""
    while True:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(ConnectionError):  # some only check whether a process listens
            umask = os.umask(0)
            os.umask(umask)
            told = {
                "words": words,
                "environment": dict(os.environ),
                "umask": umask,
                "parent": os.getppid(),
                "leads its group": os.getpgid(0) == os.getpid(),
                "handlers": [signal.getsignal(number) == signal.SIG_DFL for number in (1, 2, 15, 17)],
                "sockets": len([fd for fd in range(64) if is_socket(fd)]),
            }
            peer.send(json.dumps(told).encode())
            if peer.recv(10) == b"enough":
                return


def is_socket(fd):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return False


class Place:
    """A directory with a zygote, in a child of ours, and what `start` does there."""

    def __init__(self, directory):
        self.directory = directory
        self.path = f"{directory}/z/{'0' * 64}"
        self.stale = f"{directory}/stale"
        self.children = []

    def zygote(self, *, replace=False, idle=60.0, ended_daemon=False):
        """Fork one. ended_daemon: it has a daemon that has ended before it serves."""
        before = inode(self.path)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if ended_daemon:
                    child = os.fork() or os._exit(0)
                    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
                made = Zygote(self.path, Fresh(self.stale), daemon)
                code = 0 if made.listen(replace=replace) else 9
                if code == 0:
                    made.serve(idle)
            finally:
                os._exit(code)
        self.children.append(pid)
        while not ended(pid) and inode(self.path) in (0, before):
            time.sleep(0.002)
        return pid

    def socket(self, name="pod"):
        return socket_path("/c.sock", "test", name, {"PELAGOS_SOCKET_DIR": f"{self.directory}/s"})

    def bundle(self, name="pod"):
        path = Path(self.directory, name)
        path.mkdir(exist_ok=True)
        return path

    def request(self, name="pod", *words, **environment):
        """What a `start` of this process would ask."""
        made = own_request(["-namespace", "test", "-id", name, "-address", "/c.sock", *(words or ["start"])])
        made.environment = {"PELAGOS_SOCKET_DIR": f"{self.directory}/s", **environment}
        return made

    def ask(self, name="pod", **environment):
        """What came of it, and the path of the daemon's socket."""
        outcome, address = zygote_client.ask(self.path, self.request(name, **environment), str(self.bundle(name)))
        if outcome == zygote_client.STARTED:
            assert address == f"unix://{self.socket(name)}".encode()
            assert (self.bundle(name) / "address").read_bytes() == address
        return outcome, self.socket(name)

    def words(self, name):
        """A daemon's command line."""
        words = ["containerd-shim-wasm-v1", "-namespace", "test", "-id", name, "-address", "/c.sock"]
        return [*words, "-socket", self.socket(name)]

    @contextlib.contextmanager
    def asked(self, *words, name="pod"):
        """A request that was sent, by a process that has not yet read the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(5)
            sock.connect(self.path)
            fd = os.open(self.bundle(name), os.O_PATH)
            socket.send_fds(sock, [self.request(name, *words).encode()], [fd])
            os.close(fd)
            yield sock

    def close(self):
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for path in Path(self.directory, "s").glob("*"):
            with contextlib.suppress(OSError):
                told(str(path))
        shutil.rmtree(self.directory)


@pytest.fixture
def place(monkeypatch):
    # A fork of the process of all tests may take longer than the second that a client waits for its answer.
    monkeypatch.setattr(zygote_client, "SECONDS", 30.0)
    made = Place(tempfile.mkdtemp(prefix="pelagos-"))
    yield made
    made.close()


def inode(path):
    return os.stat(path).st_ino if os.path.exists(path) else 0


def ended(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def told(path, word=b"enough"):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(path)
        answer = json.loads(sock.recv(65536))
        sock.send(word)
        return answer


def gone(path):
    deadline = time.monotonic() + 5
    while is_served(path):
        assert time.monotonic() < deadline, f"{path} is still served"
        time.sleep(0.002)


def test_a_daemon_is_what_start_would_have_started(place):
    zygote = place.zygote()
    outcome, path = place.ask(PATH="/bin", TTRPC_ADDRESS="/c.ttrpc")
    assert outcome == zygote_client.STARTED
    umask = os.umask(0)
    os.umask(umask)
    assert told(path) == {
        "words": place.words("pod"),
        "environment": {"PELAGOS_SOCKET_DIR": f"{place.directory}/s", "PATH": "/bin", "TTRPC_ADDRESS": "/c.ttrpc"},
        "umask": umask,
        "parent": zygote,
        "leads its group": True,
        "handlers": [True] * 4,
        "sockets": 2,  # its listener, and the one that is asking
    }
    gone(path)


def test_each_request_is_a_daemon_of_its_own(place):
    place.zygote()
    paths = [place.ask(f"pod{number}")[1] for number in range(3)]
    assert [told(path)["words"] for path in paths] == [place.words(f"pod{number}") for number in range(3)]


def test_where_there_is_none_it_is_absent(place):
    assert place.ask()[0] == zygote_client.ABSENT
    pid = place.zygote()
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
    assert os.path.exists(place.path)
    assert place.ask()[0] == zygote_client.ABSENT


def test_one_that_hangs_fails_and_what_it_makes_when_it_wakes_can_be_used(place, monkeypatch):
    monkeypatch.setattr(zygote_client, "SECONDS", 0.1)
    pid = place.zygote()
    os.kill(pid, signal.SIGSTOP)
    outcome, path = place.ask()
    assert outcome == zygote_client.FAILED
    os.kill(pid, signal.SIGCONT)
    monkeypatch.setattr(zygote_client, "SECONDS", 30.0)
    assert place.ask("other")[0] == zygote_client.STARTED  # after the first one, which is done with
    # Another `start` of the pod may have seen its socket.
    assert place.ask() == (zygote_client.STARTED, path)
    assert told(path)["words"] == place.words("pod")


def test_a_group_that_is_served_is_answered_without_a_fork_and_by_a_stale_one_too(place):
    place.zygote()
    path = place.ask()[1]
    Path(place.stale).touch()
    (place.bundle() / "address").unlink()
    assert place.ask() == (zygote_client.STARTED, path)
    assert told(path)["words"] == place.words("pod")


def test_two_starts_of_a_group_at_once_have_one_daemon(place):
    place.zygote()
    with contextlib.ExitStack() as stack:
        answers = [stack.enter_context(place.asked()) for _ in range(8)]
        assert {sock.recv(200) for sock in answers} == {DONE + f"unix://{place.socket()}".encode()}
    told(place.socket())
    gone(place.socket())


def test_no_lock_is_left_to_a_daemon(place):
    place.zygote()
    with place.asked() as sock:
        assert sock.recv(200)[:1] == DONE
        fd = os.open(f"{place.directory}/s", os.O_RDONLY)
        until(lambda: _locked(fd))
        os.close(fd)


def _locked(fd):
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def test_a_held_lock_makes_one_start_wait_and_no_other(place):
    """Another `start` holds the lock of the sockets' directory, and what serves a further pod is there already."""
    place.zygote()
    assert place.ask("served")[0] == zygote_client.STARTED
    with Lock(place.socket()), place.asked(name="waits") as waits:
        assert place.ask("served")[0] == zygote_client.STARTED
        waits.settimeout(0.1)
        with pytest.raises(TimeoutError):
            waits.recv(1)
    # Its client has gone. The daemon takes its place nevertheless: a later `start` of the pod finds it.
    until(lambda: is_served(place.socket("waits")))
    assert told(place.socket("waits"))["words"] == place.words("waits")
    gone(place.socket("waits"))


@pytest.mark.parametrize(
    "words", [["-id", "../x", "start"], ["-namespace", "a/b", "start"], ["-moon"], ["fly"], ["-v"], ["-info"], ["-id"]]
)
def test_what_is_not_its_own_to_answer_is_refused(place, words):
    place.zygote()
    with place.asked(*words) as sock:
        assert sock.recv(10) == REFUSED
    assert place.ask()[0] == zygote_client.STARTED


def test_a_bundle_that_cannot_be_written_to_is_refused_and_leaves_no_daemon(place):
    place.zygote()
    (place.bundle() / "address").mkdir()
    assert place.ask()[0] == zygote_client.DECLINED
    assert not os.path.exists(place.socket())


def test_a_stale_one_says_so_and_gives_its_place_up(place):
    pid = place.zygote()
    Path(place.stale).touch()
    with place.asked() as sock:
        assert sock.recv(1) == STALE
    assert exit_code(pid) == 0
    assert not os.path.exists(place.path)
    assert not os.path.exists(place.socket())


def test_there_is_one_at_a_time_unless_it_does_not_answer(place):
    first = place.zygote()
    assert exit_code(place.zygote()) == 9
    os.kill(first, signal.SIGSTOP)
    second = place.zygote(replace=True)
    assert told(place.ask("one")[1])["parent"] == second
    # At SIGTERM it leaves the socket to the process that has it.
    os.kill(first, signal.SIGTERM)
    os.kill(first, signal.SIGCONT)
    assert exit_code(first) == 0
    assert told(place.ask("other")[1])["parent"] == second


def test_one_that_was_replaced_ends_after_its_next_request(place):
    first = place.zygote()
    os.kill(first, signal.SIGSTOP)
    with place.asked() as sock:
        place.zygote(replace=True)
        os.kill(first, signal.SIGCONT)
        assert sock.recv(1) == DONE
    assert exit_code(first) == 0
    assert os.path.exists(place.path)


def test_an_unused_one_ends_after_its_daemons(place):
    pid = place.zygote(idle=0.05)
    _, path = place.ask()
    time.sleep(0.2)
    assert not ended(pid)
    told(path)
    assert exit_code(pid) == 0
    assert os.listdir(os.path.dirname(place.path)) == []


def test_a_first_daemon_that_has_ended_already_does_not_keep_it(place):
    zygote = place.zygote(idle=0.05, ended_daemon=True)
    assert exit_code(zygote) == 0


def test_a_signal_ends_it_and_its_daemons_go_on(place):
    pid = place.zygote()
    _, path = place.ask()
    os.kill(pid, signal.SIGTERM)
    assert exit_code(pid) == 0
    assert not os.path.exists(place.path)
    assert told(path)["words"] == place.words("pod")


@pytest.mark.parametrize("datagram", [b"x", b"\0" * 1000, b"\xff" * (zygote_request.MAX_BYTES + 10)])
@pytest.mark.parametrize("fds", [[], [2], [2, 2]])
def test_nonsense_is_passed_over(place, datagram, fds):
    place.zygote()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        sock.connect(place.path)
        socket.send_fds(sock, [datagram], fds)
        assert sock.recv(10) == b""
    assert told(place.ask()[1])["words"] == place.words("pod")


def test_a_directory_that_others_can_write_to_is_no_place(place):
    os.makedirs(os.path.dirname(place.path))
    os.chmod(os.path.dirname(place.path), 0o777)
    with pytest.raises(PermissionError, match="can be written by others"):
        Zygote(place.path, Fresh(place.stale), daemon).listen(replace=False)
    assert os.listdir(os.path.dirname(place.path)) == []


@pytest.mark.root
def test_another_user_is_not_heard(place):
    place.zygote()
    for path in (place.directory, os.path.dirname(place.path), place.path):
        os.chmod(path, 0o777)
    request = place.request()
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.connect(place.path)
            try:
                socket.send_fds(sock, [request.encode()], [2])
                os._exit(len(sock.recv(1)))
            except (BrokenPipeError, ConnectionResetError):  # closed before it was sent, or read
                os._exit(0)
    assert exit_code(pid) == 0
    assert not os.path.exists(place.socket())


@pytest.mark.root
def test_a_stranger_in_its_place_is_not_asked(place):
    os.makedirs(os.path.dirname(place.path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.bind(place.path)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setresuid(65534, 65534, 65534)
            stranger.listen()
            os.write(writer, b"x")
            time.sleep(60)
        place.children.append(pid)
        os.read(reader, 1)  # a bound socket looks served before a process listens
        os.close(reader)
        os.close(writer)
        assert place.ask()[0] == zygote_client.FAILED
