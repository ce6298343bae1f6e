"""Whether the native part is for the WasmEdge that is loaded."""

from types import SimpleNamespace

import pytest

from pelagos_core.errors import FailedPrecondition
from wasmedge_backend import hooks, native_part


def library(path="/bin/sh", version="0.14.1"):
    return SimpleNamespace(path=path, version=version)


def test_it_is_found_with_the_path_of_the_library():
    found = native_part.find(library())
    assert (found.library, found.engine) == (str(native_part.LIBRARY), "/bin/sh")


@pytest.mark.parametrize("version", ["0.13.5", "0.15.0", "1.0", "0"])
def test_another_version_is_refused(version):
    with pytest.raises(FailedPrecondition) as raised:
        native_part.find(library(version=version))
    assert raised.value.message == f"it was made for WasmEdge 0.14, this is {version}"


def test_one_that_is_not_compiled_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(native_part, "LIBRARY", tmp_path / "engine.so")
    with pytest.raises(FailedPrecondition, match="it is not compiled"):
        native_part.find(library())


def test_a_program_has_none():
    assert hooks.WasmEdge().pelagos_native() is None
