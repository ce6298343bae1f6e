"""WASI 0.1: arguments, variables, clocks, random bytes, waiting, sockets, and the end."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest

from pelagos_core.conformance.wasi.area import Area
from pelagos_core.conformance.wasi.guest import Guest, Out, clock, ready
from pelagos_core.conformance.wasi.names import (
    ABSTIME,
    CLOCK,
    CREAT,
    FD_READ,
    FD_WRITE,
    MONOTONIC,
    PARAMETERS,
    REALTIME,
    Errno,
)
from pelagos_core.plugin.wasi import WASI_0_1_FUNCTIONS

_NONE = 4000
_MILLISECOND = 1_000_000
_NO_SOCKETS = {Errno.NOTSOCK, Errno.NOTSUP, Errno.NOSYS, Errno.BADF, Errno.NOTCAPABLE}


@pytest.mark.feature("WASI 0.1: all functions are there")
def test_every_function_can_be_imported(guest: Guest) -> None:
    assert PARAMETERS.keys() == WASI_0_1_FUNCTIONS
    assert sorted(WASI_0_1_FUNCTIONS - guest.names) == []


def _texts(guest: Guest, kind: str) -> list[bytes]:
    count, size = (int.from_bytes(each, "little") for each in guest.get(f"{kind}_sizes_get", Out(4), Out(4)))
    pointers, data = guest.get(f"{kind}_get", Out(4 * max(count, 1)), Out(max(size, 1)))
    found = data[:size].split(b"\0")
    assert found.pop() == b""
    assert len(found) == count
    starts = struct.unpack(f"<{count}I", pointers[: 4 * count])
    assert [start - starts[0] for start in starts] == [sum(len(text) + 1 for text in found[:i]) for i in range(count)]
    return found


@pytest.mark.feature("WASI 0.1: arguments and variables")
def test_arguments_have_the_right_number_and_size(fresh: Callable[..., Guest]) -> None:
    words = ["first", 'the "second" arg', "", "3", "ü"]
    assert _texts(fresh(*words), "args")[1:] == [word.encode() for word in words]


@pytest.mark.feature("WASI 0.1: arguments and variables")
def test_variables_have_the_right_number_and_size(fresh: Callable[..., Guest]) -> None:
    given = ["a=text", 'b=escap "ing', "c=new\nline", "d=x=y", "e="]
    guest = fresh(flags=tuple(word for variable in given for word in ("--env", variable)))
    found = [text for text in _texts(guest, "environ") if not text.startswith(b"PWD=")]
    assert sorted(found) == [variable.encode() for variable in given]


@pytest.mark.feature("WASI 0.1: arguments and variables")
def test_there_may_be_no_variables(fresh: Callable[..., Guest]) -> None:
    count, size = fresh().get("environ_sizes_get", Out(4), Out(4))
    assert (count, size) == (bytes(4), bytes(4))


@pytest.mark.feature("WASI 0.1: clocks")
@pytest.mark.parametrize("clockid", [REALTIME, MONOTONIC])
def test_a_clock_has_a_resolution_and_advances(guest: Guest, clockid: int) -> None:
    assert 0 < guest.number("clock_res_get", clockid, Out(8)) <= 1_000_000_000
    first = guest.number("clock_time_get", clockid, 1, Out(8))
    time.sleep(0.002)
    second = guest.number("clock_time_get", clockid, 0, Out(8))
    assert first < second


@pytest.mark.feature("WASI 0.1: clocks")
def test_the_real_time_matches_the_hosts(guest: Guest) -> None:
    before = time.time_ns()
    told = guest.number("clock_time_get", REALTIME, 0, Out(8))
    assert before - 1000 * _MILLISECOND <= told <= time.time_ns() + 1000 * _MILLISECOND


@pytest.mark.feature("WASI 0.1: random bytes")
def test_random_bytes_fill_the_buffer(guest: Guest) -> None:
    (data,) = guest.get("random_get", Out(4096), 4000)
    assert data[4000:] == bytes(96)
    assert len(set(data[:4000])) > 200
    assert guest.get("random_get", Out(4096), 4000)[0] != data
    assert guest.get("random_get", Out(8), 0) == [bytes(8)]


@pytest.mark.feature("WASI 0.1: waiting")
def test_a_clock_event_occurs_at_its_time(guest: Guest) -> None:
    began = guest.number("clock_time_get", MONOTONIC, 0, Out(8))
    (event,) = guest.poll(clock(0x1234567890, MONOTONIC, 50 * _MILLISECOND))
    assert guest.number("clock_time_get", MONOTONIC, 0, Out(8)) - began >= 49 * _MILLISECOND
    assert (event.userdata, event.error, event.type) == (0x1234567890, Errno.SUCCESS, CLOCK)
    now = guest.number("clock_time_get", MONOTONIC, 0, Out(8))
    (event,) = guest.poll(clock(7, MONOTONIC, now + 50 * _MILLISECOND, ABSTIME))
    assert guest.number("clock_time_get", MONOTONIC, 0, Out(8)) - now >= 49 * _MILLISECOND
    assert event.userdata == 7
    (event,) = guest.poll(clock(8, MONOTONIC, now, ABSTIME))
    assert event.userdata == 8


@pytest.mark.feature("WASI 0.1: waiting")
def test_the_earlier_of_two_clocks_occurs_first(guest: Guest) -> None:
    events = guest.poll(clock(1, MONOTONIC, 20_000 * _MILLISECOND), clock(2, MONOTONIC, 20 * _MILLISECOND))
    assert [event.userdata for event in events] == [2]


@pytest.mark.feature("WASI 0.1: waiting")
def test_writable_streams_are_ready_at_once(guest: Guest) -> None:
    left = {1, 2}
    while left:
        subscriptions = [ready(fd, fd, FD_WRITE) for fd in left]
        events = guest.poll(*subscriptions, clock(9, MONOTONIC, 5000 * _MILLISECOND))
        assert {(event.type, event.error) for event in events} == {(FD_WRITE, Errno.SUCCESS)}
        left -= {event.userdata for event in events}


@pytest.mark.feature("WASI 0.1: waiting")
def test_a_clock_event_occurs_while_input_is_empty(guest: Guest) -> None:
    events = guest.poll(clock(5, MONOTONIC, 100 * _MILLISECOND), ready(6, 0, FD_READ))
    assert events
    for event in events:
        assert (event.userdata, event.type, event.error) in {(5, CLOCK, Errno.SUCCESS), (6, FD_READ, Errno.SUCCESS)}


@pytest.mark.feature("WASI 0.1: waiting")
def test_the_processor_can_be_yielded(guest: Guest) -> None:
    assert guest.errno("sched_yield") is Errno.SUCCESS


@pytest.mark.feature("WASI 0.1: sockets")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sock_accept", (0, Out(4))),
        ("sock_recv", (Out(8), 0, 0, Out(4), Out(2))),
        ("sock_send", (Out(8), 0, 0, Out(4))),
        ("sock_shutdown", (1,)),
    ],
)
def test_a_file_is_refused_as_a_socket(area: Area, name: str, arguments: tuple[int | Out, ...]) -> None:
    file = area.guest.open(area.fd, "file", CREAT)
    assert area.guest.errno(name, file, *arguments) in _NO_SOCKETS
    assert area.guest.errno(name, _NONE, *arguments) in _NO_SOCKETS


@pytest.mark.feature("WASI 0.1: sockets")
def test_streams_and_closed_descriptors_are_refused_as_sockets(guest: Guest) -> None:
    assert guest.errno("sock_shutdown", 1, 1) is Errno.NOTSOCK
    assert guest.errno("sock_shutdown", _NONE, 1) is Errno.BADF


@pytest.mark.feature("WASI 0.1: the end")
@pytest.mark.parametrize("code", [0, 1, 33])
def test_a_guest_exits_with_its_code(fresh: Callable[..., Guest], code: int) -> None:
    assert fresh().exit(code) == code


@pytest.mark.feature("WASI 0.1: the end")
def test_a_raised_signal_ends_the_guest_or_is_refused(fresh: Callable[..., Guest]) -> None:
    guest = fresh()
    try:
        errno = guest.errno("proc_raise", 15)
    except AssertionError:
        assert guest.ended() in {134, 128 + 15}
    else:
        assert errno in {Errno.NOTSUP, Errno.NOSYS, Errno.INVAL}


@pytest.mark.feature("WASI 0.1: the end")
def test_a_write_to_a_closed_descriptor_is_refused_and_the_guest_continues(guest: Guest) -> None:
    assert guest.transfer("fd_write", _NONE)[0] is Errno.BADF
    assert guest.errno("sched_yield") is Errno.SUCCESS
