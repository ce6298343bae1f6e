"""Running a hook of the OCI runtime spec: a program that is told the container's state.

Source: OCI runtime spec "POSIX-platform Hooks" and "State".
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.linux.child import Child
from pelagos_core.oci import Hook
from pelagos_core.plugin.bundle import Bundle

_MAX_SAID = 2048  # bytes of what it prints that go into the error
_DEFAULT_VERSION = "1.0.2"


def state(bundle: Bundle, status: str, pid: int) -> bytes:
    """The state of a container, as hooks read it from their standard input.

    status: `creating`, `created`, `running` or `stopped`. pid: the init process' on the host.
    """
    return json.dumps(
        {
            "ociVersion": bundle.spec.oci_version or _DEFAULT_VERSION,
            "id": bundle.id,
            "status": status,
            "pid": pid,
            "bundle": bundle.path,
            "annotations": dict(bundle.spec.annotations),
        }
    ).encode()


class Running:
    """A hook that was started."""

    def __init__(self, hook: Hook, said: bytes, directory: str) -> None:
        """Start it, with nothing of our environment or descriptors.

        said: the state. directory: its working directory. Raises FailedPrecondition.
        """
        self.hook = hook
        stdin = _file_with(said)
        self._output = _file_with(b"")
        try:
            # Not child.execute: the daemon would lose, by a fork, what it shares with the zygote.
            process = subprocess.Popen(
                hook.args,
                executable=hook.path,
                env=dict(variable.partition("=")[::2] for variable in hook.env),
                stdin=stdin,
                stdout=self._output,
                stderr=self._output,
                cwd=directory,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._output)
            raise self._failed(error.strerror or str(error)) from None
        finally:
            os.close(stdin)
        process.returncode = 0  # it is reaped here: a Popen would do so as well, and warn before that
        self.child = Child(process.pid)

    def finish(self, *, too_late: bool = False) -> None:
        """Reap it. Raises FailedPrecondition, with what it has printed, unless it was successful.

        too_late: its time is over, and it is ended first, with what it has started.
        """
        with self.child:
            if too_late:
                self.child.signal(signal.SIGKILL, group=True)
            ended = self.child.reap()
        said = os.pread(self._output, _MAX_SAID, 0).decode("utf-8", "replace").strip()
        os.close(self._output)
        if too_late:
            raise self._failed(
                f"no end in {self.hook.timeout} s: {said}" if said else f"no end in {self.hook.timeout} s"
            )
        if ended.si_status:
            how = f"{'exit code' if ended.si_code == os.CLD_EXITED else 'signal'} {ended.si_status}"
            raise self._failed(f"{how}: {said}" if said else how)

    def wait(self) -> None:
        """Wait for its end and `finish`. In a process that has nothing else to do."""
        self.finish(too_late=self.child.wait(self.hook.timeout) is None)

    def _failed(self, why: str) -> FailedPrecondition:
        return FailedPrecondition(f"hook {self.hook.name} {self.hook.path!r}: {why}", reasons.HOOK)


def run(hooks: Iterable[Hook], said: bytes, directory: str = "/") -> None:
    """Run hooks one after the other, in an init process. Raises FailedPrecondition."""
    for hook in hooks:
        Running(hook, said, directory).wait()


def _file_with(data: bytes) -> int:
    """A file in memory: nobody has to read or write while a hook runs."""
    fd = os.memfd_create("hook", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
