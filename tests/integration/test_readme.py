"""The commands of the README and the pages behind it, word for word."""

import subprocess
import sys
from pathlib import Path

import pytest

from pelagos_core.conformance.environment import environment_with
from pelagos_core.errors import InvalidArgument
from tests.support.bundles import Fifos, make_bundle
from tests.support.shim import running_shim
from tests.test_docs import PAGES, RUN_BY, commands

pytestmark = [pytest.mark.container]

ROOT = Path(__file__).parent.parent.parent

# By the command's words, what it prints.
SAID = {
    "run": "hello\n",
    "backends": "chosen: wasmtime",
    "cache warm": ", wasmtime, ",
    "cache ls": "/hello.wat",
    "cache prune": "freed ",
}


@pytest.mark.parametrize(
    "command", [c for page in PAGES for c in commands(page) if RUN_BY[c].endswith("test_readme.py")]
)
def test_a_command_does_what_it_says(command):
    command = command.removeprefix(".venv/bin/").replace("app.wasm", "examples/hello.wat")
    command = f"{Path(sys.executable).parent}/{command}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert next(said for word, said in SAID.items() if f" {word}" in command) in done.stdout


@pytest.mark.root
@pytest.mark.guests
async def test_the_backend_in_the_readme_runs(tmp_path, guests):
    source = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    python = environment_with(tmp_path / "venv", echo=source)
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "a", "b")
    (bundle / "rootfs/app.wasm").write_text("not WebAssembly at all")
    async with running_shim(tmp_path, python=python) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == "would run /app.wasm a b\n"
        fifos.close()
    async with running_shim(tmp_path / "venv") as shim:
        with pytest.raises(InvalidArgument, match="is not WebAssembly"):
            await shim.create("c1", bundle)
