"""What a process becomes, each step in a child."""

import os
import resource
import signal

import pytest

from pelagos_core.errors import Internal, InvalidArgument, PermissionDenied
from pelagos_core.isolation.identity import (
    AllowRlimits,
    BecomeUser,
    DieWithShim,
    EnterWorkingDirectory,
    ForbidNewPrivileges,
    NewSession,
    NewSessionKeyring,
    RestoreSignals,
    SetIoPriority,
    SetOomScore,
    SetPersonality,
    SetRlimits,
    SetScheduler,
)
from pelagos_core.linux import capabilities, syscalls
from pelagos_core.oci import Capabilities, IoPriority, Rlimit, Scheduler, User
from tests.support.child import in_child
from tests.support.steps import keep_capabilities, take

PR_GET_NO_NEW_PRIVS = 39
PR_GET_KEEPCAPS = 7
SETS = Capabilities(
    bounding=frozenset({"CAP_KILL", "CAP_CHOWN"}),
    effective=frozenset({"CAP_KILL"}),
    permitted=frozenset({"CAP_KILL", "CAP_CHOWN"}),
    inheritable=frozenset({"CAP_KILL"}),
    ambient=frozenset({"CAP_KILL"}),
)


def status():
    with open("/proc/self/status", "rb") as file:
        return dict(line.decode().split(":", 1) for line in file)


def status_after(user, sets):
    def become():
        take(BecomeUser(user, sets), ForbidNewPrivileges())
        return status()

    return in_child(become)


@pytest.mark.root
@pytest.mark.parametrize("user", [User(), User(1000, 2000, (3000, 4000), 0o077)])
def test_a_process_has_what_the_spec_says_and_no_more(user):
    status = status_after(user, SETS)
    sets = {name: int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")}
    assert sets == {"CapBnd": 0x21, "CapEff": 0x20, "CapPrm": 0x21, "CapInh": 0x20, "CapAmb": 0x20}
    assert status["Uid"].split() == [str(user.uid)] * 4
    assert status["Gid"].split() == [str(user.gid)] * 4
    assert status["Groups"].split() == [str(gid) for gid in user.additional_gids]
    assert int(status["Umask"], 8) == (0o022 if user.umask is None else user.umask)
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.root
def test_without_a_word_there_is_no_capability_at_all():
    status = status_after(User(), Capabilities())
    assert {int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}


@pytest.mark.root
def test_what_the_machine_itself_lacks_is_left_out():
    only = capabilities.mask(["CAP_CHOWN"])

    def become():
        keep_capabilities(only | capabilities.mask(["CAP_SETPCAP"]))  # which the bounding set needs
        take(BecomeUser(User(), SETS))
        return int(status()["CapPrm"], 16)

    assert in_child(become) == only


@pytest.mark.root
def test_a_bounding_set_that_may_not_be_limited_is_an_error():
    def become():
        keep_capabilities(0)
        take(BecomeUser(User(), SETS))

    with pytest.raises(Internal, match="become user 0:0: Operation not permitted"):
        in_child(become)


def test_an_unknown_capability_is_refused_by_name():
    with pytest.raises(InvalidArgument, match="unknown capability 'CAP_FLY'"):
        in_child(lambda: take(BecomeUser(User(), Capabilities(bounding=frozenset({"CAP_FLY"})))))


@pytest.mark.root
@pytest.mark.parametrize("user", [User(), User(1000, 2000, (3000,), 0o077), User(1000, 0, (), 0)])
def test_the_identity_is_changed_for_good(user):
    def run():
        take(BecomeUser(user, Capabilities()))
        groups = os.getgroups()
        try:
            os.setresuid(0 if user.uid else 1, 0, 0)
        except PermissionError:
            back = False
        else:
            back = True
        return os.getresuid(), os.getresgid(), groups, os.umask(0), back, syscalls.prctl(PR_GET_KEEPCAPS)

    umask = 0o022 if user.umask is None else user.umask
    ids = ((user.uid,) * 3, (user.gid,) * 3, list(user.additional_gids), umask, False, 0)
    assert in_child(run) == ids


@pytest.mark.root
def test_the_supplementary_groups_of_before_are_dropped():
    def run():
        os.setgroups([4, 24])
        take(BecomeUser(User(1000, 1000), Capabilities()))
        return os.getgroups()

    assert in_child(run) == []


@pytest.mark.root
@pytest.mark.parametrize("gids", [(), (5,)])
def test_where_setgroups_is_denied_only_a_user_without_groups_can_be(gids):
    def run():
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        take(BecomeUser(User(additional_gids=gids), Capabilities()))
        return os.getuid()

    if gids:
        with pytest.raises(Internal, match="Operation not permitted"):
            in_child(run)
    else:
        assert in_child(run) == 0


def test_no_new_privileges_stays_set():
    def run():
        take(ForbidNewPrivileges())
        return syscalls.prctl(PR_GET_NO_NEW_PRIVS)

    assert syscalls.prctl(PR_GET_NO_NEW_PRIVS) == 0
    assert in_child(run) == 1


@pytest.mark.root
@pytest.mark.parametrize("user", [None, User(1000, 1000)])
def test_a_process_dies_with_its_parent_also_when_it_has_become_another_user(user):
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            take(DieWithShim())
            if user:
                take(BecomeUser(user, Capabilities()), DieWithShim())
            os.write(writer, b"x")
        signal.pause()
    os.close(writer)
    with os.fdopen(reader, "rb") as alive:
        assert alive.read(1) == b"x"
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        # The end of the pipe: the grandchild, its last writer, is gone too.
        assert alive.read() == b""


def test_the_daemons_handlers_are_gone():
    def run():
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        take(RestoreSignals())
        return int(status()["SigCgt"], 16), int(status()["SigIgn"], 16)

    caught, ignored = in_child(run)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        assert not caught >> (number - 1) & 1
    assert ignored >> (signal.SIGPIPE - 1) & 1


def test_an_interrupt_ends_a_process_that_runs_python():
    pid = os.fork()
    if pid == 0:
        try:
            take(RestoreSignals())
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGINT


def test_a_session_is_led():
    assert in_child(lambda: take(NewSession()) and os.getsid(0) == os.getpid())


def test_limits_are_set():
    def run():
        take(SetRlimits((Rlimit("RLIMIT_NOFILE", 100, 200), Rlimit("RLIMIT_CORE", 0, 0))))
        return resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)

    assert in_child(run) == ((100, 200), (0, 0))


