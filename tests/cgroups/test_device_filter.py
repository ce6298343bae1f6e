"""Device filters: decoded and run here, on a BPF machine of thirty lines, and by the kernel."""

import itertools
import os
import secrets
import struct
import subprocess

import pytest

from pelagos_core.cgroups.device_filter import program
from pelagos_core.cgroups.device_rules import DevicePolicy
from pelagos_core.linux import bpf_syscalls
from pelagos_core.oci.resources import DeviceRule
from tests.support.child import in_child

NULL, FUSE = (1, 3), (10, 229)
BIG = 2**32 - 1
WORD = 2**32 - 1


def run(code, kind, access, major, minor):
    """What a filter answers for a device. Anything the kernel's machine would not do fails."""
    context = (access << 16 | kind, major, minor)
    registers = {1: "context"}
    place = 0
    while True:
        opcode, both, offset, value = struct.unpack_from("<BBhi", code, place * 8)
        target, source = both & 15, both >> 4
        place += 1
        if opcode == 0x61:
            assert registers[source] == "context"
            registers[target] = context[offset // 4]
        elif opcode == 0xB4:
            registers[target] = value & WORD
        elif opcode == 0xBC:
            registers[target] = registers[source]
        elif opcode == 0x54:
            registers[target] &= value & WORD
        elif opcode == 0x74:
            registers[target] >>= value
        elif opcode == 0x95:
            return registers[0]
        else:
            other = registers[source] if opcode == 0x5E else value & WORD
            assert opcode in (0x16, 0x56, 0x5E)
            place += offset if (registers[target] == other) is (opcode == 0x16) else 0
            assert offset > 0


def expected(policy, kind, access, major, minor):
    """The same by the words of devices.rst."""
    letters = {letter for letter, bit in (("m", 1), ("r", 2), ("w", 4)) if access & bit}
    for rule in policy.exceptions:
        here = rule.type == {1: "b", 2: "c"}[kind] and rule.major in (None, major) and rule.minor in (None, minor)
        if here and (letters <= set(rule.access) if rule.allow else letters & set(rule.access)):
            return int(rule.allow)
    return int(policy.allow)


POLICIES = [
    (),
    (DeviceRule(True),),
    (DeviceRule(False), DeviceRule(True, "c", *FUSE, "rw"), DeviceRule(True, "b", 8, None, "r")),
    (DeviceRule(True), DeviceRule(False, "b", None, None, "w"), DeviceRule(False, "c", *FUSE, "rwm")),
    (DeviceRule(True, "b", BIG, BIG, "rm"),),
]


@pytest.mark.parametrize("rules", POLICIES)
def test_a_filter_answers_as_its_policy_says(rules):
    policy = DevicePolicy.of(rules)
    code = program(policy)
    devices = [NULL, FUSE, (8, 0), (8, 7), (136, 5), (5, 2), (5, 1), (BIG, BIG), (2**31, 1)]
    for kind, access, device in itertools.product((1, 2), range(1, 8), devices):
        assert run(code, kind, access, *device) == expected(policy, kind, access, *device), (kind, access, device)


def test_a_short_filter_is_what_is_written_down():
    # r2 type, r3 access, r4 major, r5 minor: load, copy, mask, shift, load, load; answer
    assert program(DevicePolicy(False)).hex(" ", 8) == (
        "6112000000000000 bc23000000000000 54020000ffff0000 7403000010000000 "
        "6114040000000000 6115080000000000 b400000000000000 9500000000000000"
    )


@pytest.mark.root
def test_the_kernel_enforces_a_filter(tmp_path):
    # Beside the v1 hierarchies, v2 may be mounted too: it has no controllers then, but filters.
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", tmp_path], check=True)
    path = tmp_path / f"pelagos-test-{secrets.token_hex(4)}"
    try:
        path.mkdir()
        answers = in_child(lambda: _opens_in(path))
        path.rmdir()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert answers == {"/dev/null": "yes", "/dev/zero": "yes", "/dev/kmsg": "Operation not permitted"}


def _opens_in(path):
    directory = os.open(path, os.O_RDONLY)
    loaded = bpf_syscalls.load_device_filter(program(DevicePolicy.of(())))
    bpf_syscalls.attach_device_filter(loaded, directory)
    with open(f"{path}/cgroup.procs", "w") as file:
        file.write("0")
    answers = {}
    for device in ("/dev/null", "/dev/zero", "/dev/kmsg"):
        try:
            os.close(os.open(device, os.O_RDONLY))
            answers[device] = "yes"
        except OSError as error:
            answers[device] = error.strerror
    return answers
