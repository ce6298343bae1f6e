"""System call filters for processes with a WebAssembly engine, which run a guest or compile.

The lists were traced from the engines of this repository with every program of the conformance kit, from the first
byte of a guest on. The calls that WASI's functions need were added. Other calls return ENOSYS, as on an
older kernel: a new release of an engine or of the C library then uses an older call instead. Any other error, or a
killed process, would be an outage.
Calls that no engine needs are attacks by code that has left its sandbox: they kill the process by SIGSYS.
"""

from __future__ import annotations

import errno

from pelagos_core.oci.seccomp import Condition, Rule, Seccomp

_OPEN_FILES = (
    "access close close_range dup dup2 dup3 faccessat faccessat2 fadvise64 fcntl fstat fstatfs ftruncate getcwd "
    "getdents64 lseek lstat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 "
    "read readlink readlinkat readv stat statfs statx write writev"
)
_FILES = (
    "chdir copy_file_range creat fallocate fchdir fchmod fchmodat fdatasync flock fsync link linkat mkdir mkdirat "
    "readahead rename renameat renameat2 rmdir sendfile symlink symlinkat sync_file_range truncate umask unlink "
    "unlinkat utimensat"
)
_MEMORY = (
    "brk madvise membarrier memfd_create mincore mlock mlock2 mmap mprotect mremap msync munlock munmap "
    "pkey_alloc pkey_free pkey_mprotect"
)
_WAITING = (
    "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 poll ppoll pselect6 "
    "select signalfd4 timerfd_create timerfd_gettime timerfd_settime"
)
_SOCKETS = (
    "accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg "
    "sendmsg sendto setsockopt shutdown socketpair"
)
_THREADS = (
    "exit exit_group futex futex_waitv getcpu rseq sched_get_priority_max sched_get_priority_min sched_getaffinity "
    "sched_getparam sched_getscheduler sched_setaffinity sched_yield set_robust_list set_tid_address tgkill"
)
_SIGNALS = (
    "alarm getitimer pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend "
    "rt_sigtimedwait setitimer sigaltstack timer_create timer_delete timer_getoverrun timer_gettime timer_settime"
)
_CLOCKS = "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time"
_ITSELF = (
    "arch_prctl capget getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom getresgid getresuid "
    "getrlimit getrusage getsid gettid getuid landlock_add_rule landlock_create_ruleset landlock_restrict_self "
    "prlimit64 seccomp setrlimit sysinfo times uname wait4 waitid"
)
_PROGRAM = "execve fork vfork"
_ATTACKS = (
    "acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module finit_module fsconfig fsmount fsopen "
    "fspick init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl mount mount_setattr move_mount "
    "move_pages name_to_handle_at open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root "
    "process_vm_readv process_vm_writev ptrace quotactl reboot request_key setdomainname sethostname setns "
    "settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup"
)

_CLONE_THREAD = 0x00010000
_CLONE_NAMESPACES = 0x7E020080  # every CLONE_NEW…
_INET, _INET6, _NETLINK = 2, 10, 16
_SOCK_TYPE, _STREAM, _DGRAM = 0xF, 1, 2
_NETLINK_ROUTE = 0  # used by the C library to list the host's addresses
# FIONREAD FIONBIO FIOCLEX FIONCLEX, and for a terminal: TCGETS TCSETS TCSETSW TCSETSF TIOCGPGRP TIOCGWINSZ
# TIOCNOTTY (to release the terminal at the end)
_IOCTLS = (0x541B, 0x5421, 0x5451, 0x5450, 0x5401, 0x5402, 0x5403, 0x5404, 0x540F, 0x5413, 0x5422)
# PR_SET_PDEATHSIG PR_GET_PDEATHSIG PR_GET_DUMPABLE PR_SET_NAME PR_GET_NAME PR_SET_NO_NEW_PRIVS
# PR_GET_NO_NEW_PRIVS PR_SET_SECCOMP PR_SET_VMA
_PRCTLS = (1, 2, 3, 15, 16, 38, 39, 22, 0x53564D41)


def _allow(names: str, *conditions: Condition) -> Rule:
    return Rule(tuple(names.split()), "ALLOW", 0, conditions)


def _equal(index: int, value: int) -> Condition:
    return Condition(index, value, 0, "EQ")


def _masked(index: int, mask: int, value: int) -> Condition:
    return Condition(index, mask, value, "MASKED_EQ")


def _profile(names: str, *more: Rule) -> Seccomp:
    """The common calls, together with these calls and rules."""
    always = " ".join((_OPEN_FILES, _MEMORY, _WAITING, _THREADS, _SIGNALS, _CLOCKS, _ITSELF, names))
    return Seccomp(
        default_action="ERRNO",
        default_number=errno.ENOSYS,
        rules=(
            _allow(always),
            Rule(tuple(_ATTACKS.split()), "KILL_PROCESS", 0),
            *(_allow("prctl", _equal(0, option)) for option in _PRCTLS),
            *more,
        ),
    )


_RUNNING = f"{_FILES} {_SOCKETS}"
_OUTSIDE = (
    *(_allow("socket", _equal(0, family), _masked(1, _SOCK_TYPE, kind))
      for family in (_INET, _INET6) for kind in (_STREAM, _DGRAM)),
    _allow("socket", _equal(0, _NETLINK), _equal(2, _NETLINK_ROUTE)),
    *(_allow("ioctl", _masked(1, 0xFFFFFFFF, request)) for request in _IOCTLS),
)  # fmt: skip
# clone3(2) has its flags in memory, which a filter cannot read. Without it the C library uses clone(2).
_NEW_THREAD = _allow("clone", _masked(0, _CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD))
_NEW_PROCESS = _allow("clone", _masked(0, _CLONE_NAMESPACES, 0))

EMBEDDED = _profile(_RUNNING, *_OUTSIDE, _NEW_THREAD)
"""For an engine in the init process: it may create threads, but no process."""

PROGRAM = _profile(_RUNNING, *_OUTSIDE, _NEW_PROCESS, _allow(_PROGRAM))
"""For an engine that is a program, started by the init process."""

COMPILER = _profile("", _NEW_THREAD)
"""For an engine that compiles ahead of time: open descriptors, memory and threads only."""

COMPILER_PROGRAM = _profile(_FILES, _NEW_THREAD, _allow("execve"))
"""For a program that compiles ahead of time: also execve(2) and opening files."""

OUTBOUND = Seccomp(
    default_action="ALLOW",
    default_number=0,
    rules=(
        Rule(("bind", "listen", "accept", "accept4"), "ERRNO", errno.EACCES),
        # Both could do the same without being seen by a filter.
        Rule(("io_uring_setup", "socketcall"), "ERRNO", errno.ENOSYS),
    ),
)
"""For a guest that may connect and not listen. A filter sees no addresses, so it refuses bind(2) for UDP too."""
