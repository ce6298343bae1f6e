"""Asking the zygote for a daemon, in the `start` process. Lean."""

import _socket
import os
import sys

from pelagos_core.shim.zygote_request import ACK, GO, Request, read

SECONDS = 1.0  # for an answer; a fork takes milliseconds, and all starts of a node wait for ours

# What came of it.
STARTED = "started"
ABSENT = "absent"
FAILED = "failed"  # it is there, and did not, or will not, do it


def ask(path: str, request: Request, fds: "tuple[int, int]") -> str:
    """Have the zygote at `path` fork a daemon; say what came of it.

    fds: the daemon's listener and its log. Unless the outcome is STARTED no daemon will
    come of it, also not later, but a zygote that hangs may hold copies of the descriptors.
    """
    data = request.encode()
    zygote = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    zygote.settimeout(SECONDS)
    try:
        zygote.connect(path)
        if peer_uid(zygote) != os.geteuid():
            return FAILED
        packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
        zygote.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
        if zygote.recv(1) != ACK:
            return FAILED
        zygote.send(GO)
    except (FileNotFoundError, ConnectionRefusedError):
        return ABSENT
    except OSError:
        return FAILED
    finally:
        zygote.close()
    return STARTED


def peer_uid(sock: "_socket.socket") -> int:
    """The user at the other end of a Unix socket (unix(7), SO_PEERCRED: pid, uid, gid)."""
    return int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8], sys.byteorder)


def inheritance(request: Request) -> Request:
    """Complete a request with what a program that we start would inherit."""
    umask = os.umask(0o077)
    os.umask(umask)
    request.umask = umask
    request.oom_score_adj = shim_oom_score_adj()
    request.cgroups = read("/proc/self/cgroup")
    request.limits = read("/proc/self/limits")
    return request


def shim_oom_score_adj() -> int:
    """containerd's convention: a shim dies one step before containerd, whose score is ours."""
    return min(int(read("/proc/self/oom_score_adj") or 0) + 1, 1000)


def set_oom_score_adj(score: int) -> None:
    """Set our own, if the kernel lets us: lowering it needs CAP_SYS_RESOURCE, which containers lack."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except OSError:
        pass
