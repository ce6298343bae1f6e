"""Containers in user namespaces of their own, or of their pod, and with clocks of their own."""

import os
import shutil
import signal
import time

import pytest

from pelagos_core.api.types_pb2 import Mount as MountMessage
from pelagos_core.errors import PelagosError, Unimplemented
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import change_linux, config_of, native_bundle, shell
from tests.support.shim import running_shim
from tests.support.traces import processes as containers

pytestmark = [pytest.mark.root, pytest.mark.guests]

MAPS = {
    "uidMappings": [
        {"containerID": 0, "hostID": 100000, "size": 1000},
        {"containerID": 1000, "hostID": 7000, "size": 1},
    ],
    "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}],
}
KINDS = ("user", "pid", "ipc", "uts", "mount", "network", "cgroup")


def give_to_container(bundle):
    """What a snapshotter does for such a container: its files belong to its own root."""
    for directory, _, files in os.walk(bundle / "rootfs"):
        for name in ("", *files):
            os.chown(os.path.join(directory, name), 100000, 200000, follow_symlinks=False)
    for parent in (bundle, *bundle.parents):
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o711)


def mapped(bundle, *, kinds=KINDS, given=(), **linux):
    namespaces = [{"type": kind} for kind in kinds] + [{"type": kind, "path": path} for kind, path in given]
    change_linux(bundle, namespaces=namespaces, **{**MAPS, **linux})
    give_to_container(bundle)
    return bundle


async def run(tmp_path, bundle):
    fifos = Fifos(bundle)
    try:
        async with running_shim(tmp_path) as shim:
            code = await shim.run("c1", bundle, fifos)
            return (code, *fifos.output())
    finally:
        fifos.close()


def ids(pid):
    with open(f"/proc/{pid}/status") as file:
        status = {name: value.split() for name, _, value in (line.partition(":") for line in file)}
    return status["Uid"][0], status["Gid"][0]


async def test_a_guest_is_unprivileged_on_the_host(tmp_path, guests):
    bundle = mapped(make_bundle(tmp_path / "b", module=guests / "spin.wasm", user={"uid": 1000, "gid": 5}))
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        await shim.start("c1")
        assert ids(pid) == ("7000", "200005")
        with open(f"/proc/{pid}/uid_map") as uids, open(f"/proc/{pid}/gid_map") as gids:
            assert uids.read().split() == ["0", "100000", "1000", "1000", "7000", "1"]
            assert gids.read().split() == ["0", "200000", "65536"]
        for kind in ("user", "pid", "ipc", "uts", "mnt", "net", "cgroup"):
            assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
        assert (await shim.state("c1")).pid == pid
        await shim.kill("c1", signal.SIGTERM)
        assert (await shim.wait("c1")).exit_status == 143
        await shim.delete("c1")
        assert not os.path.exists(f"/proc/{pid}")
        assert not containers(shim.pid)


