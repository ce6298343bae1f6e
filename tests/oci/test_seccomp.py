"""linux.seccomp: what is read of it, and what is refused by name."""

import json

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci.field import Field
from pelagos_core.oci.seccomp import Condition, Rule, Seccomp, read_seccomp

WHOLE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_TRACE",
            "errnoRet": 7,
            "args": [{"index": 0, "value": 2114060288, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}],
        },
    ],
}


def read(seccomp):
    return read_seccomp(Field.parse("config.json: linux.seccomp", json.dumps(seccomp).encode()))


def test_everything_is_read():
    assert read(WHOLE) == Seccomp(
        default_action="ERRNO",
        default_number=38,
        architectures=("x86_64", "aarch64"),
        flags=("LOG",),
        rules=(
            Rule(("read", "write"), "ALLOW", 1),
            Rule(("clone",), "TRACE", 7, (Condition(0, 2114060288, 5, "MASKED_EQ"),)),
        ),
    )


def test_no_profile_is_none_and_the_default_error_is_eperm():
    assert read(None) is None
    assert read({"defaultAction": "SCMP_ACT_ERRNO"}).default_number == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defaultAction": None}, r"linux\.seccomp\.defaultAction: missing"),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "'SCMP_ACT_MAYBE' is unknown"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, r"defaultAction: SCMP_ACT_NOTIFY is not supported"),
        ({"defaultErrnoRet": 5000}, r"defaultErrnoRet: 5000 is not between"),
        ({"architectures": ["x86_64"]}, r"architectures\[0\]: 'x86_64' is unknown"),
        ({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}, r"flags\[0\]: .* is unknown"),
        ({"listenerPath": "/run/agent.sock"}, r"\['listenerPath'\]: not supported"),
        ({"syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}, r"syscalls\[0\]\.names: empty"),
        ({"syscalls": [{"names": ["read"]}]}, r"syscalls\[0\]\.action: missing"),
        (
            {
                "syscalls": [
                    {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}
                ]
            },
            r"args\[0\]\.index: 6",
        ),
        (
            {"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "=="}]}]},
            r"args\[0\]\.op: '==' is unknown",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(change, message):
    with pytest.raises(InvalidArgument, match=message):
        read({**WHOLE, **change})
