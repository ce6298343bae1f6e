"""The errors of a guest's steps."""

import errno

import pytest

from pelagos_core import reasons
from pelagos_core.errors import Internal, InvalidArgument
from pelagos_core.launch.guest_steps import LoadGuest
from pelagos_core.native.process import Failure
from pelagos_core.plugin.hookspecs import UnusableCode

LOAD = LoadGuest("/app.wasm", compiled=True)


@pytest.mark.parametrize(
    ("failed", "kind", "reason", "text"),
    [
        (Failure(0, errno.EINVAL, "load", "has no start"), InvalidArgument, "", "'/app.wasm' has no start"),
        (
            Failure(0, errno.ENOMEM, "load", "Wasmtime creates no engine"),
            Internal,
            reasons.ENGINE_FAILED,
            "creates no engine",
        ),
        (Failure(0, errno.EIO, "load"), Internal, reasons.ENGINE_FAILED, "load /app.wasm: Input/output error"),
        (Failure(0, errno.EINVAL, "load"), Internal, reasons.ENGINE_FAILED, "Invalid argument"),
        (Failure(0, errno.EACCES, "call"), Internal, reasons.ISOLATION, "Permission denied"),
    ],
)
def test_only_one_error_of_load_is_the_guests_fault(failed, kind, reason, text):
    error = LOAD.failure(failed)
    assert type(error) is kind
    assert error.reason == reason  # the step's own, PLG-MODULE, if it is empty
    assert text in error.message


def test_code_that_the_engine_does_not_accept_is_compiled_again():
    with pytest.raises(UnusableCode, match="of another version"):
        LOAD.failure(Failure(0, errno.ESTALE, "load", "of another version"))
