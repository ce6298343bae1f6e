"""Whose a file is."""

import os

import pytest

from pelagos_core.ownership import is_written_by


def status(mode, uid):
    return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "trusted", "secret"),
    [
        (0o100644, 0, True, False),
        (0o100600, 7, True, True),
        (0o100664, 0, False, False),
        (0o100602, 0, False, False),
        (0o100644, 1, False, False),
        (0o41777, 0, False, False),
    ],
)
def test_a_file_is_its_owners_if_no_other_user_can_write_it(mode, uid, trusted, secret):
    assert is_written_by(status(mode, uid), 0, 7) == trusted
    assert is_written_by(status(mode, uid), 0, 7, secret=True) == secret
