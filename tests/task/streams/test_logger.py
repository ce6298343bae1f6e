"""Loggers: programs that take a process' output, and those that do not."""

import asyncio
import os
import select
from urllib.parse import quote

import pytest

from pelagos_core.errors import DeadlineExceeded, InvalidArgument, NotFound, PermissionDenied
from pelagos_core.task.streams import logger as module
from pelagos_core.task.streams.logger import Logger
from pelagos_core.task.streams.stdio import Stdio, StdioPaths

READY = "exec 5>&-; "
KEEP = f"{READY}cat <&3 > out & cat <&4 > err & wait"


def uri(script, *more):
    words = "".join(f"&{word}" for word in more)
    return f"binary:///bin/sh?-c={quote(script)}{words}"


def script_in(directory, script):
    return f"cd '{directory}'; {script}"


async def _written_to_the_end(stdio, data):
    """As a process writes to its output, and ends."""
    await stdio.ready()
    out = os.dup(stdio.child[1])
    stdio.forked()
    await asyncio.wait_for(asyncio.to_thread(_write, out, data), 20)
    os.close(out)
    stdio.finish()
    await asyncio.wait_for(stdio.drain(1), 10)


def opened(directory, script, **paths):
    return Stdio(StdioPaths(stdout=uri(script_in(directory, script)), **paths), os.geteuid(), "c1", "ns")


async def test_both_streams_reach_the_program_to_the_last_byte(tmp_path):
    stdio = opened(tmp_path, KEEP)
    await stdio.ready()
    out, err = os.dup(stdio.child[1]), os.dup(stdio.child[2])
    stdio.forked()
    text = os.urandom(1 << 20)
    await asyncio.to_thread(_write, out, text)
    os.write(err, b"to stderr")
    for fd in (out, err):
        os.close(fd)
    stdio.finish()
    await asyncio.wait_for(stdio.drain(1), 10)
    assert (tmp_path / "out").read_bytes() == text
    assert (tmp_path / "err").read_bytes() == b"to stderr"
    stdio.close()


@pytest.mark.parametrize(("terminal", "name", "line"), [(False, "err", b"late\n"), (True, "out", b"late\r\n")])
async def test_a_line_of_the_daemon_reaches_it_while_the_process_runs_and_is_dropped_after(
    tmp_path, terminal, name, line
):
    stdio = opened(tmp_path, KEEP, terminal=terminal)
    await stdio.ready()
    streams = [os.dup(fd) for fd in stdio.child]
    stdio.forked()
    stdio.write_line("late")
    for fd in streams:
        os.close(fd)
    stdio.finish()
    await asyncio.wait_for(stdio.drain(1), 10)
    stdio.write_line("after its end")
    assert (tmp_path / name).read_bytes() == line
    stdio.close()


async def test_it_gets_the_words_of_the_query_and_two_variables_and_nothing_else(tmp_path):
    script = "/usr/bin/env > env; echo $0 $1 > words; exec 5>&-; cat <&3"
    logger = Logger(uri(script_in(tmp_path, script), "key=a%20b", "flag"), "c1", "ns")
    await logger.ready()
    for output in logger.outputs:
        output.handed_over()
    await logger.end()
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "_"} == {"CONTAINER_ID", "CONTAINER_NAMESPACE"}  # the shell's own three
    assert (tmp_path / "words").read_text() == "key a b\n"


async def test_it_gets_its_three_descriptors_and_none_that_we_were_started_with(tmp_path):
    stray = os.dup(2)
    os.set_inheritable(stray, True)
    logger = Logger(uri(script_in(tmp_path, "/bin/ls /proc/self/fd > fds; exec 5>&-; cat <&3")), "c1", "ns")
    os.close(stray)
    await logger.ready()
    logger.close()
    await logger._gone
    # ls opens one more, the directory that it lists
    assert len(set((tmp_path / "fds").read_text().split()) - {"0", "1", "2", "3", "4", "5"}) == 1


