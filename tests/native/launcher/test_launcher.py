"""The compiled launcher: the same as the one in Python, whatever answers it, or nothing does."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pelagos_core.api.task_pb2 import DeleteResponse
from pelagos_core.cli import launcher
from pelagos_core.shim import zygote_request
from pelagos_core.shim.address import socket_path
from pelagos_core.shim.unix_socket import is_served
from tests.support.absent import ABSENT
from tests.support.c_program import NATIVE, sanitized
from tests.support.containerd import until
from tests.support.shim import holder
from tests.support.zygote import end_zygotes, zygotes

SOURCES = [*NATIVE.glob("launcher/*.c"), *NATIVE.glob("common/*.c")]
NAME = launcher.NAMES[0]
FLAGS = ("-namespace", "n", "-address", "/c.sock", "-publish-binary", "/bin/true", "-id", "c1")
PATH_OF_THE_ZYGOTE = launcher.body().partition("from ")[0]
PATH_OF_THE_ZYGOTE += "from pelagos_core.shim.zygote_request import socket_path; print(socket_path())"
FALLBACK = "print('python', *sys.argv[1:])"  # in place of the shim, where only the way is looked at


@pytest.fixture(scope="session", params=["installed", pytest.param("sanitized", marks=pytest.mark.compiler)])
def program(request, tmp_path_factory):
    """The launcher as it is installed, and one that ends at each mistake with memory."""
    path = launcher.compiled()
    assert path, "pelagos-native is not installed: `make run` does it"
    sources = [*NATIVE.glob("launcher/*.[ch]"), *NATIVE.glob("common/*.[ch]")]
    assert path.stat().st_mtime >= max(source.stat().st_mtime for source in sources), "`make run` builds it anew"
    if request.param == "installed":
        return path
    return sanitized(tmp_path_factory.mktemp("sanitized") / "launcher", SOURCES)


class Place:
    """A launcher of each kind, a bundle, and directories for sockets and for a zygote, one of which is ours."""

    def __init__(self, directory, program):
        self.directory = directory
        self.bundle = directory / "b"
        self.bundle.mkdir()
        self.zygotes = directory / "z"
        self.zygotes.mkdir(0o700)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PELAGOS_ZYGOTE": str(self.zygotes),
            "PELAGOS_SOCKET_DIR": f"{directory}/s",
            "ASAN_OPTIONS": "detect_leaks=0",  # it executes another program, or ends
            "AWS_SECRET": "s",
        }
        self._program = program
        self._file("python", launcher.source().encode())

    def install(self, monkeypatch, body=""):
        """Install the compiled one; body: what it executes in place of the shim in Python."""
        monkeypatch.setattr(launcher, "compiled", lambda: self._program)
        if body:
            monkeypatch.setattr(launcher, "body", lambda: body)
        self._file("native", launcher.program())

    def run(self, kind, *words, **options):
        options = {"cwd": self.bundle, "env": self.environment, "capture_output": True, "timeout": 60, **options}
        return subprocess.run([self.directory / kind / NAME, *words], stdin=subprocess.DEVNULL, **options)

    def told(self, kind, *words, **options):
        done = self.run(kind, *words, **options)
        return done.returncode, done.stdout, done.stderr

    def zygote_path(self):
        """Where a program that is started like the launchers looks for a zygote."""
        words = [sys.executable, launcher.FLAGS, "-c", PATH_OF_THE_ZYGOTE]
        return subprocess.check_output(words, env=self.environment, text=True).strip()

    def close(self):
        end_zygotes(str(self.zygotes))
        for path in self.directory.glob("s/*"):
            if is_served(str(path)):
                os.kill(holder(str(path)), signal.SIGKILL)
        shutil.rmtree(self.directory)

    def _file(self, kind, content):
        path = self.directory / kind / NAME
        path.parent.mkdir()
        path.write_bytes(content)
        path.chmod(0o755)


@pytest.fixture
def place(program):
    # pytest's own directories are too long for a socket's path
    made = Place(Path(tempfile.mkdtemp(prefix="pelagos-")), program)
    yield made
    made.close()


@contextlib.contextmanager
def answering(path, *answers, seconds=0.0):
    """A socket in a zygote's place that gives these answers, one for each client; what it was asked."""
    asked = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)

        def serve():
            for answer in answers:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(ConnectionError):
                    datagram, fds, _, _ = socket.recv_fds(peer, zygote_request.MAX_BYTES, 4)
                    asked.append((datagram, [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]))
                    for fd in fds:
                        os.close(fd)
                    time.sleep(seconds)
                    if answer:
                        peer.send(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_both_launchers_ask_the_same_of_the_same(place, monkeypatch, umask):
    place.install(monkeypatch)
    place.environment |= {"TTRPC_ADDRESS": "/c.ttrpc", "PELAGOS_CONFIG": "", "PELAGOS_CACHE_DIR": "/\udcff x"}
    with answering(place.zygote_path(), b"kunix:///a", b"kunix:///a") as asked:
        for kind in ("native", "python"):
            assert place.told(kind, *FLAGS, "-debug", "start", umask=umask) == (0, b"unix:///a", b"")
    (datagram, directories), from_python = asked
    assert (datagram, directories) == from_python
    assert directories == [str(place.bundle)]
    request = zygote_request.decode(datagram)
    assert (request.words, request.umask) == ([*FLAGS, "-debug", "start"], umask)
    assert "AWS_SECRET" not in request.environment
    assert request.environment["PELAGOS_CACHE_DIR"] == "/\udcff x"


def test_an_answer_to_delete_is_printed_as_it_is(place, monkeypatch):
    place.install(monkeypatch, FALLBACK)
    answer = bytes(range(256)) * 10
    with answering(place.zygote_path(), b"k" + answer):
        assert place.told("native", *FLAGS, "-bundle", "/b", "delete") == (0, answer, b"")


@pytest.mark.parametrize(
    "answer",
    [b"", b"k", b"r", b"s", b"x" * 100, b"kgarbage", b"kunix://", b"k" * 4097, b"k" * 100_000, b"\0" * 4096],
    ids=lambda answer: f"{answer[:8]}-{len(answer)}",
)
def test_garbage_makes_it_execute_python(place, monkeypatch, answer):
    place.install(monkeypatch, FALLBACK)
    words = (*FLAGS, "-id", "a b", "", "start")
    with answering(place.zygote_path(), answer):
        assert place.told("native", *words) == (0, f"python {' '.join(words)}\n".encode(), b"")


def test_no_answer_in_a_second_makes_it_execute_python(place, monkeypatch):
    place.install(monkeypatch, FALLBACK)
    before = time.monotonic()
    with answering(place.zygote_path(), b"kunix:///a", seconds=3):
        assert place.run("native", *FLAGS, "start").stdout.startswith(b"python")
        assert 1 <= time.monotonic() - before < 3


def test_a_zygote_that_refuses_makes_it_execute_python(place, monkeypatch):
    place.install(monkeypatch, FALLBACK)
    path = place.zygote_path()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, contextlib.ExitStack() as clients:
        listener.bind(path)
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                client.setblocking(False)
                client.connect(path)
        assert place.run("native", *FLAGS, "start").stdout.startswith(b"python")


def test_what_is_no_zygote_makes_it_execute_python(place, monkeypatch):
    place.install(monkeypatch, FALLBACK)
    path = Path(place.zygote_path())

    def socket_of(kind):
        with socket.socket(socket.AF_UNIX, kind) as listener:
            listener.bind(str(path))  # no process listens

    for make in (
        lambda: None,
        path.touch,
        path.mkdir,
        lambda: os.symlink(ABSENT, path),
        lambda: os.mkfifo(path),
        lambda: socket_of(socket.SOCK_SEQPACKET),
        lambda: socket_of(socket.SOCK_DGRAM),
    ):
        make()
        for action in ("start", "delete"):
            assert place.run("native", *FLAGS, action).stdout.startswith(b"python"), make
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif os.path.lexists(path):
            path.unlink()


@pytest.mark.root
def test_a_stranger_in_its_place_is_not_asked(place, monkeypatch):
    place.install(monkeypatch, FALLBACK)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.bind(place.zygote_path())
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setresuid(65534, 65534, 65534)
            stranger.listen()
            os.write(writer, b"x")
            client, _ = stranger.accept()
            os._exit(len(client.recv(1)))
        os.read(reader, 1)  # a bound socket looks served before a process listens
        os.close(reader)
        os.close(writer)
        assert place.run("native", *FLAGS, "start").stdout.startswith(b"python")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    "words", [[], ["-v"], ["-h"], ["fly"], ["-moon", "start"], ["start", "now"], ["-id", "../x", "start"], ["-id"]]
)
def test_a_command_line_has_the_same_result_in_both(place, monkeypatch, words):
    place.install(monkeypatch)
    place.environment["PELAGOS_ZYGOTE"] = "off"
    assert place.told("native", *words) == place.told("python", *words)


