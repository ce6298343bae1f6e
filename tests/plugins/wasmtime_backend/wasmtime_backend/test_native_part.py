"""Whether the native part fits the package: what differs is named, and it is not used."""

import ctypes
from pathlib import Path

import pytest
from wasmtime import _bindings, _ffi

from pelagos_core.errors import FailedPrecondition
from wasmtime_backend import native_part


class _Larger(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("of", ctypes.c_uint64 * 4))


class _Renamed(ctypes.Structure):
    _fields_ = (("length", ctypes.c_size_t), ("data", ctypes.c_void_p))


def refused():
    with pytest.raises(FailedPrecondition) as raised:
        native_part.find()
    return raised.value.message


def test_the_one_that_is_installed_fits():
    found = native_part.find()
    assert (Path(found.library), Path(found.engine)) == (native_part.LIBRARY, Path(_ffi.filename))
    status = Path(found.engine).stat()
    assert found.settings == f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def test_one_that_is_not_compiled_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(native_part, "LIBRARY", tmp_path / "engine.so")
    assert refused() == "it is not compiled"


@pytest.mark.parametrize("version", ["49.0.0", "50.1.0", "51.0.1", "5"])
def test_another_version_is_refused(monkeypatch, version):
    monkeypatch.setattr(native_part.metadata, "version", lambda name: version)
    assert refused() == f"it was made for Wasmtime 50.0, this is {version}"


def test_a_later_patch_may_fit(monkeypatch):
    monkeypatch.setattr(native_part.metadata, "version", lambda name: "50.0.9")
    native_part.find()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("wasmtime_extern_t", _Larger, "wasmtime_extern_t is 32 bytes at 0, and in the package 40 bytes at 0"),
        ("wasm_byte_vec_t", _Renamed, "wasm_byte_vec_t size is 8 bytes at 0, and in the package missing"),
        ("wasmtime_func_t", None, "wasmtime_func_t is 16 bytes at 0, and in the package missing"),
    ],
)
def test_a_type_that_differs_is_named(monkeypatch, name, kind, said):
    monkeypatch.setattr(_bindings, name, kind)
    assert refused().endswith(said)


def test_a_function_that_differs_is_named(monkeypatch):
    function = _bindings._wasmtime_context_set_fuel
    parameters = function.argtypes
    try:
        function.argtypes = [parameters[0], ctypes.c_uint32]
        assert "wasmtime_context_set_fuel is wasmtime_error*(wasmtime_context*,size), and in the package" in refused()
        function.argtypes = [*parameters, ctypes.c_bool]
        assert refused().endswith("wasmtime_error*(wasmtime_context*,size,bool)")
    finally:
        function.argtypes = parameters
    monkeypatch.delattr(_bindings, "_wasmtime_context_set_fuel")
    assert refused().endswith("and in the package missing")


def test_a_callback_that_differs_is_named(monkeypatch):
    monkeypatch.setattr(_bindings, "wasmtime_memory_grow_callback_t", ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p))
    assert "wasmtime_memory_grow_callback_t is size(void*,size), and in the package bool(void*)" in refused()


def test_a_constant_that_differs_is_named(monkeypatch):
    monkeypatch.setattr(_ffi, "WASMTIME_COMPONENT_RESULT", ctypes.c_uint8(20))
    assert refused().endswith("WASMTIME_COMPONENT_RESULT is 19, and in the package 20")