async def test_its_children_end_with_it_when_it_is_ended(tmp_path):
    script = script_in(tmp_path, f"trap '' TERM; sleep 1000 5>&- & echo $! > child; {READY}wait")
    logger = Logger(uri(script), "c1", "ns")
    await logger.ready()
    child = os.pidfd_open(int((tmp_path / "child").read_text()))
    logger.close()
    await asyncio.wait_for(asyncio.to_thread(select.select, [child], [], []), 10)
    os.close(child)
    await logger._gone


async def test_a_byte_is_an_answer_too(tmp_path):
    logger = Logger(uri("echo >&5; cat <&3"), "c1", "ns")
    await logger.ready()
    logger.close()
    await logger._gone


@pytest.mark.parametrize(("script", "stall"), [("sleep 0.1; exit 3", 1000), ("trap '' TERM; sleep 1000", 0.1)])
async def test_a_dead_or_hung_logger_blocks_a_process_for_a_limited_time(tmp_path, monkeypatch, script, stall):
    monkeypatch.setattr(module, "STALL_SECONDS", stall)
    stdio = opened(tmp_path, READY + script)
    await _written_to_the_end(stdio, bytes(1 << 20))
    stdio.close()


async def test_a_slow_logger_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALL_SECONDS", 0.2)
    slow = "while dd bs=65536 count=1 2>/dev/null >> out <&3 && [ $(stat -c %s out) -lt 600000 ]; do sleep 0.05; done"
    stdio = opened(tmp_path, f"{READY}{slow}; cat <&3 >> out")
    await _written_to_the_end(stdio, bytes(900_000))
    assert (tmp_path / "out").stat().st_size == 900_000
    stdio.close()


async def test_one_that_does_not_end_is_reported_and_then_killed(tmp_path, monkeypatch):
    for name in ("EOF_SECONDS", "TERM_SECONDS"):
        monkeypatch.setattr(module, name, 0.3)
    polite = Logger(uri(script_in(tmp_path, f"trap 'echo told > told; exit' TERM; {READY}sleep 1000 & wait")), "c", "n")
    stubborn = Logger(uri(f"trap '' TERM; {READY}while :; do sleep 0.1; done"), "c", "n")
    for logger in (polite, stubborn):
        await logger.ready()
        await asyncio.wait_for(logger.end(), 10)
    assert (tmp_path / "told").read_text() == "told\n"


async def test_one_that_never_says_it_is_ready_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READY_SECONDS", 0.1)
    logger = Logger(uri("sleep 1000"), "c1", "ns")
    with pytest.raises(DeadlineExceeded, match=r"logger '/bin/sh': not ready after 0\.1 s"):
        await logger.ready()
    logger.close()
    await asyncio.wait_for(logger._gone, 5)


async def test_one_that_ends_at_once_is_reported():
    logger = Logger(uri("exit 7"), "c1", "ns")
    with pytest.raises(InvalidArgument, match="logger '/bin/sh': ended with code 7 before it was ready"):
        await logger.ready()
    logger.close()
    await logger._gone


@pytest.mark.parametrize(
    ("stdout", "error", "message"),
    [
        ("binary:///none", NotFound, "logger '/none' does not exist"),
        ("binary:///etc/passwd", PermissionDenied, "logger '/etc/passwd': Permission denied"),
        ("binary://host/bin/true", InvalidArgument, "not the URI of a program"),
        ("binary:true", InvalidArgument, "not the URI of a program"),
        ("binary:///bin/true?a=%00", InvalidArgument, "not the URI of a program"),
    ],
)
async def test_what_is_no_program_is_refused_by_name_and_nothing_stays_open(stdout, error, message):
    with pytest.raises(error, match=message):
        Stdio(StdioPaths(stdout=stdout, stderr=stdout), 0, "c1", "ns")


def _write(fd, data):
    while data:
        data = data[os.write(fd, data) :]
