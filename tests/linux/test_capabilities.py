"""Capabilities by name and number."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import capabilities


@pytest.mark.parametrize(
    ("names", "mask"),
    [((), 0), (("CAP_CHOWN",), 1), (("CAP_KILL", "CAP_CHOWN"), 0x21), (("CAP_CHECKPOINT_RESTORE",), 1 << 40)],
)
def test_names_have_the_kernels_numbers(names, mask):
    assert capabilities.mask(names) == mask


def test_an_unknown_name_is_refused():
    with pytest.raises(InvalidArgument, match="unknown capability 'CAP_FLY'"):
        capabilities.mask(["CAP_FLY"])
