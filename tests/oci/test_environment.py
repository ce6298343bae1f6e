"""Each variable is there once, in processes and in hooks."""

import json

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import parse_process
from pelagos_core.oci.config import parse
from pelagos_core.oci.environment import read_environment
from pelagos_core.oci.field import Field


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([], ()),
        (["A=1", "B="], ("A=1", "B=")),
        (["L=info", "L=debug"], ("L=debug",)),
        (["A=1", "B=2", "A=3", "C=4", "A=5", "B=6"], ("C=4", "A=5", "B=6")),
        (["A=x=y", "A="], ("A=",)),
        (["a=1", "A=2"], ("a=1", "A=2")),  # other names: environ(7)
    ],
)
def test_the_last_of_several_is_left_at_its_own_place(given, left):
    assert read_environment(Field("env", given)) == left


@pytest.mark.parametrize("word", ["A", "=A", "=A=1", "=", ""])
def test_what_is_no_variable_is_refused(word):
    with pytest.raises(InvalidArgument, match=r"^env: .* is not NAME=VALUE$"):
        read_environment(Field("env", ["B=1", word]))


def test_processes_execs_and_hooks_read_the_same():
    twice = {"env": ["A=1", "A=2"]}
    process = {"args": ["x"], **twice}
    hooks = {"poststop": [{"path": "/x", **twice}]}
    spec = parse(json.dumps({"process": process, "hooks": hooks}).encode())
    executed = parse_process(json.dumps(process).encode())
    assert spec.process.env == executed.env == spec.hooks.poststop[0].env == ("A=2",)
