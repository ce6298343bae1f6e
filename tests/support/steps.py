"""Executes steps of a plan in the calling process, usually a child of the test."""

from __future__ import annotations

from pelagos_core.isolation.operation import Operation, execute
from pelagos_core.isolation.seccomp import Filter
from pelagos_core.isolation.state import State
from pelagos_core.native.instruction import instruction
from pelagos_core.native.process import NativeProcess
from pelagos_core.rootfs.root import Root
from tests.support.absent import ABSENT


def take(*steps: Operation) -> State:
    """Execute the steps; return the state with the process's slots."""
    state = State(Root(ABSENT))
    execute(steps, state)
    return state


def confine(program: bytes) -> None:
    """Install a system call filter in this process; no capability is needed."""
    assert NativeProcess().run([instruction("forbid_new_privileges")]) is None
    Filter(program).install()


def keep_capabilities(mask: int) -> None:
    """Drop all capabilities except these."""
    assert NativeProcess().run([instruction("set_capabilities", mask, mask, 0, 0)]) is None