@pytest.mark.parametrize("directory", ["off", "/x" * 60])
def test_where_there_is_to_be_no_zygote_none_is_asked(place, monkeypatch, directory):
    place.install(monkeypatch, FALLBACK)
    place.environment["PELAGOS_ZYGOTE"] = directory
    assert place.run("native", *FLAGS, "start").stdout.startswith(b"python")


@pytest.mark.parametrize("size", [100, 70_000, 120_000])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_what_is_too_large_to_ask_is_pythons(place, monkeypatch, size, count):
    place.install(monkeypatch, "print('python', len(sys.argv))")
    words = ["x" * size] * count
    place.environment["TTRPC_ADDRESS"] = "y" * size
    fits = size * (count + 1) < 100_000
    with answering(place.zygote_path(), *([b"kunix:///a"] if fits else [])):
        told = place.told("native", *words, "start")
    assert told == (0, b"unix:///a" if fits else f"python {count + 2}\n".encode(), b"")


def test_many_words_and_a_long_path_are_pythons(place, monkeypatch):
    place.install(monkeypatch, "print('python', len(sys.argv))")
    assert place.told("native", *["w"] * 60_000, "start") == (0, b"python 60002\n", b"")
    place.environment["PATH"] = f"{os.environ['PATH']}:" + "z" * 100_000
    assert place.told("native", "start") == (0, b"python 2\n", b"")


