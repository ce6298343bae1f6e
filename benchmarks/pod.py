"""A pod: one shim process, called as containerd calls it, and its tasks."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.client import CHUNK, CallFailed, Client, Script
from benchmarks.contender import Contender
from benchmarks.programs import Program
from benchmarks.stage import NAMESPACE, Stage
from pelagos_core.api import task_pb2 as api
from pelagos_core.api.types_pb2 import Mount

EVENTS_OF_A_TASK = 4  # create, start, exit, delete
_SIGKILL = 9


class Phases(NamedTuple):
    """The duration of each call for a task, in seconds; `exit` is the time from Start's answer to the exit."""

    create: float
    start: float
    exit: float
    delete: float

    @property
    def total(self) -> float:
        """From the first request to the last answer."""
        return sum(self)


class Task:
    """One task. Its bundle and FIFOs are created beforehand, as containerd does."""

    def __init__(self, pod: Pod, program: Program, task_id: str) -> None:
        self.id = task_id
        self.pid = 0
        self.phases: Phases | None = None
        self.output = b""
        self.bundle = make_bundle(pod, program, task_id)
        self._says = program.says
        paths = [str(self.bundle / stream) for stream in ("stdout", "stderr")]
        for path in paths:
            os.mkfifo(path)
        self._readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths]
        rootfs = Mount(type="bind", source=str(program.rootfs), options=["rbind", "ro"])
        request = api.CreateTaskRequest(
            id=task_id, bundle=str(self.bundle), rootfs=[rootfs], stdout=paths[0], stderr=paths[1]
        )
        self._create = request.SerializeToString()
        self._named = api.StartRequest(id=task_id).SerializeToString()  # only the id, like most requests

    def life(self) -> Script:
        """Create, start, wait, delete. Raises CallFailed for a wrong exit code or output."""
        times = [time.perf_counter()]
        status = b""
        for method, request in (("Create", self._create), *((m, self._named) for m in ("Start", "Wait", "Delete"))):
            answer = yield method, request
            times.append(time.perf_counter())
            status = answer if method == "Wait" else status
        self.phases = Phases(*(after - before for before, after in itertools.pairwise(times)))
        self._check(api.WaitResponse.FromString(status).exit_status)

    def begin(self) -> Script:
        """Create and start; the task runs until `end`."""
        before = time.perf_counter()
        yield "Create", self._create
        created = time.perf_counter()
        answer = yield "Start", self._named
        self.phases = Phases(created - before, time.perf_counter() - created, 0, 0)
        self.pid = api.StartResponse.FromString(answer).pid

    def start(self) -> Script:
        """Start the created task; it runs until `end`."""
        answer = yield "Start", self._named
        self.pid = api.StartResponse.FromString(answer).pid

    def create(self) -> Script:
        """Create without starting: like a pause container, the task uses no processor time."""
        yield "Create", self._create

    def end(self) -> Script:
        """Kill, wait, delete."""
        yield "Kill", api.KillRequest(id=self.id, signal=_SIGKILL).SerializeToString()
        yield "Wait", self._named
        yield "Delete", self._named
        self.close()

    def close(self) -> None:
        """Close the streams."""
        for fd in self._readers:
            os.close(fd)
        self._readers = []

    def _check(self, status: int) -> None:
        self.output, errors = (os.read(fd, CHUNK) for fd in self._readers)
        self.close()
        if status or self._says not in self.output:
            raise CallFailed(f"task {self.id!r} ended with {status}: {self.output!r} {errors!r}")


class Pod:
    """One shim process. The constructor prepares its first task; a Shutdown ends it."""

    def __init__(
        self,
        stage: Stage,
        contender: Contender,
        program: Program,
        *,
        annotated: bool = True,
        group: Path | None = None,
    ) -> None:
        """Arguments: annotated: whether its containers have CRI's annotations, like those of a kubelet.

        group: the `cgroup.procs` of the control group in which the shim is executed.
        """
        self.stage = stage
        self.contender = contender
        self.id = stage.fresh("pod")
        self.program = program
        self.annotated = annotated
        self._group = group
        self.first = Task(self, program, self.id)
        log = stage.directory / "shims.log"
        log.touch()
        (self.first.bundle / "log").symlink_to(log)
        self.start_seconds, address = self._start()
        self.client = Client(address, stage.wire)

    def task(self, program: Program | None = None) -> Task:
        """Prepare one more task of this pod."""
        return Task(self, program or self.program, self.stage.fresh("task"))

    def delete_command(self, task: Task) -> float:
        """Run the shim's `delete` as containerd does after the last task; return its duration in seconds."""
        seconds, _ = self._command(task.bundle, "-id", task.id, "-bundle", str(task.bundle), "delete")
        return seconds

    def shut_down(self) -> None:
        """End the shim. All of its tasks must have been deleted."""
        request = api.ShutdownRequest(id=self.id, now=True).SerializeToString()
        with contextlib.suppress(CallFailed):  # some shims exit without an answer
            self.client.call("Shutdown", request)
        self.leave()

    def leave(self) -> None:
        """Close the connection, as after a kill of the shim."""
        self.first.close()
        with contextlib.suppress(KeyError):  # the shim was first
            self.client.close()

    def _start(self) -> tuple[float, str]:
        seconds, output = self._command(self.first.bundle, "-id", self.id, "start")
        address = json.loads(output)["address"] if output.startswith("{") else output
        return seconds, address.removeprefix("unix://")

    def _command(self, cwd: Path, *words: str) -> tuple[float, str]:
        flags = ["-namespace", NAMESPACE, "-address", str(self.stage.directory / "containerd.sock")]
        command = [str(self.contender.shim), *flags, "-publish-binary", "/bin/true", *words]
        environment = {**self.stage.environment(), **self.contender.environment}
        before = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            preexec_fn=self._join if self._group else None,
        )
        seconds = time.perf_counter() - before
        if done.returncode:
            raise CallFailed(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
        return seconds, done.stdout.decode(errors="replace").strip()

    def _join(self) -> None:
        assert self._group
        self._group.write_text("0")


def make_bundle(pod: Pod, program: Program, task_id: str) -> Path:
    """Write a bundle; the Create request contains the mounts of its root, like an image's layers."""
    bundle = pod.stage.directory / "bundles" / task_id
    (bundle / "rootfs").mkdir(parents=True)
    proc = {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}
    dev_options = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    dev = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": dev_options}
    config = {
        "ociVersion": "1.1.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": program.args,
            "cwd": "/",
            "env": ["PATH=/bin"],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "annotations": {**_annotations_of_cri(pod, task_id), **pod.contender.annotations},
        "mounts": [proc, dev],
        "linux": {
            "cgroupsPath": f"/{pod.stage.name}/{task_id}",
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
        },
    }
    (bundle / "config.json").write_text(json.dumps(config, separators=(",", ":")))  # as Go writes it
    return bundle


def _annotations_of_cri(pod: Pod, task_id: str) -> dict[str, str]:
    """The annotations that containerd adds to each container of a kubelet's pod; a shim groups by the sandbox's id."""
    if not pod.annotated:
        return {}
    kind = "sandbox" if task_id == pod.id else "container"
    of_container = {} if task_id == pod.id else {"container-name": task_id, "image-name": "registry.example/app:1"}
    of_pod = {"sandbox-id": pod.id, "sandbox-name": pod.id, "sandbox-namespace": "default", "sandbox-uid": pod.id}
    words = {"container-type": kind, **of_container, **of_pod}
    return {f"io.kubernetes.cri.{name}": value for name, value in sorted(words.items())}
