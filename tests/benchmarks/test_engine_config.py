"""The engines that take part beside Wasmtime."""

import pytest

from benchmarks import engine_config


@pytest.mark.parametrize("has_wasmedge", [True, False], ids=["with the library", "without it"])
def test_wasmedge_is_a_program_only_where_its_library_is_not_there(has_wasmedge):
    text = engine_config.text(has_wasmedge=has_wasmedge)
    assert ("[backends.wasmedge]" in text) is not has_wasmedge
    assert "[backends.wasmer]\nprogram = " in text
