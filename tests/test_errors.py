"""Every error has a code, and survives the way to the client and back."""

import pytest

from pelagos_core import errors
from pelagos_core.errors import Code, PelagosError, from_status, to_status


@pytest.mark.parametrize("kind", PelagosError.__subclasses__())
def test_an_error_is_the_same_on_the_other_side(kind):
    code, message = to_status(kind("container 'c1': no"))
    assert code not in (Code.OK, Code.UNKNOWN)
    back = from_status(code, message)
    assert type(back) is kind
    assert str(back) == "container 'c1': no"


def test_no_two_errors_share_a_code():
    codes = [kind.code for kind in PelagosError.__subclasses__()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FileNotFoundError(2, "no"), Code.NOT_FOUND),
        (FileExistsError(17, "no"), Code.ALREADY_EXISTS),
        (PermissionError(13, "no"), Code.PERMISSION_DENIED),
        (IsADirectoryError(21, "no"), Code.INVALID_ARGUMENT),
        (NotADirectoryError(20, "no"), Code.INVALID_ARGUMENT),
        (TimeoutError("no"), Code.DEADLINE_EXCEEDED),
        (OSError(5, "no"), Code.INTERNAL),
    ],
)
def test_what_the_kernel_says_has_a_code(error, code):
    assert to_status(error) == (code, str(error))


def test_a_bug_of_ours_is_internal_and_names_its_type():
    assert to_status(KeyError("x")) == (Code.INTERNAL, "KeyError: 'x'")


def test_an_unknown_code_is_internal():
    assert type(from_status(99, "odd")) is errors.Internal
