"""Which directories a guest is given, and where its relative paths start."""

import os

import pytest
import wasmtime

from pelagos_core.config.policy import EVERYTHING, Directory, Policy
from pelagos_core.launch import preopens
from pelagos_core.oci import Mount, Process, Spec
from pelagos_core.oci import Root as SpecRoot
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Preopen
from pelagos_core.rootfs.root import Root

OPENS = '(module (import "wasi_snapshot_preview1" "path_open" (func)))'
PRINTS = '(module (import "wasi_snapshot_preview1" "fd_write" (func)))'
OPENS_IN_GO = '(module (import "wasi_snapshot_preview1" "path_open" (func)) (@custom "go:buildid" "x"))'
COMPONENT = '(component (import "wasi:filesystem/preopens@0.2.0" (instance)))'


@pytest.fixture
def root(tmp_path):
    (tmp_path / "opt/app").mkdir(parents=True)
    (tmp_path / "srv").symlink_to("/opt")
    root = Root(str(tmp_path))
    root.process["root"] = os.open(tmp_path, os.O_PATH)
    yield root
    os.close(root.fd)


def given(*mounts, cwd="/", readonly=False, policy=EVERYTHING):
    spec = Spec(Process(args=("/x",), cwd=cwd), root=SpecRoot(readonly=readonly), mounts=mounts)
    return preopens.of(Bundle("c1", "ns", "/b", spec, (), policy))


def test_a_guest_is_given_the_root_and_nothing_besides_that_would_take_from_it():
    mounts = (Mount("/data", "bind", "/x", ("ro",)), Mount("/data/out", "bind", "/y"))
    assert given() == given(*mounts, cwd="/data/out") == given(*mounts, readonly=True) == (Preopen("/", "/"),)


def test_a_policy_leaves_the_root_that_it_has_narrowed_or_none():
    lists = ((Directory("/data"), Directory("/work")), (Directory("/data/out", True),))
    assert given(policy=Policy(directories=lists)) == (Preopen("/", "/"),)
    assert given(cwd="/work", policy=Policy(directories=(*lists, ()))) == ()


def test_the_working_directory_is_the_variable_PWD(root):
    env = ("A=1", "PWD=/of/the/image", "PWDX=2")
    assert preopens.variables(env, "/", root) == preopens.variables(env, "//.", root) == env
    assert preopens.variables(env, "/opt/app/", root) == ("A=1", "PWDX=2", "PWD=/opt/app")


def test_links_on_the_way_to_it_are_followed_before_an_engine_meets_them(root):
    assert preopens.variables((), "/srv/app", root) == ("PWD=/opt/app",)


def test_one_that_a_policy_has_taken_away_is_not_replaced_by_another(root):
    assert preopens.variables((), "/taken/away", root) == ("PWD=/taken/away",)


def warning(tmp_path, source, cwd):
    """For a guest from its text: in binary form where that is one."""
    path = tmp_path / "guest"
    path.write_bytes(source if isinstance(source, bytes) else wasmtime.wat2wasm(source))
    with open(path, "rb") as file:
        return preopens.warning(Entrypoint.of(Process(args=("/x",), cwd=cwd), "/x", "", file.fileno()))


@pytest.mark.parametrize("source", [OPENS, COMPONENT, OPENS.encode(), COMPONENT.encode()])
def test_a_guest_that_opens_files_is_warned_if_they_are_looked_for_elsewhere(tmp_path, source):
    assert warning(tmp_path, source, "/data").endswith("not in its working directory '/data' [PLG-CWD]")
    assert warning(tmp_path, source, "/") == warning(tmp_path, source, "//") == ""


@pytest.mark.parametrize(
    "source", [PRINTS, OPENS_IN_GO, PRINTS.encode(), b"\0asm\1\0\0\0\xff", b"\0asm\x0d\0\1\0\x0a\7\1"]
)
def test_one_that_opens_none_or_starts_there_is_not(tmp_path, source):
    assert warning(tmp_path, source, "/data") == ""
