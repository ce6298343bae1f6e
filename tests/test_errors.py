"""Every error has a code, and survives the way to the client and back."""

import pytest

from pelagos_core import errors
from pelagos_core.errors import Code, PelagosError, from_fields, from_status, to_fields, to_status


@pytest.mark.parametrize("kind", PelagosError.__subclasses__())
def test_an_error_is_the_same_on_the_other_side(kind):
    error = kind("container 'c1': no", "PLG-MOUNT")
    for back in (from_fields(*to_fields(error)), from_status(*to_status(error))):
        assert type(back) is kind
        assert back.code not in (Code.OK, Code.UNKNOWN)
        assert (back.message, back.reason) == ("container 'c1': no", "PLG-MOUNT")


@pytest.mark.parametrize("text", ["no [such] file", "no [PLG-MOUNT] here", "[PLG-MOUNT]", ""])
def test_a_status_without_a_reason_is_all_message(text):
    back = from_status(Code.NOT_FOUND, text)
    assert (back.message, back.reason) == (text, "")


def test_an_error_that_is_made_of_an_exception_has_its_text():
    assert to_fields(errors.InvalidArgument(ValueError("odd")))[1] == "odd"


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
    assert to_fields(error) == (code, str(error), "")
    assert to_status(error) == (code, str(error))


def test_a_bug_of_ours_is_internal_and_names_its_type():
    assert to_status(KeyError("x")) == (Code.INTERNAL, "KeyError: 'x'")


def test_a_message_can_be_encoded():
    assert to_fields(errors.NotFound("no \udcff")) == (Code.NOT_FOUND, "no ?", "")


def test_an_unknown_code_is_internal():
    assert type(from_status(99, "odd")) is errors.Internal
