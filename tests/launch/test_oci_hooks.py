"""Hooks: what they get, and how their failures are reported."""

import json
import os
import time

import pytest

from pelagos_core import reasons
from pelagos_core.errors import FailedPrecondition
from pelagos_core.launch import oci_hooks
from pelagos_core.oci import Hook, Process, Spec
from pelagos_core.plugin.bundle import Bundle

BUNDLE = Bundle("c1", "ns", "/b", Spec(process=Process(args=("/x",)), annotations={"a": "b"}), ())
STATE = oci_hooks.state(BUNDLE, "creating", 7)


def hook(line, timeout=None, env=()):
    return Hook("prestart[0]", "/bin/sh", ("sh", "-c", line), env, timeout)


def test_the_state_is_the_runtime_specs():
    assert json.loads(STATE) == {
        "ociVersion": BUNDLE.spec.oci_version or "1.0.2",
        "id": "c1",
        "status": "creating",
        "pid": 7,
        "bundle": "/b",
        "annotations": {"a": "b"},
    }


def test_a_hook_has_the_state_its_environment_and_nothing_of_ours(tmp_path):
    oci_hooks.run([hook("cat > state; env > env; ls /proc/$$/fd > fds", env=("A=b=c",))], STATE, str(tmp_path))
    assert (tmp_path / "state").read_bytes() == STATE
    lines = (tmp_path / "env").read_text().splitlines()
    assert {line for line in lines if not line.startswith(("PWD=", "OLDPWD=", "_=", "SHLVL="))} == {"A=b=c"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("echo no; exit 3", "exit code 3: no"),
        ("exit 4", "exit code 4"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_a_failure_is_reported_with_what_it_said(line, told):
    with pytest.raises(FailedPrecondition, match=rf"^hook prestart\[0\] '/bin/sh': {told} \[PLG-HOOK\]$") as raised:
        oci_hooks.run([hook(line)], STATE)
    assert raised.value.reason == reasons.HOOK


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(FailedPrecondition, match="'/proc/none/such': No such file"):
        oci_hooks.run([Hook("prestart[0]", "/proc/none/such", ("x",))], STATE)


def test_the_first_failure_is_the_last_that_is_run(tmp_path):
    with pytest.raises(FailedPrecondition, match="exit code 1"):
        oci_hooks.run([hook("touch one; exit 1"), hook("touch two")], STATE, str(tmp_path))
    assert os.listdir(tmp_path) == ["one"]


def test_one_that_takes_too_long_is_ended_with_what_it_has_started(tmp_path):
    began = time.monotonic()
    with pytest.raises(FailedPrecondition, match="has not ended after 1 s: wait"):
        oci_hooks.run([hook("echo wait; sleep 60 & sleep 60; true", timeout=1)], STATE, str(tmp_path))
    assert time.monotonic() - began < 30
