"""`hooks`, read and refused."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import Hook, Hooks
from pelagos_core.oci.field import Field
from pelagos_core.oci.hooks import read_hooks


def read(**hooks):
    return read_hooks(Field("hooks", hooks))


def test_hooks_are_read_and_the_old_name_comes_first():
    whole = {"path": "/a", "args": ["a", "b"], "env": ["X=y"], "timeout": 3}
    assert read(createRuntime=[{"path": "/c"}], prestart=[whole], poststop=[{"path": "/d"}]) == Hooks(
        create_runtime=(
            Hook("prestart[0]", "/a", ("a", "b"), ("X=y",), 3),
            Hook("createRuntime[0]", "/c", ("/c",)),
        ),
        poststop=(Hook("poststop[0]", "/d", ("/d",)),),
    )
    assert not read().while_creating
    assert read(createContainer=[{"path": "/c"}]).while_creating


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ({"path": "a"}, r"createRuntime\[0\].*path: 'a' is not absolute"),
        ({}, "path: '' is not absolute"),
        ({"path": "/a", "timeout": 0}, "timeout: 0 is not between"),
        ({"path": "/a", "env": ["X"]}, "env: 'X' is not NAME=VALUE"),
    ],
)
def test_a_wrong_hook_is_refused(hook, message):
    with pytest.raises(InvalidArgument, match=message):
        read(createRuntime=[hook])
