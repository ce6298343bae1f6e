"""libseccomp: compiles a profile to a classic BPF program for seccomp(2).

A binding of the few functions that are needed; the library is opened for the first profile. The only pure Python
binding on PyPI has had no release since 2021, and runs a compiler at its import to find the library.
libseccomp's own binding is not on PyPI.
Source: seccomp_init(3), seccomp_rule_add(3), seccomp_export_bpf(3), seccomp.h.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import struct
from collections.abc import Iterable

from pelagos_core.errors import FailedPrecondition, Internal, InvalidArgument
from pelagos_core.oci.seccomp import OPERATORS, Condition, Rule, Seccomp

_NAME = "libseccomp.so.2"
_ACTIONS = {
    "KILL": 0x00000000,
    "KILL_THREAD": 0x00000000,
    "KILL_PROCESS": 0x80000000,
    "TRAP": 0x00030000,
    "ERRNO": 0x00050000,
    "TRACE": 0x7FF00000,
    "LOG": 0x7FFC0000,
    "ALLOW": 0x7FFF0000,
}
_NUMBERED = ("ERRNO", "TRACE")
_UNKNOWN_CALL = -1  # __NR_SCMP_ERROR

# seccomp_attr_set(3), SCMP_FLTATR_CTL_OPTIMIZE: the program finds calls by a binary search. When a filter is installed,
# the kernel runs it for every call (seccomp_cache_prepare in kernel/seccomp.c), which takes half as long then.
_OPTIMIZE, BINARY_TREE = 8, 2


# The machine's AUDIT_ARCH value (linux/audit.h), and the first number of x32's calls on x86-64.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_CALLS = 0x40000000
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_GREATER, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x06  # linux/bpf_common.h
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in seccomp(2)'s struct seccomp_data


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_NAME)
    except OSError:
        raise FailedPrecondition(f"linux.seccomp: {_NAME} is not installed (Debian: libseccomp2)") from None
    library.seccomp_version.argtypes = ()
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_release.restype = None
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    )
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    return library


def version() -> str:
    """The library's version, such as `2.5.4`. Raises FailedPrecondition without the library."""
    numbers = _library().seccomp_version().contents
    return f"{numbers.major}.{numbers.minor}.{numbers.micro}"


def compile_profile(profile: Seccomp) -> bytes:
    """Compile a profile. Takes milliseconds: call it once for each profile.

    Raises InvalidArgument if the library refuses the profile, FailedPrecondition without the library.
    """
    library = _library()
    default = _action(profile.default_action, profile.default_number)
    context = library.seccomp_init(default)
    if not context:
        raise InvalidArgument(f"linux.seccomp.defaultAction: {profile.default_action}")
    try:
        library.seccomp_attr_set(context, _OPTIMIZE, BINARY_TREE)  # without effect before 2.5
        for name in profile.architectures:
            _add_architecture(context, name)
        for rule in profile.rules:
            _add(context, rule, default)
        return _unknown_calls(profile) + _exported(context)
    finally:
        library.seccomp_release(context)


def _unknown_calls(profile: Seccomp) -> bytes:
    """Instructions that precede all others: calls that are newer than the profile return ENOSYS, as in runc.

    On ENOSYS for a new call the C library uses an older call; on EPERM it fails.
    """
    architecture = _ARCHITECTURES.get(platform.machine())
    numbers = [_resolved(name) for rule in profile.rules for name in rule.names]
    if architecture is None or profile.default_action != "ERRNO" or not numbers:
        return b""
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_GREATER_EQUAL, 2, 0, _X32_CALLS),
        (_JUMP_GREATER, 0, 1, max(*numbers, 0)),
        (_RETURN, 0, 0, _action("ERRNO", errno.ENOSYS)),
    )
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _resolved(name: str) -> int:
    """The number of a call; negative if this machine has no call of that name."""
    return int(_library().seccomp_syscall_resolve_name(name.encode()))


def _add_architecture(context: int, name: str) -> None:
    token = _library().seccomp_arch_resolve_name(name.encode())
    if not token:
        raise InvalidArgument(f"linux.seccomp.architectures: {name!r} is unknown to {_NAME}")
    result = _library().seccomp_arch_add(context, token)
    if result not in (0, -errno.EEXIST):  # a filter contains the machine's own architecture already
        raise InvalidArgument(f"linux.seccomp.architectures: {name!r}: {os.strerror(-result)}")


def _add(context: int, rule: Rule, default: int) -> None:
    action = _action(rule.action, rule.number)
    if action == default:
        return  # the library refuses a rule whose action is the default
    for name in rule.names:
        number = _resolved(name)
        # A profile may name calls of other architectures and of later kernels.
        if number == _UNKNOWN_CALL:
            continue
        for conditions in _alternatives(rule.conditions):
            comparisons = (_Comparison * len(conditions))(*map(_comparison, conditions))
            result = _library().seccomp_rule_add_array(context, action, number, len(conditions), comparisons)
            if result not in (0, -errno.EEXIST):
                raise InvalidArgument(f"linux.seccomp.syscalls: {name}: {os.strerror(-result)}")


def _alternatives(conditions: tuple[Condition, ...]) -> Iterable[tuple[Condition, ...]]:
    """Split conditions: all must hold, but two on the same argument are alternatives, as in runc."""
    indices = {condition.index for condition in conditions}
    return [conditions] if len(indices) == len(conditions) else [(condition,) for condition in conditions]


def _comparison(condition: Condition) -> _Comparison:
    return _Comparison(condition.index, OPERATORS.index(condition.operator) + 1, condition.value, condition.value_two)


def _action(action: str, number: int) -> int:
    return _ACTIONS[action] | (number if action in _NUMBERED else 0)


def _exported(context: int) -> bytes:
    with open(os.memfd_create("seccomp"), "r+b") as file:
        result = _library().seccomp_export_bpf(context, file.fileno())
        if result:
            raise Internal(f"linux.seccomp: {_NAME} cannot export: {os.strerror(-result)}")
        file.seek(0)
        return file.read()
