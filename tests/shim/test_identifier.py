"""What may be an id: containerd's own rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core.errors import InvalidArgument
from pelagos_core.shim.identifier import MAX_LENGTH, check_id


@pytest.mark.parametrize("value", ["a", "0", "a-b_c.d", "A1", "x" * MAX_LENGTH, "k8s.io"])
def test_an_identifier_passes(value):
    assert check_id(value) == value


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a/b", "../a", "a..b", "-a", "a-", "a b", "a\0", "ä", "a\n", "x" * (MAX_LENGTH + 1)]
)
def test_anything_else_is_refused_and_named(value):
    with pytest.raises(InvalidArgument, match=r"^namespace '"):
        check_id(value, "namespace")


@given(st.text(max_size=100))
def test_what_passes_is_safe_as_a_file_name(value):
    try:
        check_id(value)
    except InvalidArgument:
        return
    assert "/" not in value
    assert value not in ("", ".", "..")
    assert value.isascii()
