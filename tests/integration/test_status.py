"""A running container, seen from the host: what the kernel says of it is what the spec says."""

import asyncio
import contextlib
import os
import socket
import stat

import pytest

from pelagos_core.errors import FailedPrecondition, InvalidArgument, PelagosError
from pelagos_core.linux import capabilities
from tests.support.bundles import NAMESPACES, change_config, make_bundle
from tests.support.native import change_linux, native_bundle
from tests.support.patience import until
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

CAPABILITIES = {
    "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"],
    "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
    "effective": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
    "inheritable": ["CAP_NET_BIND_SERVICE"],
    "ambient": ["CAP_NET_BIND_SERVICE"],
}
PROCESS = {
    "user": {"uid": 1000, "gid": 2000, "additionalGids": [3000, 4000], "umask": 0o27},
    "capabilities": CAPABILITIES,
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1000}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
    "oomScoreAdj": 321,
    "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
}


def bundle_of(kind, directory, guests, **process):
    process = {**PROCESS, **process}
    if kind == "native":
        return native_bundle(directory, "/usr/bin/sleep", "1000", **process)
    return make_bundle(directory, module=guests / "spin.wasm", **process)


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return {name: value.split() for name, _, value in (line.partition(":") for line in file)}


def limits(pid):
    with open(f"/proc/{pid}/limits") as file:
        return {line[:26].strip(): line[26:].split()[:2] for line in file}


def open_files(pid):
    """What its descriptors are of; one that it closes meanwhile is none."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


async def started(shim, container_id, pid):
    """Start it, and return once it has gone from the streams that wait to those of the guest.

    In its next moment a native program is executed: then its executable file is another one.
    """
    init = os.readlink(f"/proc/{pid}/exe")
    await shim.start(container_id)
    while "socket" in "".join(open_files(pid).values()):
        await asyncio.sleep(0.01)
    while container_id == "native" and os.readlink(f"/proc/{pid}/exe") == init:
        await asyncio.sleep(0.01)


def is_engines(pid, fd, target):
    """Whether a descriptor is one that an engine opens: the guest's root, its code, or an anonymous object."""
    if target == "/code" or target.startswith(("anon_inode:", "/memfd:")):
        return True
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), os.stat(f"/proc/{pid}/root"))
    except FileNotFoundError:
        return False


def foreign_files(pid, kind):
    """Its descriptors that are neither a stream nor an engine's."""
    others = {fd: target for fd, target in open_files(pid).items() if fd > 2}
    return [target for fd, target in others.items() if kind == "native" or not is_engines(pid, fd, target)]


@pytest.mark.parametrize("kind", ["wasm", "native"])
async def test_the_process_is_what_the_spec_says(tmp_path, guests, kind):
    bundle = bundle_of(kind, tmp_path / "b", guests)
    change_config(bundle, hostname="box", domainname="example")
    change_linux(bundle, sysctl={"net.ipv4.ip_unprivileged_port_start": "80"}, personality={"domain": "LINUX32"})
    async with running_shim(tmp_path) as shim:
        pid = await shim.create(kind, bundle)
        await started(shim, kind, pid)
        found = status(pid)
        assert (found["Uid"], found["Gid"], found["Groups"]) == (["1000"] * 4, ["2000"] * 4, ["3000", "4000"])
        assert (found["Umask"], found["NoNewPrivs"]) == (["0027"], ["1"])
        for line, name in (
            ("CapBnd", "bounding"),
            ("CapPrm", "permitted"),
            ("CapEff", "effective"),
            ("CapInh", "inheritable"),
            ("CapAmb", "ambient"),
        ):
            # execve(2) of a user that is not root leaves just the ambient ones, and so do we
            wanted = "ambient" if name in ("permitted", "effective") else name
            assert int(found[line][0], 16) == capabilities.mask(CAPABILITIES[wanted]), line
        assert limits(pid)["Max open files"] == ["512", "1000"]
        assert limits(pid)["Max core file size"] == ["0", "0"]
        with open(f"/proc/{pid}/oom_score_adj") as file:
            assert file.read().strip() == "321"
        with open(f"/proc/{pid}/personality") as file:
            assert int(file.read(), 16) == 8
        assert os.sched_getscheduler(pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, pid) == 3
        assert int(found["NSpid"][-1]) == int(found["NSsid"][-1]) == 1


