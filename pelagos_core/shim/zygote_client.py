"""The client of the zygote, in the `start` process. Lean."""

import _socket
import os
import sys

from pelagos_core.shim.zygote_request import DONE, REFUSED, Request

SECONDS = 1.0  # for an answer; a fork takes milliseconds, and the zygote serves one `start` at a time
_MAX_ANSWER = 4096

# Outcomes.
STARTED = "started"
ABSENT = "absent"
FAILED = "failed"  # the zygote does not answer or is stale
DECLINED = "declined"  # the zygote works, but the caller must serve this request


class Question:
    """A `start` request that was sent to the zygote at `path`, for a bundle directory.

    A late answer is harmless: the zygote's fork binds its socket with the same lock as the caller.
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
        """Wait for the answer. Returns STARTED and the bytes to print, or another outcome and none. Call it once."""
        try:
            return (self._failed, b"") if self._failed else _outcome(self._zygote.recv(_MAX_ANSWER))
        except OSError:
            return FAILED, b""
        finally:
            self._zygote.close()


def ask(path: str, request: Request, directory: str = ".") -> "tuple[str, bytes]":
    """Send a `start` request and wait for the answer. Returns as `Question.answer`."""
    return Question(path, request, directory).answer()


def _outcome(answer: bytes) -> "tuple[str, bytes]":
    if answer[:1] == DONE and answer[1:].startswith(b"unix://"):
        return STARTED, answer[1:]
    return DECLINED if answer == REFUSED else FAILED, b""


def peer_uid(sock: "_socket.socket") -> int:
    """The uid of the peer of a Unix socket (unix(7), SO_PEERCRED: pid, uid, gid)."""
    return int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8], sys.byteorder)


def shim_oom_score_adj(own: str) -> int:
    """The OOM score of a daemon: by containerd's convention one more than that of containerd.

    own: the text of /proc/PID/oom_score_adj of `start`, which inherits containerd's score.
    """
    return min(int(own or 0) + 1, 1000)


def set_oom_score_adj(score: int) -> None:
    """Set the OOM score of this process. An error is ignored: a lower score needs CAP_SYS_RESOURCE."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except OSError:
        pass
