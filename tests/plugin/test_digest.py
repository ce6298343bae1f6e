"""A digest of an open file, whatever its size and offset."""

import hashlib
import os

import pytest

from pelagos_core.plugin import digest


@pytest.mark.parametrize("length", [0, 1, (1 << 20) - 1, 1 << 20, (2 << 20) + 17])
def test_it_is_that_of_all_the_bytes_and_moves_nothing(tmp_path, length):
    data = os.urandom(length)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert digest.sha256(file.fileno()) == hashlib.sha256(data).hexdigest()
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0
