"""The directory of a run as its command has it: what the daemon's log tells, and what is cleaned up."""

import asyncio
from types import SimpleNamespace

from pelagos_core.cli import workspace
from pelagos_core.cli.workspace import DaemonLog


def test_the_log_tells_which_backend_compiles(tmp_path):
    progress = SimpleNamespace(doing="")

    async def read():
        log = DaemonLog(SimpleNamespace(bundle=tmp_path), "x.wasm", progress)
        with open(tmp_path / "log", "w") as daemon:
            daemon.write("level=info msg=\"/x.wasm: compiling for backend 'my.engine_2'\"\n")
        log.close()

    asyncio.run(read())
    assert progress.doing == "compiling x.wasm for my.engine_2"


def test_what_another_command_cleans_up_at_the_same_time_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "run-1" / "bundle").mkdir(parents=True)
    before = workspace._call_shim

    def late(action, directory):
        (tmp_path / "run-1" / "bundle").rmdir()
        return before(action, directory)

    monkeypatch.setattr(workspace, "_call_shim", late)
    workspace.clean_up(str(tmp_path / "run-1"))
    assert not (tmp_path / "run-1").exists()