async def test_a_guest_reads_and_writes_its_own_files(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", "/app.wasm", "write", "/data/out", module=guests / "tool.wasm")
    volume, tmpfs = tmp_path / "volume", {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
    volume.mkdir()
    os.chown(volume, 100000, 200000)
    bind = {"destination": "/data", "type": "bind", "source": str(volume), "options": ["rbind"]}
    change_config(bundle, mounts=[tmpfs, bind])
    code, _, err = await run(tmp_path, mapped(bundle))
    assert (code, err) == (0, "")
    (made,) = volume.iterdir()
    assert (made.stat().st_uid, made.stat().st_gid) == (100000, 200000)


MAPPED = ("uidmap=0:100000:1000,1000:7000:1", "gidmap=0:200000:65536")


def layered(bundle, guests):
    """The mounts that containerd hands over for an image of two layers in a user namespace.

    The directories above are closed to all users except the host's root, as containerd's own are.
    """
    layers = [bundle / "lower" / name for name in ("one", "two")]
    for layer in layers:
        layer.mkdir(parents=True)
    for program in ("tool", "attack"):
        shutil.copy(guests / f"{program}.wasm", layers[0])
    (layers[0] / "secret").write_text("of root")
    (layers[0] / "secret").chmod(0o600)
    (layers[1] / "dir").mkdir()
    for name in ("upper", "work"):
        (bundle / name).mkdir()
        os.chown(bundle / name, 100000, 200000)
    bundle.chmod(0o700)
    dirs = [f"lowerdir={layers[0]}:{layers[1]}", f"upperdir={bundle}/upper", f"workdir={bundle}/work"]
    return [MountMessage(type="overlay", source="overlay", options=[*dirs, *MAPPED])]


async def test_a_guest_on_layers_with_mapped_ids_owns_its_files(tmp_path, guests):
    bundle = make_bundle(tmp_path / "b", "/tool.wasm", "read", "/secret")
    change_linux(bundle, namespaces=[{"type": kind} for kind in KINDS], **MAPS)
    tmpfs = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
    change_config(bundle, mounts=[tmpfs])
    rootfs = layered(bundle, guests)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos, rootfs=rootfs) == 0
        assert fifos.output()[0] == "of root"
        process = config_of(bundle)["process"]
        for args in (["write", "/dir/new", "x"], ["write", "/secret", "changed"], ["ls", "/"]):
            change_config(bundle, process={**process, "args": ["/tool.wasm", *args]})
            assert await shim.run("c1", bundle, fifos, rootfs=rootfs) == 0, args
        # Nothing of how the root was made is to be seen.
        assert set(fifos.output()[0].split()) == {"attack.wasm", "tool.wasm", "secret", "dir", "dev"}
        for path in ("dir", "dir/new", "secret"):
            found = (bundle / "upper" / path).stat()
            assert (found.st_uid, found.st_gid) == (100000, 200000), path
        change_config(bundle, process={**process, "user": {"uid": 5, "gid": 5}})
        assert await shim.run("c1", bundle, fifos, rootfs=rootfs) != 0
        fifos.close()


async def test_a_hostile_guest_on_layers_with_mapped_ids_reaches_nothing_else(tmp_path, guests):
    hidden = [f"{number}/secret" for number in range(3)] + ["merged/secret", "lower/one/secret", "proc/self/mem"]
    views = ["host/proc/self/mem", "host/proc/1/root", "host/dev/mem", "dev/fd/0", "sys/kernel/notes"]
    bundle = make_bundle(tmp_path / "b", "/attack.wasm", "/dir", "--", *hidden, *views)
    change_linux(bundle, namespaces=[{"type": kind} for kind in KINDS], **MAPS)
    rootfs = layered(bundle, guests)
    kernel = [{"destination": f"/{kind}", "type": kind, "source": kind} for kind in ("proc", "sysfs", "mqueue")]
    change_config(bundle, mounts=kernel)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        await shim.run("c1", bundle, fifos, rootfs=rootfs)
        *lines, last = fifos.output()[0].splitlines()
        assert int(last.split()[0]) > 1000
        opened = {line.split()[2].lstrip("./") for line in lines}
        assert not [path for path in opened if path in {*hidden, *views} or path.startswith(("proc", "sys/", "host"))]
        fifos.close()


@pytest.mark.parametrize("cover", [False, True])
async def test_a_view_of_the_kernel_is_refused_on_layers_with_mapped_ids(tmp_path, guests, cover):
    bundle = make_bundle(tmp_path / "b", "/tool.wasm", "ls", "/")
    change_linux(bundle, namespaces=[{"type": kind} for kind in KINDS], **MAPS)
    view = {"destination": "/data/view", "type": "bind", "source": "/proc", "options": ["rbind", "ro"]}
    over = {"destination": "/data", "type": "tmpfs", "source": "tmpfs"}
    change_config(bundle, mounts=[view, over] if cover else [view])
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PelagosError, match="mount on '/data/view': proc"):
            await shim.create("c1", bundle, rootfs=layered(bundle, guests))
        assert not containers(shim.pid)


async def test_a_native_program_is_root_in_it_and_sees_its_kernel(tmp_path):
    script = """
    id -u; id -g; stat -c %u /; echo x > /new; stat -c %u /new /tmp /dev/shm; hostname
    cat /proc/1/uid_map; ls /sys/class/net; echo lost > /dev/null && head -c 1 /dev/zero | wc -c
    mount -t tmpfs tmpfs /tmp 2>/dev/null && echo mounted
    grep -c . /proc/mounts > /dev/null && cat /proc/self/comm; wc -c < /proc/interrupts
    """
    every = [f"CAP_{name}" for name in ("SYS_ADMIN", "CHOWN", "DAC_OVERRIDE", "SETUID", "SETGID")]
    sets = ("bounding", "permitted", "effective")
    bundle = shell(tmp_path / "b", script, capabilities=dict.fromkeys(sets, every))
    (bundle / "rootfs/tmp").mkdir()
    change_config(bundle, hostname="box")
    mapped(bundle, maskedPaths=["/proc/interrupts"], readonlyPaths=["/proc/sys"])
    code, out, err = await run(tmp_path, bundle)
    assert (code, err) == (0, "")
    assert out.split() == "0 0 0 0 0 0 box 0 100000 1000 1000 7000 1 lo 1 mounted cat 0".split()


