"""Which Wasmtime is built."""

import pytest

from scripts import engines


@pytest.mark.parametrize(("rust", "version"), [((1, 95), "48.0.8"), ((1, 96), "49.0.4"), ((2, 0), "50.0.1")])
def test_the_newest_wasmtime_is_built_that_the_rust_at_hand_can(rust, version):
    assert engines.wasmtime_version(rust) == version


@pytest.mark.parametrize("rust", [(), (1, 94)])
def test_an_old_rust_is_reported(rust):
    with pytest.raises(RuntimeError, match="rustup"):
        engines.wasmtime_version(rust)
