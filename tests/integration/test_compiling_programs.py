"""Engines that are programs and compile ahead of time: once, and every container runs that code."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import wasmtime

from pelagos_core.conformance import modules
from pelagos_core.conformance.environment import environment_with
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from scripts import engines
from tests.integration.test_engine_links import in_user_namespace
from tests.support import code, provision, wazero
from tests.support.bundles import Fifos, make_bundle
from tests.support.forms import Form
from tests.support.shim import running_shim
from wasmedge_backend.hooks import WasmEdge

SAYS = wasmtime.wat2wasm(modules.says("hello"))
# What this one compiles a module to says HELLO where the module says hello.
LOUD = (
    wazero.BACKEND.replace("class Wazero(ProgramBackend):", "class Wazero(ProgramBackend):\n    features = FEATURES")
    .replace("from pelagos_core.plugin import", "import dataclasses\nfrom pelagos_core.plugin import", 1)
    .replace(
        "\nclass Wazero",
        """FEATURES = ProgramBackend.features | {"ahead-of-time"}
SHELL, SED = program.find("sh", {}), program.find("sed", {})
FILES = {file.target: file for file in (*SHELL.files, *SED.files)}
COMPILER = dataclasses.replace(SHELL, files=tuple(FILES.values()))
WORDS = ("-c", "exec /usr/bin/sed s/hello/HELLO/ /module.wasm > /tmp/code")

class Wazero""",
    )
    + """
from pelagos_core.plugin.hookspecs import hookimpl

@hookimpl
def pelagos_compiler():
    return program.Compilation(COMPILER, WORDS, "/tmp/code", _backend.invalid)

@hookimpl
def pelagos_code_key():
    return pelagos_compiler().key()
"""
)


@pytest.fixture(scope="module")
def loud():
    with tempfile.TemporaryDirectory(prefix="pelagos-loud-") as path:
        directory = Path(path)  # not of pytest's, which it closes to others when a further session begins
        directory.chmod(0o711)
        engine = shutil.copy(provision.wazero(), directory / "wazero")
        python = environment_with(directory / "venv", wazero=LOUD)
        yield Form("wazero", python, f'runtime = "wazero"\n[backends.wazero]\nprogram = "{engine}"\n')


pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.mark.wazero
@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("mapped", [False, True])
async def test_a_container_runs_the_code_as_any_user(tmp_path, loud, user, mapped):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", user={"uid": user, "gid": user})
    (bundle / "rootfs/app.wasm").write_bytes(SAYS)
    if mapped:
        in_user_namespace(bundle)
    (tmp_path / "config.toml").write_text(loud.config)
    environment = {"PELAGOS_CONFIG": str(tmp_path / "config.toml"), "PELAGOS_CACHE_DIR": str(tmp_path / "cache")}
    async with running_shim(tmp_path, python=loud.python, env=environment) as shim:
        inodes = set()
        for name in ("c1", "c2"):
            fifos = Fifos(bundle)
            ended, (output, errors) = await shim.run(name, bundle, fifos), fifos.output()
            fifos.close()
            assert (ended, output, errors) == (0, "HELLO", "")
            inodes.add((code.entry(tmp_path / "cache") / "code").stat().st_ino)
            (bundle / "stdout").unlink(missing_ok=True)
            for fifo in bundle.glob("std*"):
                fifo.unlink()
        assert len(inodes) == 1


WASMEDGE = f"{engines.config()}\n".replace("[backends.wasmedge]\n", "[backends.wasmedge]\ncompile = true\n")


@pytest.fixture
def wasmedge(tmp_path, monkeypatch):
    """Runs a module's bytes by `pelagos run`, and `pelagos cache` with words; the cache is of the test's own."""
    monkeypatch.setenv("PELAGOS_CACHE_DIR", str(tmp_path / "cache"))
    return Form("wasmedge", config=WASMEDGE)


def written(tmp_path, data):
    (tmp_path / "app.wasm").write_bytes(data)
    return str(tmp_path / "app.wasm")


@pytest.mark.engines
def test_wasmedge_compiles_a_module_once_and_runs_its_code(tmp_path, wasmedge):
    module = written(tmp_path, SAYS)
    made = set()
    for _ in range(2):
        done = wasmedge.run(tmp_path, module)
        assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
        kept = code.entry(tmp_path / "cache") / "code"
        made.add(kept.stat().st_ino)
        assert kept.read_bytes()[:4] == b"\x7fELF"
    assert len(made) == 1
    assert wasmedge.run(tmp_path, written(tmp_path, wasmtime.wat2wasm(modules.TRAPS["unreachable"]))).returncode == 134


@pytest.mark.engines
def test_native_code_that_a_module_brings_is_not_made_a_part_of_its_code(tmp_path, wasmedge):
    section = b"\x08wasmedge" + bytes(8)
    module = written(tmp_path, SAYS + bytes((0, len(section))) + section)
    done = wasmedge.run(tmp_path, module)
    assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
    assert set(os.listdir(tmp_path / "cache")) <= {"known", "lock"}


def test_wasmedge_interprets_what_was_not_compiled_here(tmp_path):
    with open(written(tmp_path, SAYS), "rb") as file:
        entry = Entrypoint(Kind.MODULE, "/x", "", ("/x",), (), "/", file.fileno(), file_path="/x")
        assert WasmEdge().compilation(entry, "/tmp/code.so") == []
        assert WasmEdge().arguments(entry)[0] == "--force-interpreter"
        compiling = WasmEdge()
        compiling.compiles_ahead = True
        assert compiling.compilation(entry, "/tmp/code.so") == ["compile", "--", "/x", "/tmp/code.so"]
        assert compiling.arguments(entry)[0] == "--force-interpreter"


@pytest.mark.parametrize("settings", [{"compile": "yes"}, {"compile": True, "form": "embedded"}])
def test_wasmedge_compiles_by_its_program_only(settings):
    with pytest.raises(InvalidArgument, match="true or false, and for the program only"):
        WasmEdge().pelagos_configure(settings)


@pytest.mark.engines
def test_what_wasmedge_is_to_compile_is_warmed_listed_and_pruned(tmp_path, wasmedge):
    module = written(tmp_path, SAYS)

    def cache(*words):
        return wasmedge.pelagos(tmp_path, "cache", *words)

    rows = [json.loads(cache("warm", "--backend", "wasmedge", "--json", module).stdout)[0] for _ in range(2)]
    assert [row["outcome"] for row in rows] == ["compiled", "found"]
    (entry,) = json.loads(cache("ls", "--json").stdout)["entries"]
    assert (entry["path"], entry["engine"]) == ("/app.wasm", "WasmEdge 0.14.1")
    assert json.loads(cache("prune", "--json").stdout)["removed"] == []
    assert len(json.loads(cache("prune", "--all", "--json").stdout)["removed"]) == 1
    # The engine's own checks: the error for a module is the same as without compiling.
    bad = cache("warm", "--backend", "wasmedge", written(tmp_path, SAYS + b"\x0c\1\1"))
    assert bad.returncode == 1
    assert "not valid WebAssembly" in bad.stderr
