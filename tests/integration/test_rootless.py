"""The shim below a containerd without root: its parent has made a user namespace, in which it is root."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from pelagos_core.errors import PelagosError
from pelagos_core.linux import syscalls
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.child import in_child
from tests.support.native import change_linux, config_of, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

NOBODY = 65534


def become(uid):
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # A change of user makes a process undumpable, and its files in /proc root's.
        syscalls.prctl(4, 1)  # PR_SET_DUMPABLE


def can_run_python(uid):
    def run():
        become(uid)
        return os.access(os.path.realpath(sys.executable), os.X_OK) and os.access(__file__, os.R_OK)

    return in_child(run)


@pytest.fixture
def rootless():
    """Run a coroutine function as root of a user namespace that maps one user, and nothing else.

    The user is an ordinary one where such a one may run this Python: on a developer's machine
    it may be in root's home.
    """
    uid = NOBODY if can_run_python(NOBODY) else 0

    def run(function, *args):
        def enter():
            directory = Path(tempfile.mkdtemp(prefix="pelagos-"))
            os.chown(directory, uid, uid)
            become(uid)
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {uid} 1")):
                with open(f"/proc/self/{name}", "wb", buffering=0) as file:
                    file.write(text.encode())
            try:
                return asyncio.run(function(directory, *args))
            finally:
                shutil.rmtree(directory, ignore_errors=True)

        return in_child(enter)

    return run


async def ran(directory, bundle):
    fifos = Fifos(bundle)
    try:
        async with running_shim(directory) as shim:
            code = await shim.run("c1", bundle, fifos)
            return (code, *fifos.output())
    finally:
        fifos.close()


def test_a_guest_runs(rootless, guests):
    async def run(directory):
        return await ran(directory, make_bundle(directory / "b", "/app.wasm", "args", "x", module=guests / "tool.wasm"))

    code, out, err = rootless(run)
    assert (code, err) == (0, "")
    assert "x" in out


def test_a_native_program_runs_with_the_devices_of_the_host_mounted(rootless):
    async def run(directory):
        script = "id -u; echo lost > /dev/null; head -c 2 /dev/zero | wc -c; cat /proc/1/comm; ls /sys/class/net"
        bundle = shell(directory / "b", script)
        mounts = config_of(bundle)["mounts"]
        for mount in mounts:  # no group but one is mapped: such specs leave this one out
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
        change_config(bundle, mounts=mounts)
        return await ran(directory, bundle)

    assert rootless(run) == (0, "0\n2\nsh\nlo\n", "")


def test_what_needs_more_is_refused_by_name(rootless, guests):
    async def run(directory):
        refusals = []
        for name, change in (
            ("hosts", {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.sem": "1 1 1 1"}}),
            (
                "map",
                {
                    "namespaces": [{"type": kind} for kind in ("user", "mount", "pid")],
                    "uidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
                    "gidMappings": [{"containerID": 0, "hostID": 5, "size": 1}],
                },
            ),
        ):
            bundle = make_bundle(directory / name, module=guests / "hello.wasm")
            change_linux(bundle, **change)
            async with running_shim(directory / name) as shim:
                try:
                    await shim.create("c1", bundle)
                except PelagosError as error:
                    refusals.append(str(error))
        return refusals

    hosts, mapped = rootless(run)
    assert "kernel.sem: the spec has no ipc namespace" in hosts
    assert "gid_map '0 5 1': Operation not permitted" in mapped
