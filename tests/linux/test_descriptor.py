"""A descriptor is closed by its owner, once."""

import os

import pytest

from pelagos_core.linux.descriptor import Fd


def is_open(fd):
    return os.path.exists(f"/proc/self/fd/{int(fd)}")


def test_it_is_closed_at_the_end_of_its_block_whatever_is_raised():
    fd = Fd(os.open("/", os.O_PATH))
    assert is_open(fd)
    with pytest.raises(ValueError, match="lost"), fd:
        raise ValueError("lost")
    assert not is_open(fd)


def test_one_that_is_released_is_the_callers():
    with Fd(os.open("/", os.O_PATH)) as fd:
        number = fd.release()
    assert is_open(number)
    assert type(number) is int
    os.close(number)


def test_it_is_closed_once():
    fd = Fd(os.open("/", os.O_PATH))
    fd.close()
    other = os.open("/", os.O_PATH)  # has the same number now
    fd.close()
    assert is_open(other)
    os.close(other)


def test_it_is_a_number():
    with Fd(os.open("/", os.O_PATH)) as fd:
        assert os.stat("etc", dir_fd=fd).st_ino == os.stat("/etc").st_ino
        assert f"{fd}" == str(int(fd))
