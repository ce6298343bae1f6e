"""`pelagos ps --node`: every container of the node."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pelagos_core.cli import node_page
from tests.support.bundles import Fifos, make_bundle
from tests.support.containerd import until
from tests.support.runs import detached, pelagos
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.container, pytest.mark.guests]


async def test_containers_of_a_shim_are_listed_beside_ours(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "a b", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        await shim.create("c1", bundle, fifos)
        await shim.start("c1")
        with detached("--name", "own", guests / "spin.wasm") as name:
            rows = {row["id"]: row for row in json.loads(pelagos("ps", "--node", "--json").stdout)}
            assert {"c1", name} <= rows.keys()
            assert (rows["c1"]["status"], rows["c1"]["backend"]) == ("running", "wasmtime")
            assert rows["c1"]["args"] == ["/app.wasm", "a b"]
            assert os.path.exists(f"/proc/{rows['c1']['pid']}")
            header, *lines = pelagos("ps", "--node").stdout.splitlines()
            assert header.split() == ["NAMESPACE", "POD", "ID", "PID", "BACKEND", "STATUS", "COMMAND"]
            assert any(" c1 " in line and line.endswith("/app.wasm 'a b'") for line in lines)
            assert "c1" in pelagos("ps", "--node", "-q").stdout.split()
        fifos.close()


def test_a_process_that_only_looks_like_a_daemon_is_passed_over(tmp_path):
    (tmp_path / "sleep").write_text("import time; time.sleep(60)")
    for words in ("60", f"-namespace n -id fake -socket {tmp_path}/none"):
        with subprocess.Popen(
            ["bash", "-c", f"exec -a {node_page.PROGRAM} {sys.executable} {tmp_path}/sleep {words}"]
        ) as one:
            until(lambda: node_page.PROGRAM in Path(f"/proc/{one.pid}/cmdline").read_text(), 10)
            assert "fake" not in pelagos("ps", "--node").stdout
            one.kill()
