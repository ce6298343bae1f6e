"""A device policy as a BPF program, for cgroup v2, which has no control files for devices.

The kernel runs the program for each open(2) and mknod(2) of a device, with a pointer to three
32-bit words: access << 16 | type, major, minor. It returns 1 (allowed) or 0 (EPERM). Source:
linux/bpf.h (`struct bpf_cgroup_dev_ctx`), bpf-docs "Instruction set".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.oci.resources import DeviceRule

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_…
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_…
_ALL_ACCESS = 7

_RESULT, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _SCRATCH = range(7)  # the registers, r0 to r6

_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_AND, _SHIFT_RIGHT, _MOVE, _MOVE_REGISTER = 0x54, 0x74, 0xB4, 0xBC  # BPF_ALU, 32 bits
_JUMP_IF_NOT, _JUMP_IF_NOT_REGISTER, _JUMP_IF = 0x56, 0x5E, 0x16  # BPF_JMP32: 32 bits are compared
_EXIT = 0x95


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. A jump's offset is the number of instructions to skip."""

    opcode: int
    target: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0

    def encode(self) -> bytes:
        """Its eight bytes."""
        # The 32-bit immediate is signed; device numbers are unsigned.
        value = self.value - 2**32 if self.value >= 2**31 else self.value
        return struct.pack("<BBhi", self.opcode, self.source << 4 | self.target, self.offset, value)


def program(policy: DevicePolicy) -> bytes:
    """The program of a policy, as instructions for bpf(2)."""
    instructions = [
        Instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        Instruction(_MOVE_REGISTER, _WANTED, _TYPE),
        Instruction(_AND, _TYPE, value=0xFFFF),
        Instruction(_SHIFT_RIGHT, _WANTED, value=16),
        Instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        Instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in policy.exceptions:
        instructions += _rule(rule)
    instructions += _answer(allow=policy.allow)
    return b"".join(instruction.encode() for instruction in instructions)


def _rule(rule: DeviceRule) -> list[Instruction]:
    """Return a result if the rule matches the device and access, else fall through to the next rule.

    An allow rule must cover all requested access, a deny rule any part of it.
    """
    test: list[Instruction] = [Instruction(_JUMP_IF_NOT, _TYPE, value=_TYPES[rule.type])]
    access = sum(_ACCESS[letter] for letter in rule.access)
    if access != _ALL_ACCESS:
        test += [Instruction(_MOVE_REGISTER, _SCRATCH, _WANTED), Instruction(_AND, _SCRATCH, value=access)]
        if rule.allow:
            test.append(Instruction(_JUMP_IF_NOT_REGISTER, _SCRATCH, _WANTED))
        else:
            test.append(Instruction(_JUMP_IF, _SCRATCH, value=0))
    for register, number in ((_MAJOR, rule.major), (_MINOR, rule.minor)):
        if number is not None:
            test.append(Instruction(_JUMP_IF_NOT, register, value=number))
    whole = [*test, *_answer(allow=rule.allow)]
    return [_over(instruction, len(whole) - place - 1) for place, instruction in enumerate(whole)]


def _over(instruction: Instruction, rest: int) -> Instruction:
    """Turn a jump into one past the rest of its rule; return any other instruction unchanged."""
    if instruction.opcode not in (_JUMP_IF_NOT, _JUMP_IF_NOT_REGISTER, _JUMP_IF):
        return instruction
    return Instruction(instruction.opcode, instruction.target, instruction.source, rest, instruction.value)


def _answer(*, allow: bool) -> list[Instruction]:
    return [Instruction(_MOVE, _RESULT, value=int(allow)), Instruction(_EXIT)]
