"""A service under load: in a container, and with the same engine's program without pelagos.

wrk creates the load, with enough connections to keep two processors busy. Each request runs in a separate instance.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import cgroups, programs
from benchmarks.client import CallFailed
from benchmarks.contender import Contender
from benchmarks.pod import Pod, Task
from benchmarks.samples import Measured
from benchmarks.stage import Stage
from pelagos_core.config.node_file import PATH_VARIABLE
from pelagos_core.linux import syscalls
from scripts import engines

_PORT, _ALONE = 8080, 18080
_WINDOWS = 4  # in each round; the two cases alternate, so that other load on the machine affects both
_CONNECTIONS = "16"
_ANSWER = b"hello\n"
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_PERCENTILE = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE)
_FAULT = re.compile(r"(Non-2xx.*|Socket errors.*)")
_IN_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_PATIENCE_SECONDS = 30.0


def measure(stage: Stage, contender: Contender) -> Iterator[Measured]:
    """Requests per second and latencies of both, alternately; and the time from Start to the first answer."""
    if not shutil.which("wrk"):
        raise CallFailed("wrk is not installed: on Debian, apt-get install wrk")
    program = programs.wasm("service")
    if not program.rootfs.exists():
        raise CallFailed("the service could not be made")
    config = stage.directory / "engines.toml"
    config.write_text(engines.config())
    contender = replace(contender, environment={**contender.environment, PATH_VARIABLE: str(config)})
    pod = Pod(stage, contender, program)
    _served(pod)  # its code is kept from now on
    task = _with_network(pod.task())
    pod.client.run([task.create()])
    begin = time.perf_counter()
    pod.client.run([task.start()])
    _inside(task.pid, lambda: _first_answer(_PORT, begin))
    yield Measured("in a container", "cold answer", "ms", (time.perf_counter() - begin) * 1e3)
    inside = ["nsenter", "-t", str(task.pid), "-n"]
    with _alone(stage, program.module) if contender.command else contextlib.nullcontext():
        for _ in range(_WINDOWS):
            yield from _under_load(stage, "in a container", _PORT, inside)
            if contender.command:
                yield from _under_load(stage, "engine's program alone", _ALONE, [])
    pod.client.run([task.end()])
    pod.shut_down()


def _served(pod: Pod) -> None:
    task = _with_network(pod.task())
    pod.client.run([task.begin()])
    pod.client.run([task.end()])


def _with_network(task: Task) -> Task:
    """The task, with its own network namespace."""
    path = task.bundle / "config.json"
    config = json.loads(path.read_text())
    config["linux"]["namespaces"].append({"type": "network"})
    path.write_text(json.dumps(config))
    return task


@contextlib.contextmanager
def _alone(stage: Stage, module: Path) -> Iterator[None]:
    """Run the engine's program as a server, with the same options as in a container."""
    program = str(engines.DIRECTORY / "wasmtime/bin/wasmtime")
    code = str(stage.directory / "code.cwasm")
    subprocess.run([program, "compile", "-o", code, str(module)], check=True)
    words = ["serve", "-Ccache=n", "-Scli=y", "--allow-precompiled", "--addr", f"127.0.0.1:{_ALONE}", code]
    # On a busy machine, a process in its own cgroup gets another share of the processors than one without.
    joining = ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', str(cgroups.sibling(stage.name))]
    with subprocess.Popen([*joining, program, *words], stderr=subprocess.DEVNULL) as process:
        try:
            _first_answer(_ALONE, time.perf_counter())
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def _first_answer(port: int, begin: float) -> None:
    """Send requests until one is answered. Raises CallFailed."""
    while time.perf_counter() - begin < _PATIENCE_SECONDS:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
            connection.request("GET", "/")
            answer = connection.getresponse()
            if (answer.status, answer.read()) != (200, _ANSWER):
                raise CallFailed(f"the service has answered with {answer.status}")
            return
        time.sleep(0.001)
    raise CallFailed("the service does not answer")


def _inside(pid: int, body: Callable[[], None]) -> None:
    """Call `body` in the network namespace of a process, then return to the own one."""
    with open("/proc/self/ns/net", "rb") as own, open(f"/proc/{pid}/ns/net", "rb") as other:
        syscalls.setns(other.fileno(), syscalls.CLONE_NEWNET)
        try:
            body()
        finally:
            syscalls.setns(own.fileno(), syscalls.CLONE_NEWNET)


def _under_load(stage: Stage, case: str, port: int, enter: list[str]) -> Iterator[Measured]:
    seconds = stage.settings.serve_seconds
    load = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}/"]
    done = subprocess.run([*enter, *load], capture_output=True, text=True, check=False, env=dict(os.environ))
    rate = _RATE.search(done.stdout)
    if done.returncode or not rate:
        raise CallFailed(f"wrk: {done.stdout}{done.stderr}")
    if fault := _FAULT.search(done.stdout):
        raise CallFailed(f"wrk: {fault[1]}")
    yield Measured(case, "rate", "requests/s", float(rate[1]))
    for percent, value, unit in _PERCENTILE.findall(done.stdout):
        yield Measured(case, f"request p{percent}", "ms", float(value) * _IN_MS[unit])
