"""What an image may choose does not reach an engine's command line as anything but itself."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind, Preopen
from pelagos_core.plugin.program import Program
from wasmedge_backend.hooks import WasmEdge
from wasmer_backend import hooks as wasmer

ROOT = (Preopen("/", "/"),)


def entrypoint(directories=ROOT, env=(), args=("/x",)):
    return Entrypoint(Kind.MODULE, "/x", "", args, env, "/", -1, file_path="/x", directories=directories)


def test_a_colon_in_a_preopens_path_chooses_no_path():
    backend = WasmEdge()
    backend.program = Program("/w", "/w", (), ("/w",))
    for directory in (Preopen("/x:/", "/x"), Preopen("/x", "/x:/")):
        with pytest.raises(InvalidArgument, match="accepts none with a colon"):
            backend.pelagos_spawn(entrypoint((directory,)))


def test_a_colon_in_a_directorys_name_chooses_no_path(monkeypatch, tmp_path):
    for name in ("data", "..:x", "a:b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("/")
    monkeypatch.setattr(wasmer.program, "GUEST_ROOT", str(tmp_path))
    words = wasmer.Wasmer().arguments(entrypoint(env=("-x=1", "E=", "A=2"), args=("/x", "--volume", "/:/")))
    assert [word for word in words[: words.index("--")] if ":" in word] == [f"{tmp_path}:/", f"{tmp_path}/data:/data"]
    assert "--env=-x=1" in words
    assert words[words.index("--") + 1 :] == ["--volume", "/:/"]
    assert wasmer.Wasmer().environment(entrypoint(env=("LD_PRELOAD=/x.so", "E="))) == {"E": "", "HOME": "/tmp"}
