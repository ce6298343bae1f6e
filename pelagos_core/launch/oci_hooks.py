"""Runs a hook of the OCI runtime spec: a program with the container's state on its standard input.

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

_MAX_OUTPUT = 2048  # bytes of its output that the error includes
_DEFAULT_VERSION = "1.0.2"


def state(bundle: Bundle, status: str, pid: int) -> bytes:
    """The state of a container, for the standard input of hooks.

    status: `creating`, `created`, `running` or `stopped`. pid: of the init process, on the host.
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
    """A running hook."""

    def __init__(self, hook: Hook, stdin: bytes, directory: str) -> None:
        """Start the hook, without the calling process' environment and descriptors.

        stdin: see `state`. directory: its working directory. Raises FailedPrecondition if it cannot be executed.
        """
        self.hook = hook
        input_file = _file_with(stdin)
        self._output = _file_with(b"")
        try:
            # Not child.execute: a fork would copy pages that the daemon shares with the zygote.
            process = subprocess.Popen(
                hook.args,
                executable=hook.path,
                env=dict(variable.partition("=")[::2] for variable in hook.env),
                stdin=input_file,
                stdout=self._output,
                stderr=self._output,
                cwd=directory,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._output)
            raise self._failed(error.strerror or str(error)) from None
        finally:
            os.close(input_file)
        process.returncode = 0  # `child` reaps it; without this Popen would reap it too
        self.child = Child(process.pid)

    def finish(self, *, too_late: bool = False) -> None:
        """Reap the hook. Raises FailedPrecondition, with its output, unless its exit code is 0.

        too_late: whether its time limit has passed; it and all processes of its group are killed first.
        """
        with self.child:
            if too_late:
                self.child.signal(signal.SIGKILL, group=True)
            ended = self.child.reap()
        output = os.pread(self._output, _MAX_OUTPUT, 0).decode("utf-8", "replace").strip()
        os.close(self._output)
        how = ""
        if too_late:
            how = f"has not ended after {self.hook.timeout} s"
        elif ended.si_status:
            how = f"{'exit code' if ended.si_code == os.CLD_EXITED else 'signal'} {ended.si_status}"
        if how:
            raise self._failed(f"{how}: {output}" if output else how)

    def wait(self) -> None:
        """Wait for its end and call `finish`. Blocks the calling process."""
        self.finish(too_late=self.child.wait(self.hook.timeout) is None)

    def _failed(self, why: str) -> FailedPrecondition:
        return FailedPrecondition(f"hook {self.hook.name} {self.hook.path!r}: {why}", reasons.HOOK)


def run(hooks: Iterable[Hook], stdin: bytes, directory: str = "/") -> None:
    """Run hooks in order, in an init process. Raises FailedPrecondition at the first that fails."""
    for hook in hooks:
        Running(hook, stdin, directory).wait()


def _file_with(data: bytes) -> int:
    """A file in memory with `data`: unlike a pipe it needs no reader or writer while a hook runs."""
    fd = os.memfd_create("hook", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