async def test_a_pod_shares_its_user_namespace(tmp_path, guests):
    async with running_shim(tmp_path) as shim:
        pause = mapped(native_bundle(tmp_path / "pause", "/usr/bin/sleep", "1000"))
        pid = await shim.create("pause", pause)
        await shim.start("pause")
        names = {"user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        given = [(kind, f"/proc/{pid}/ns/{name}") for kind, name in names.items()]
        bundle = mapped(make_bundle(tmp_path / "b", module=guests / "spin.wasm"), kinds=("mount",), given=given)
        app = await shim.create("app", bundle)
        await shim.start("app")
        assert ids(app) == ("100000", "200000")
        for name in names.values():
            assert os.readlink(f"/proc/{app}/ns/{name}") == os.readlink(f"/proc/{pid}/ns/{name}"), name
        for container in ("app", "pause"):
            await shim.kill(container, signal.SIGKILL)
            await shim.wait(container)
            await shim.delete(container)


async def test_files_of_a_volume_are_mapped_where_it_is_asked_for(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").touch()
    bundle = shell(tmp_path / "b", "stat -c '%u %g' /data/file /plain/file")
    mounts = [
        {"destination": f"/{name}", "type": "bind", "source": str(volume), "options": ["rbind", *options]}
        for name, options in (("data", ["idmap"]), ("plain", []))
    ]
    change_config(bundle, mounts=[*config_of(bundle)["mounts"], *mounts])
    assert (await run(tmp_path, mapped(bundle)))[1] == "0 0\n65534 65534\n"


async def test_a_failing_container_leaves_no_process(tmp_path, guests):
    for number, damage in enumerate(
        (
            {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}] * 2},  # the kernel refuses an overlap
            {"namespaces": [{"type": "user", "path": "/etc/passwd"}, {"type": "mount"}], "uidMappings": []},
        )
    ):
        bundle = mapped(make_bundle(tmp_path / f"b{number}", module=guests / "hello.wasm"))
        change_linux(bundle, **damage)
        async with running_shim(tmp_path / f"b{number}") as shim:
            with pytest.raises(PelagosError, match=r"uid_map|user namespace '/etc/passwd'"):
                await shim.create("c1", bundle)
            assert not containers(shim.pid)


@pytest.mark.parametrize("kinds", [("mount", "pid", "time"), (*KINDS, "time")])
async def test_clocks_have_the_offsets_of_the_spec(tmp_path, kinds):
    bundle = shell(tmp_path / "b", "cat /proc/uptime; ls -l /proc/self/ns/time")
    change_linux(bundle, timeOffsets={"boottime": {"secs": 1_000_000, "nanosecs": 5}})
    mapped(bundle, kinds=kinds, **({} if "user" in kinds else {"uidMappings": [], "gidMappings": []}))
    if "user" not in kinds:
        for directory, _, _files in os.walk(bundle / "rootfs"):
            os.chown(directory, 0, 0)
    code, out, err = await run(tmp_path, bundle)
    assert (code, err) == (0, "")
    ahead = float(out.split()[0]) - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 999_990 < ahead < 1_000_010
    assert os.readlink("/proc/self/ns/time") not in out


@pytest.mark.parametrize("kind", ["native", "wasm"])
async def test_a_further_process_is_in_it_too(tmp_path, guests, kind):
    bundle = native_bundle(tmp_path / "b", "/usr/bin/sleep", "1000")
    shutil.copy(guests / "spin.wasm", bundle / "rootfs/app.wasm")
    if kind == "wasm":
        change_config(bundle, process={**config_of(bundle)["process"], "args": ["/app.wasm"]})
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", mapped(bundle))
        await shim.start("c1")
        for exec_id, args in (("native", ["/usr/bin/sleep", "1000"]), ("wasm", ["/app.wasm"])):
            if (kind, exec_id) == ("wasm", "native"):
                await shim.exec("c1", exec_id, *args)
                with pytest.raises(Unimplemented, match="cannot join a Wasm guest in a user namespace"):
                    await shim.start("c1", exec_id)
                continue
            await shim.exec("c1", exec_id, *args, user={"uid": 5, "gid": 6}, env=["PATH=/usr/bin"])
            inner = await shim.start("c1", exec_id)
            assert ids(inner) == ("100005", "200006"), exec_id
            for name in ("user", "pid", "net"):
                assert os.readlink(f"/proc/{inner}/ns/{name}") == os.readlink(f"/proc/{pid}/ns/{name}"), name
            await shim.kill("c1", signal.SIGKILL, exec_id=exec_id)
            await shim.wait("c1", exec_id)
            await shim.delete("c1", exec_id)
        await shim.kill("c1", signal.SIGKILL)
        await shim.wait("c1")
        await shim.delete("c1")


async def test_a_terminal_belongs_to_the_user_in_there(tmp_path):
    bundle = mapped(
        shell(tmp_path / "b", "tty; stat -Lc %u /dev/stdin; echo again > /dev/tty", user={"uid": 5, "gid": 5})
    )
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos, terminal=True) == 0
        assert fifos.output()[0] == "/dev/pts/0\r\n5\r\nagain\r\n"
        fifos.close()