@pytest.mark.parametrize("kind", ["wasm", "native"])
async def test_its_descriptors_are_the_streams_and_the_engines_own(tmp_path, guests, kind):
    async with running_shim(tmp_path) as shim:
        pid = await shim.create(kind, bundle_of(kind, tmp_path / "b", guests))
        await started(shim, kind, pid)
        assert {fd: open_files(pid)[fd] for fd in (0, 1, 2)} == dict.fromkeys((0, 1, 2), "/dev/null")
        # An engine that starts reads files of the system, such as its control group's, and closes them.
        await until(lambda: not foreign_files(pid, kind))


@pytest.mark.parametrize("kind", ["wasm", "native"])
async def test_its_namespaces_are_its_own_where_the_spec_has_them_and_the_hosts_elsewhere(tmp_path, guests, kind):
    names = {"pid": "pid", "ipc": "ipc", "uts": "uts", "mount": "mnt", "network": "net", "cgroup": "cgroup"}
    async with running_shim(tmp_path) as shim:
        for asked in (list(NAMESPACES), ["mount", "pid", "cgroup"]):
            bundle = bundle_of(kind, tmp_path / f"b{len(asked)}", guests)
            change_linux(bundle, namespaces=[{"type": type_} for type_ in asked])
            pid = await shim.create(bundle.name, bundle)
            for type_, name in names.items():
                same = os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")
                # A guest never has the host's network, whatever the spec leaves out.
                assert same is (type_ not in asked and (kind, type_) != ("wasm", "network")), type_


async def test_names_and_parameters_are_set_in_the_container_and_not_on_the_host(tmp_path):
    before = socket.gethostname()
    script = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_unprivileged_port_start"
    bundle = native_bundle(tmp_path / "b", "/bin/sh", "-c", f"{script} > /said; sleep 1000")
    change_config(bundle, hostname="box", domainname="example")
    change_linux(bundle, sysctl={"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"})
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        said = bundle / "rootfs/said"
        while not said.exists() or said.read_text().count("\n") < 3:
            pass
        assert said.read_text().split() == ["box", "example", "80"]
        assert stat.S_IMODE(said.stat().st_mode) == 0o644
    assert socket.gethostname() == before


@pytest.mark.parametrize(
    ("process", "linux", "error", "message"),
    [
        ({"apparmorProfile": "x"}, {}, FailedPrecondition, "process.apparmorProfile: 'x': this host has no AppArmor"),
        ({"selinuxLabel": "x"}, {}, FailedPrecondition, "process.selinuxLabel: 'x': this host has no SELinux"),
        ({}, {"sysctl": {"kernel.panic": "1"}}, InvalidArgument, "'kernel.panic' belongs to no namespace"),
        ({}, {"sysctl": {"net.ipv4.none": "1"}}, InvalidArgument, "net.ipv4.none = '1': No such file"),
        ({}, {"intelRdt": {"closID": "x"}}, PelagosError, "linux.intelRdt: not supported"),
        ({"scheduler": {"policy": "SCHED_ISO"}}, {}, PelagosError, "process.scheduler: SCHED_ISO: Invalid argument"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(tmp_path, guests, process, linux, error, message):
    bundle = make_bundle(tmp_path / "b", module=guests / "hello.wasm", **process)
    change_linux(bundle, **linux)
    async with running_shim(tmp_path) as shim:
        with pytest.raises(error, match=message):
            await shim.create("c1", bundle)