def test_no_limit_is_the_largest_number():
    def run():
        take(SetRlimits((Rlimit("RLIMIT_CPU", 2**64 - 1, 2**64 - 1),)))
        return resource.getrlimit(resource.RLIMIT_CPU)

    assert in_child(run) == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.mark.parametrize("step", [SetRlimits, AllowRlimits])
def test_a_limit_that_may_not_be_raised_is_named(step):
    def run():
        if os.geteuid() == 0:
            os.setresuid(1000, 1000, 1000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        take(step((Rlimit("RLIMIT_CORE", 0, 0), Rlimit("RLIMIT_NOFILE", 100, 200))))

    with pytest.raises(PermissionDenied, match=r"process\.rlimits: RLIMIT_NOFILE 100:200: not allowed to raise"):
        in_child(run)


@pytest.mark.root
@pytest.mark.parametrize(("asked", "hard"), [(150, 200), (300, 300)])
def test_a_hard_limit_is_raised_and_never_lowered_and_the_soft_one_stays(asked, hard):
    def run():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
        take(AllowRlimits((Rlimit("RLIMIT_NOFILE", 50, asked),)))
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    if hard > 200 and not int(status()["CapEff"], 16) & capabilities.mask(["CAP_SYS_RESOURCE"]):
        pytest.skip("this machine may not raise limits")
    assert in_child(run) == (100, hard)


def test_the_oom_score_is_set_and_it_is_no_error_that_it_may_not_be_lowered():
    def score():
        with open("/proc/self/oom_score_adj") as file:
            return int(file.read())

    def run():
        before = score()
        take(SetOomScore(before + 1))
        raised = score()
        if os.geteuid() == 0:
            os.setresuid(1000, 1000, 1000)
        take(SetOomScore(before))  # which needs a capability
        return raised - before

    assert in_child(run) == 1


def test_the_policy_is_set():
    nice = max(5, os.nice(0))  # a user cannot lower it, as in tests under nice(1)

    def run():
        take(SetScheduler(Scheduler("SCHED_BATCH", nice=nice, flags=("SCHED_FLAG_RESET_ON_FORK",))))
        return os.sched_getscheduler(0), os.nice(0)

    assert in_child(run) == (os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, nice)


@pytest.mark.parametrize("scheduler", [Scheduler("SCHED_ISO"), Scheduler("SCHED_DEADLINE", runtime=2**64 - 1)])
def test_a_policy_that_the_kernel_does_not_take_is_an_error(scheduler):
    with pytest.raises(Internal, match=r"process\.scheduler: SCHED_.*: Invalid argument"):
        in_child(lambda: take(SetScheduler(scheduler)))


def test_the_io_priority_is_set():
    def run():
        take(SetIoPriority(IoPriority("IOPRIO_CLASS_BE", 6)))
        return syscalls.libc.syscall(252 if os.uname().machine == "x86_64" else 31, 1, 0)

    assert in_child(run) == 2 << 13 | 6


def test_the_personality_is_set():
    def machine(domain):
        return in_child(lambda: take(SetPersonality(domain)) and os.uname().machine)

    assert machine("LINUX32") != "x86_64"
    assert machine("LINUX") == os.uname().machine


@pytest.mark.root
def test_a_session_keyring_is_a_new_one():
    def run():
        def keyring():
            with open("/proc/keys") as file:
                return [line.split()[0] for line in file if "keyring" in line and "_ses" in line]

        take(NewSessionKeyring())
        before = keyring()
        take(NewSessionKeyring())
        return before, keyring()

    if not os.path.exists("/proc/keys"):
        pytest.skip("this kernel has no keys")
    before, after = in_child(run)
    assert before != after


def test_the_working_directory_is_entered(tmp_path):
    assert in_child(lambda: take(EnterWorkingDirectory(str(tmp_path))) and os.getcwd()) == str(tmp_path)
    with pytest.raises(Internal, match="enter /proc/none: No such file"):
        in_child(lambda: take(EnterWorkingDirectory("/proc/none")))


@pytest.mark.root
def test_a_working_directory_outside_the_root_is_refused(tmp_path):
    def run():
        take()  # the library is loaded from the host's files
        outside = os.open("/", os.O_PATH)
        os.chroot(tmp_path)
        os.fchdir(outside)
        take(EnterWorkingDirectory("."))

    with pytest.raises(Internal, match=r"enter \.: No such file"):
        in_child(run)
