"""What plan.h declares is the same in Python."""

import errno
import struct
import subprocess

import pytest

from pelagos_core.launch import nursery
from pelagos_core.native import instruction, library, process
from tests.support.c_program import compiled

_MAIN = """
#include <stddef.h>
#include <stdio.h>
#include "{header}"
int main(void) {{
    {statements}
    return 0;
}}
"""


@pytest.fixture
def in_c(tmp_path):
    """What C's integer expressions are; the first argument is the header that they are about."""

    def values(header, *expressions):
        statements = "\n    ".join(f'printf("%lld ", (long long)({each}));' for each in expressions)
        source = tmp_path / "main.c"
        source.write_text(_MAIN.format(header=header, statements=statements))
        program = compiled(tmp_path / "main", [source])
        return [int(word) for word in subprocess.run([program], capture_output=True, check=True).stdout.split()]

    return values


def test_the_fields_of_a_process_are_where_python_writes_them(in_c):
    fields = process._Fields
    names = [name for name, _ in fields._fields_]
    assert names[:3] == ["slot", "step", "stage"]
    places = in_c("plan.h", *(f"offsetof(struct process, {name})" for name in names))
    assert places == [getattr(fields, name).offset for name in names]
    sizes = in_c("plan.h", *(f"sizeof ((struct process *)0)->{name}" for name in names))
    assert sizes == [getattr(fields, name).size for name in names]


def test_limits_of_a_plan_are_the_same(in_c):
    own = [instruction.MAX_SLOTS, instruction.MAX_ARGUMENTS, process.MAX_PATH]
    assert in_c("plan.h", "MAX_SLOTS", "MAX_ARGUMENTS", "MAX_PATH") == own
    assert in_c("message.h", "MAX_PLAN") == [nursery.MAX_PLAN]


def test_the_head_of_a_plan_is_packed_as_it_is_read(in_c):
    packed = nursery.head([3, -1, 5], 1 << 40)
    names = ("flags", "count", "slots[0]", "slots[1]", "slots[2]", "slots[7]")
    size, *places = in_c("message.h", "sizeof(struct plan_head)", *map("offsetof(struct plan_head, {})".format, names))
    assert len(packed) == size
    kinds = "q", *"iiiii"
    values = [struct.unpack_from(f"={kind}", packed, at)[0] for kind, at in zip(kinds, places, strict=True)]
    assert values == [1 << 40, 3, 3, -1, 5, 0]
    own = [nursery._MAX_DESCRIPTORS, nursery._CLONE_IN_GROUP, nursery._CLONE_IN_NAMESPACE]
    assert in_c("message.h", "MAX_RECEIVED", "CLONE_IN_GROUP", "CLONE_IN_NAMESPACE") == own


@pytest.mark.parametrize(
    ("count", "is_plan"), [(instruction.MAX_ARGUMENTS, True), (instruction.MAX_ARGUMENTS + 1, False)]
)
def test_an_operation_has_no_more_arguments_than_there_is_room_for(count, is_plan):
    code, kinds = library.operations()["show_relative_links"]
    assert kinds == "*"
    plan = struct.pack("=HH", code, count) + bytes(5) * count  # each without a byte of its own
    error = library.library().plan_execute(process.NativeProcess()._memory, plan, len(plan))
    assert (error != -errno.EBADMSG) == is_plan
