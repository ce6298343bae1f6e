"""Asking the zygote to do what `start` does, in the `start` process. Lean."""

import _socket
import os
import sys

from pelagos_core.shim.zygote_request import DONE, REFUSED, Request

SECONDS = 1.0  # for an answer; a fork takes milliseconds, and all starts of a node wait for ours
_MAX_ANSWER = 4096

# What came of it.
STARTED = "started"
ABSENT = "absent"
FAILED = "failed"  # it is there, and does not answer, or is stale
DECLINED = "declined"  # it is well, and this must be done without it


class Question:
    """The `start` of a request, in a directory, which the zygote at `path` has been sent.

    An answer that comes too late does no harm: whatever is made then has its place under the lock that we take.
    """

    __slots__ = ("_failed", "_zygote")

    def __init__(self, path: str, request: Request, directory: str = ".") -> None:
        self._failed = ""
        self._zygote = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self._zygote.settimeout(SECONDS)
        try:
            self._send(path, request, directory)
        except (FileNotFoundError, ConnectionRefusedError):
            self._failed = ABSENT
        except OSError:
            self._failed = FAILED

    def _send(self, path: str, request: Request, directory: str) -> None:
        bundle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._zygote.connect(path)
            if peer_uid(self._zygote) != os.geteuid():
                raise PermissionError
            packed = bundle.to_bytes(4, sys.byteorder)
            self._zygote.sendmsg([request.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
        finally:
            os.close(bundle)

    def answer(self) -> "tuple[str, bytes]":
        """Wait for the answer, once: STARTED and what is to be printed, or another outcome and nothing."""
        try:
            return (self._failed, b"") if self._failed else _outcome(self._zygote.recv(_MAX_ANSWER))
        except OSError:
            return FAILED, b""
        finally:
            self._zygote.close()


def ask(path: str, request: Request, directory: str = ".") -> "tuple[str, bytes]":
    """Ask and wait for the answer: what came of it."""
    return Question(path, request, directory).answer()


def _outcome(answer: bytes) -> "tuple[str, bytes]":
    if answer[:1] == DONE and answer[1:].startswith(b"unix://"):
        return STARTED, answer[1:]
    return DECLINED if answer == REFUSED else FAILED, b""


def peer_uid(sock: "_socket.socket") -> int:
    """The user at the other end of a Unix socket (unix(7), SO_PEERCRED: pid, uid, gid)."""
    return int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8], sys.byteorder)


def shim_oom_score_adj(own: str) -> int:
    """containerd's convention: a shim dies one step before containerd, whose score `start` has.

    own: the text of /proc/PID/oom_score_adj of that `start`.
    """
    return min(int(own or 0) + 1, 1000)


def set_oom_score_adj(score: int) -> None:
    """Set our own, if the kernel lets us: lowering it needs CAP_SYS_RESOURCE, which containers lack."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except OSError:
        pass
