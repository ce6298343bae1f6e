"""WASI's numbers, where a wrong one would try something else than its name says."""

from pelagos_core.conformance.wasi.names import PARAMETERS, Errno, Rights
from pelagos_core.plugin import wasi


def test_all_functions_of_wasi_have_parameters():
    assert PARAMETERS.keys() == wasi.WASI_0_1_FUNCTIONS
    assert len(PARAMETERS) == 46


def test_numbers_are_those_of_the_specification():
    assert {
        name: Errno[name].value for name in ("SUCCESS", "ACCES", "BADF", "NOENT", "ROFS", "XDEV", "NOTCAPABLE")
    } == {
        "SUCCESS": 0,
        "ACCES": 2,
        "BADF": 8,
        "NOENT": 44,
        "ROFS": 69,
        "XDEV": 75,
        "NOTCAPABLE": 76,
    }
    assert (Rights.FD_WRITE, Rights.PATH_OPEN, Rights.POLL_FD_READWRITE) == (1 << 6, 1 << 13, 1 << 27)
