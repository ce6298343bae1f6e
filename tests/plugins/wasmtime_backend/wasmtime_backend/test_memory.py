"""Linear memories that the backend makes: which errors the engine gets."""

import pytest
import wasmtime

from wasmtime_backend import memory, prepared, stack

GROWS = '(module (memory 1) (func (export "grow") (result i32) (memory.grow (i32.const 1))))'


@pytest.mark.parametrize("error", [OSError("no"), MemoryError(), RuntimeError("a bug")])
def test_whatever_goes_wrong_in_a_growth_is_a_refusal(error):
    def fail(_size):
        raise error

    store = wasmtime.Store(prepared.engine(False, stack.LARGEST))
    memory.prepare(fail)
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, GROWS), [])
    assert instance.exports(store)["grow"](store) == -1
    memory.prepare(lambda _size: True)
    assert instance.exports(store)["grow"](store) == 1
