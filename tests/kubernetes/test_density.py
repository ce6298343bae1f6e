"""A hundred pods at once, beside as many of runc's."""

import contextlib
import re
import time
from pathlib import Path

from tests.kubernetes.space import deployment, native, waiting_guest
from tests.support.containerd import until
from tests.support.traces import children

PODS = 100


def seconds_until_ready(space, name, container, **spec):
    """How long a deployment takes until its pods are ready."""
    start = time.monotonic()
    space.apply(deployment(name, PODS, container, **spec))
    space.kubectl("rollout", "status", f"deployment/{name}", "--timeout=240s", timeout=260)
    return time.monotonic() - start


def megabytes(cluster):
    """The memory of all shims and containers of the node, in MB: pages that several share count once (`Pss`)."""
    found, waiting = 0, children(cluster.machine.init)
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            waiting += children(pid)
            found += int(re.search(r"^Pss: +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1])
    return found / 1000


def test_a_hundred_pods_start_at_once_and_end(space, cluster, capfd):
    found = {}
    kinds = {
        "pelagos": (waiting_guest(), {}),
        "runc": (native("/bin/sleep", "1000000"), {"runtimeClassName": None}),
    }
    for name, (container, spec) in kinds.items():
        seconds = seconds_until_ready(space, name, container, **spec)
        found[name] = seconds, megabytes(cluster)
        space.kubectl("delete", "deployment", name)
        until(lambda name=name: not space.get("pods", "-l", f"app={name}")["items"], 120)
    with capfd.disabled():
        for name, (seconds, memory) in found.items():
            print(f"\n{PODS} pods of {name}: ready after {seconds:.1f} s, {memory / PODS:.1f} MB each")
    assert found["pelagos"][0] < 2 * found["runc"][0]
