"""The system calls that give the kernel a BPF program: bpf(2) and seccomp(2)."""

from __future__ import annotations

import ctypes
import os
import platform

_X86_64 = platform.machine() == "x86_64"
_SYS_BPF = 321 if _X86_64 else 280
_SYS_SECCOMP = 317 if _X86_64 else 277

_BPF_PROG_LOAD, _BPF_PROG_ATTACH = 5, 8
_BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE = 15, 6
_BPF_F_ALLOW_MULTI = 2
_SECCOMP_SET_MODE_FILTER = 1

INSTRUCTION_BYTES = 8
"""Of either BPF: the extended one of bpf(2), and the classic one of seccomp(2)."""

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log", ctypes.c_uint64 * 3),
    )


class _ProgAttach(ctypes.Structure):
    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
    )


class _FilterProgram(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


def _bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    return _checked(_syscall(ctypes.c_long(_SYS_BPF), ctypes.c_int(command), ctypes.byref(attributes), size), what)


def load_device_filter(program: bytes) -> int:
    """Have the kernel check a device filter; return its descriptor."""
    text = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    count = len(program) // INSTRUCTION_BYTES
    load = _ProgLoad(_BPF_PROG_TYPE_CGROUP_DEVICE, count, ctypes.addressof(text), ctypes.addressof(licence))
    return _bpf(_BPF_PROG_LOAD, load, "bpf: load a device filter")


def attach_device_filter(program: int, cgroup: int) -> None:
    """Attach a loaded filter to the group of an open directory, beside those of its parents."""
    attach = _ProgAttach(cgroup, program, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI)
    _bpf(_BPF_PROG_ATTACH, attach, "bpf: attach a device filter")


def install_filter(program: bytes, flags: int) -> None:
    """seccomp(2): put a filter of system calls on the calling thread, or on all with TSYNC."""
    text = ctypes.create_string_buffer(program, len(program))
    filter_program = _FilterProgram(len(program) // INSTRUCTION_BYTES, ctypes.addressof(text))
    mode = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER)
    result = _syscall(ctypes.c_long(_SYS_SECCOMP), mode, ctypes.c_uint(flags), ctypes.byref(filter_program))
    if result > 0:  # with TSYNC: a thread that has other filters
        raise OSError(f"seccomp: thread {result} cannot be given the filter")
    _checked(result, "seccomp")
