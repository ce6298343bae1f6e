"""What an image may choose does not reach an engine's command line as anything but itself."""

import pytest

from pelagos_core.entrypoint import Entrypoint, Kind
from pelagos_core.errors import InvalidArgument
from pelagos_core.program import Program
from wasmedge_backend.hooks import WasmEdge
from wasmer_backend import hooks as wasmer


def entrypoint(cwd="/", env=(), args=("/x",)):
    return Entrypoint(Kind.MODULE, "/x", "", args, env, cwd, -1, file_path="/x")


def test_a_colon_in_the_working_directory_chooses_no_path():
    backend = WasmEdge()
    backend.program = Program("/w", "/w", (), ("/w",))
    with pytest.raises(InvalidArgument, match="takes none with a colon"):
        backend.pelagos_spawn(entrypoint("/x:/"))


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
