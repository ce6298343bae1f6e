"""bpf(2): loads a BPF program into the kernel and attaches it to a control group."""

from __future__ import annotations

import ctypes
import os
import platform

_SYS_BPF = 321 if platform.machine() == "x86_64" else 280

_BPF_PROG_LOAD, _BPF_PROG_ATTACH = 5, 8
_BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE = 15, 6
_BPF_F_ALLOW_MULTI = 2

INSTRUCTION_BYTES = 8
"""The size of an instruction: of extended BPF (bpf(2)) and of classic BPF (seccomp(2))."""

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


def _checked(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


def _bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    return _checked(_syscall(ctypes.c_long(_SYS_BPF), ctypes.c_int(command), ctypes.byref(attributes), size), what)


def load_device_filter(program: bytes) -> int:
    """Load a device filter, which the kernel checks. Returns its descriptor. Raises OSError."""
    text = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    count = len(program) // INSTRUCTION_BYTES
    load = _ProgLoad(_BPF_PROG_TYPE_CGROUP_DEVICE, count, ctypes.addressof(text), ctypes.addressof(licence))
    return _bpf(_BPF_PROG_LOAD, load, "bpf: load a device filter")


def attach_device_filter(program: int, cgroup: int) -> None:
    """Attach a loaded filter to the group of an open directory, in addition to its parents' filters. Raises OSError."""
    attach = _ProgAttach(cgroup, program, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI)
    _bpf(_BPF_PROG_ATTACH, attach, "bpf: attach a device filter")