@pytest.mark.parametrize("action", ["start", "delete"])
def test_a_working_directory_that_is_gone_is_the_same_in_both(place, monkeypatch, action):
    place.install(monkeypatch)
    results = []
    for kind in ("native", "python"):
        (place.bundle / "gone").mkdir()
        words = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", place.directory / kind / NAME, *FLAGS, action]
        done = subprocess.run(words, cwd=place.bundle / "gone", env=place.environment, capture_output=True)
        # A launcher in Python whose path has a space is started by sh(1), which complains itself.
        said = re.sub(rb"sh: 0: getcwd\(\) failed: .*\n", b"", done.stderr)
        results.append((done.returncode, done.stdout, re.sub(rb"[0-9]{3,}", b"PID", said)))
    assert results[0] == results[1]
    assert results[0][0] == 1


def test_closed_streams_are_not_taken_for_a_socket(place, monkeypatch):
    place.install(monkeypatch)
    with answering(place.zygote_path(), b"kunix:///a"):
        words = f"{place.directory}/native/{NAME} {' '.join(FLAGS)} start <&- >&- 2>&-"
        subprocess.run(words, shell=True, cwd=place.bundle, env=place.environment, check=True, timeout=20)


def test_a_reader_that_has_gone_is_a_failure(place, monkeypatch):
    place.install(monkeypatch)
    reader, writer = os.pipe()
    os.close(reader)
    with answering(place.zygote_path(), b"kunix:///a"):
        done = place.run("native", *FLAGS, "start", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, b"Broken pipe" in done.stderr) == (1, True)


def test_one_that_was_never_installed_says_so(place, program):
    done = subprocess.run([program], capture_output=True)
    assert (done.returncode, done.stderr) == (1, b"pelagos: this launcher has no settings: run `pelagos install`\n")


def test_an_interpreter_that_is_gone_is_named(place, monkeypatch):
    monkeypatch.setattr(sys, "executable", f"{ABSENT}/python")
    place.install(monkeypatch)
    code, _, said = place.told("native", "-v")
    assert code == 1
    assert said.endswith(f"{NAME}: {ABSENT}/python: No such file or directory\n".encode())


@pytest.fixture
def warm(place, monkeypatch):
    """A place with a zygote of the product's own, and a launcher that says where it has not been asked."""
    done = place.run("python", "-namespace", "n", "-address", "/c.sock", "-id", "first", "start")
    assert (done.returncode, done.stderr) == (0, b"")
    until(lambda: zygotes(str(place.zygotes)))
    return place


@pytest.mark.root
def test_a_warm_zygote_does_it_all(warm, monkeypatch):
    with monkeypatch.context() as patch:
        warm.install(patch, FALLBACK)
    (warm.bundle / "config.json").write_text('{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}')
    path = socket_path("/c.sock", "n", "pod", warm.environment)
    address = f"unix://{path}".encode()
    for _ in range(2):  # it is made, and found
        assert warm.told("native", *FLAGS, "start") == (0, address, b"")
        assert (warm.bundle / "address").read_bytes() == address
        assert is_served(path)
    assert warm.told("python", *FLAGS, "start") == (0, address, b"")
    answers = []
    for kind in ("native", "python"):
        code, out, err = warm.told(kind, *FLAGS, "-bundle", warm.bundle, "delete")
        answers.append(DeleteResponse.FromString(out))
        assert (code, err, answers[-1].exit_status) == (0, b"", 137)
    assert 0 <= answers[1].exited_at.seconds - answers[0].exited_at.seconds < 60
    (warm.bundle / "pelagos.record").write_text("")
    assert warm.run("native", *FLAGS, "-bundle", warm.bundle, "delete").stdout.startswith(b"python")


@pytest.mark.root
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_hanging_zygote_costs_time_alone(warm, monkeypatch, signum):
    warm.install(monkeypatch)
    (zygote,) = zygotes(str(warm.zygotes))
    os.kill(zygote, signum)
    try:
        code, out, err = warm.told("native", *FLAGS, "start")
        assert (code, err) == (0, b"")
        assert out == f"unix://{socket_path('/c.sock', 'n', 'c1', warm.environment)}".encode()
        assert is_served(out.decode().removeprefix("unix://"))
    finally:
        if signum == signal.SIGSTOP:
            os.kill(zygote, signal.SIGKILL)
