"""What a guest's process is, as the host sees it, and what an image tries before its guest runs."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from pelagos_core.errors import InvalidArgument, NotFound, PelagosError, PermissionDenied
from pelagos_core.launch import empty_networks
from tests.support import forms
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import change_linux, shell
from tests.support.shim import mount, running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]


def config_of(bundle):
    return json.loads((bundle / "config.json").read_text())


def change_process(bundle, **fields):
    change_config(bundle, process={**config_of(bundle)["process"], **fields})


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


async def test_a_guests_process_is_what_its_spec_says(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    user = {"uid": 1001, "gid": 1002, "additionalGids": [7, 9], "umask": 0o27}
    sets = {name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective")}
    change_process(bundle, user=user, capabilities=sets)
    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", bundle)
        await shim.start("c1")
        status = status_of(pid)
        assert status["Uid"] == ["1001"] * 4
        assert status["Gid"] == ["1002"] * 4
        assert status["Groups"] == ["7", "9"]
        assert status["Umask"] == ["0027"]
        assert status["NoNewPrivs"] == ["1"]
        assert int(status["CapBnd"][0], 16) == 1 << 5
        assert {int(status[name][0], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}


async def test_a_neighbour_in_the_same_pid_namespace_reads_no_copy_of_the_daemon(tmp_path, guests):
    """CVE-2016-9962: what waits for Start, and a guest's engine, has the daemon's memory."""
    look = "for p in /proc/[0-9]*; do grep -q python $p/maps && echo $p >> /seen; done"
    first = shell(tmp_path / "c1", f"while :; do {look}; echo >> /rounds; done 2>/dev/null")
    second = make_bundle(tmp_path / "c2", module=guests / "spin.wasm")

    async def rounds():
        path = first / "rootfs/rounds"
        before = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < before + 2:
            await asyncio.sleep(0.01)

    async with running_shim(tmp_path) as shim:
        pid = await shim.create("c1", first)
        others = [each for each in config_of(second)["linux"]["namespaces"] if each["type"] != "pid"]
        change_linux(second, namespaces=[*others, {"type": "pid", "path": f"/proc/{pid}/ns/pid"}])
        await shim.start("c1")
        await shim.create("c2", second)
        await rounds()
        await shim.start("c2")
        await rounds()
    assert not (first / "rootfs/seen").exists()


async def test_a_guest_without_root_reads_no_file_of_root(tmp_path, guests):
    """A pod's spec gives the capabilities of root to every user; a native program loses them by execve(2)."""
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "read", "/secret", module=guests / "tool.wasm")
    secret = bundle / "rootfs/secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    sets = {name: ["CAP_DAC_OVERRIDE"] for name in ("bounding", "permitted", "effective")}
    change_process(bundle, user={"uid": 1001, "gid": 1002}, capabilities=sets)
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) == 1
        change_process(bundle, user={"uid": 0, "gid": 0})
        assert await shim.run("c2", bundle) == 0


@pytest.mark.parametrize("cwd", ["/proc/self/fd/3", "/proc/self/cwd", "/../../..", "/up", "/link"])
async def test_a_working_directory_leads_out_of_no_root(tmp_path, guests, cwd):
    """CVE-2024-21626, and links in its place."""
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm", cwd=cwd)
    (bundle / "rootfs/up").symlink_to("../../..")
    (bundle / "rootfs/link").symlink_to(tmp_path)
    change_process(bundle, args=["/app.wasm"])
    async with running_shim(tmp_path) as shim:
        try:
            pid = await shim.create("c1", bundle)
        except PelagosError:
            return
        root, cwd = os.stat(f"/proc/{pid}/root"), os.stat(f"/proc/{pid}/cwd")
        assert (root.st_dev, root.st_ino) == (cwd.st_dev, cwd.st_ino)
        assert not any(Path(f"/proc/{pid}/root/{each}").exists() for each in ("etc/passwd", "proc/self/mem"))


@pytest.mark.parametrize("name", ["dev", "proc", "sys", "tmp", "etc", "data"])
@pytest.mark.parametrize("how", ["absolute", "relative", "dangling"])
async def test_nothing_is_written_through_a_link_of_the_image(tmp_path, guests, name, how):
    """crun CVE-2025-24965, runc and crun 2026-41579 and 47766: mount targets that are links."""
    canary = tmp_path / "canary"
    canary.mkdir(mode=0o755)
    (canary / "file").write_text("as it was")
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    target = {"absolute": canary, "relative": f"../../{canary.name}", "dangling": canary / "none"}[how]
    (bundle / "rootfs" / name).symlink_to(target)
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        {"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["rbind"]},
        {"destination": "/tmp/x", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/data/y", "type": "tmpfs", "source": "tmpfs"},
    ]
    linux = {**config_of(bundle)["linux"], "maskedPaths": ["/sys/firmware", "/proc/kcore", "/etc/shadow"]}
    change_config(bundle, mounts=mounts, linux=linux)
    async with running_shim(tmp_path) as shim:
        try:
            assert await shim.run("c1", bundle) == 0
        except PelagosError as error:
            assert name in str(error) or str(canary) in str(error)
    assert os.listdir(canary) == ["file"]
    assert (canary / "file").read_text() == "as it was"
    assert stat.S_IMODE(canary.stat().st_mode) == 0o755


@pytest.mark.parametrize("target", ["/etc/shadow", "../../secret.wasm", "/proc/1/root/etc/passwd", "/dev/mem"])
async def test_an_entry_point_in_a_mount_leads_out_of_no_root(tmp_path, guests, target):
    (tmp_path / "secret.wasm").write_bytes((guests / "hello.wasm").read_bytes())
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/app.wasm").symlink_to(target)
    bundle = make_bundle(tmp_path / "c1", "/volume/app.wasm")
    volume = {"destination": "/volume", "type": "bind", "source": str(tmp_path / "volume"), "options": ["rbind"]}
    change_config(bundle, mounts=[volume])
    async with running_shim(tmp_path) as shim:
        with pytest.raises(NotFound, match=r"/volume/app\.wasm") as refused:
            await shim.create("c1", bundle)
        assert "root:" not in str(refused.value)


async def test_what_a_hook_mounts_is_looked_at_too(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    (bundle / "rootfs/data").mkdir()
    words = ["mount", "-t", "proc", "proc", str(bundle / "rootfs/data")]
    change_config(bundle, hooks={"createContainer": [{"path": shutil.which("mount"), "args": words}]})
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PermissionDenied, match=r"mount on '/data': proc: .*\[PLG-MOUNT\]"):
            await shim.create("c1", bundle)
        change_config(bundle, hooks={"createContainer": [{"path": shutil.which("true")}]})
        assert await shim.run("c1", bundle) == 0


async def test_a_guest_without_a_network_of_its_own_has_not_the_hosts(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    change_config(bundle, linux={"namespaces": [{"type": "pid"}, {"type": "mount"}]})
    other = make_bundle(tmp_path / "c2", module=guests / "spin.wasm")
    change_config(other, linux={"namespaces": [{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/net"}]})
    async with running_shim(tmp_path) as shim:
        for name, directory in (("c1", bundle), ("c2", other)):
            pid = await shim.create(name, directory)
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
            interfaces = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
            assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
            assert Path(f"/proc/{pid}/net/route").read_text().count("\n") <= 1  # its heading


async def test_an_empty_network_is_one_guests_at_a_time_and_is_left_by_one_that_was_alone_in_it(tmp_path, guests):
    without = {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
    administrator = {name: ["CAP_NET_ADMIN"] for name in ("bounding", "permitted", "effective")}
    async with running_shim(tmp_path) as shim, contextlib.AsyncExitStack() as held:

        async def created(name, **process):
            bundle = make_bundle(tmp_path / name, module=guests / "spin.wasm", **process)
            change_config(bundle, linux=without)
            pid = await shim.create(name, bundle)
            await shim.start(name)
            # Held open: the kernel gives the number of a namespace that is gone to a new one.
            network = held.enter_context(empty_networks.of(pid))
            return os.fstat(network).st_ino

        async def end(name):
            await shim.kill(name, signal.SIGKILL)
            await shim.wait(name)
            await shim.delete(name)

        await created("unknown")  # its process has an interpreter
        first, second = await created("c1"), await created("c2")
        assert first != second
        await end("c1")
        await end("unknown")
        assert await created("c3") == first
        await shim.exec("c3", "e1", "/app.wasm")
        await shim.start("c3", "e1")
        await end("c3")  # a further process was in its network
        third = await created("c4", capabilities=administrator)
        assert third not in (first, second)
        await end("c4")
        assert await created("c5") not in (second, third)


async def test_a_guest_in_a_given_network_has_that_one(tmp_path, guests):
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as holder:
        try:
            bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
            path = f"/proc/{holder.pid}/ns/net"
            for _ in range(1000):
                if os.readlink(path) != os.readlink("/proc/self/ns/net"):
                    break
                await asyncio.sleep(0.005)
            change_config(bundle, linux={"namespaces": [{"type": "mount"}, {"type": "network", "path": path}]})
            async with running_shim(tmp_path) as shim:
                pid = await shim.create("c1", bundle)
                assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink(path)
        finally:
            holder.kill()


def test_a_component_gets_no_sockets_without_a_network(tmp_path, guests):
    """As wasi-testsuite's p2_cli_no_tcp."""
    words = ("--annotation", "io.pelagos.wasm.network=none", str(guests / "bind.wasm"))
    done = forms.FORMS["wasmtime"]().run(tmp_path, *words)
    told = "pelagos: the guest asked for wasi:sockets/tcp-create-socket@0.2.0, and it has no network [PLG-NETWORK]\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


async def test_the_hosts_network_is_a_guests_only_where_the_node_says_so(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    change_config(bundle, linux={"namespaces": [{"type": "pid"}, {"type": "mount"}]})
    narrowed = make_bundle(tmp_path / "c2", module=guests / "spin.wasm")
    change_config(narrowed, linux={"namespaces": [{"type": "mount"}]}, annotations={"io.pelagos.wasm.network": "none"})
    config = tmp_path / "config.toml"
    config.write_text("host_network = true\n")
    async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(config)}) as shim:
        for name, directory, has in (("c1", bundle, True), ("c2", narrowed, False)):
            pid = await shim.create(name, directory)
            assert (os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")) is has


async def test_a_module_that_accepts_connections_gets_a_warning(tmp_path):
    """As one of Go, whose library then listens inside of the program alone. By Python, then by the native part."""
    import wasmtime

    text = """(module (import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "_start")))"""
    module = tmp_path / "accept.wasm"
    module.write_bytes(bytes(wasmtime.wat2wasm(text)))
    async with running_shim(tmp_path) as shim:
        for name in ("c1", "c2"):
            bundle = make_bundle(tmp_path / name, module=module)
            fifos = Fifos(bundle)
            assert await shim.run(name, bundle, fifos) == 0
            (line,) = fifos.output()[1].splitlines()
            assert line.startswith("pelagos: /app.wasm accepts connections, and WASI 0.1 has no socket for it: ")
            assert line.endswith("[PLG-NETWORK]")
            fifos.close()


async def test_the_shim_has_no_abstract_socket_and_only_rooms_for_root(tmp_path):
    """CVE-2020-15257: an abstract socket is reached from a container with the host's network."""
    async with running_shim(tmp_path) as shim:
        inodes = {
            target.removeprefix("socket:[").removesuffix("]")
            for fd in os.listdir(f"/proc/{shim.pid}/fd")
            if (target := os.readlink(f"/proc/{shim.pid}/fd/{fd}")).startswith("socket:")
        }
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        paths = [line[7] for line in lines if len(line) > 7 and line[6] in inodes]
        assert shim.address in paths
        assert not [path for path in paths if path.startswith("@")]
        assert stat.S_IMODE(os.stat(shim.address).st_mode) == 0o600
        directory = os.stat(os.path.dirname(shim.address))
        assert (directory.st_uid, directory.st_mode & 0o077) == (0, 0)


@pytest.fixture(params=forms.ALL)
def engine(request):
    return forms.FORMS[request.param]()


def compiled(engine, guests, directory):
    """Code that the engine itself has compiled ahead of time, as an image may bring it."""
    target = directory / "compiled.wasm"
    source = str(guests / "hello.wasm")
    if engine.backend == "wasmtime":
        import wasmtime

        target.write_bytes(bytes(wasmtime.Module.from_file(wasmtime.Engine(), source).serialize()))
        return [target]
    from scripts import engines

    root = engines.DIRECTORY
    if engine.backend == "wasmer":
        program = [str(root / "wasmer/bin/wasmer")]
        subprocess.run([*program, "compile", source, "-o", str(target)], check=True, capture_output=True)
        return [target]
    library = next(root.glob("wasmedge/usr/lib/*/libwasmedge.so.0")).parent
    loader = [str(next(library.glob("ld-linux*"))), "--library-path", str(library)]
    words = [*loader, str(root / "wasmedge/usr/bin/wasmedge"), "compile", source]
    found = []
    for name in ("compiled.wasm", "compiled.so"):  # a module with native code in a section; the code alone
        subprocess.run([*words, str(directory / name)], check=True, capture_output=True)
        found.append(directory / name)
    return found


def test_code_that_an_image_has_compiled_is_never_run(engine, tmp_path, guests):
    """The poisoned code says something else than its module: if it ran, it would be heard."""
    for path in compiled(engine, guests, tmp_path):
        data = path.read_bytes()
        assert b"hello" in data
        path.write_bytes(data.replace(b"hello", b"owned"))
        done = engine.run(tmp_path, str(path))
        if data[:4] == b"\0asm":
            # A true module beside the code: it is run as any other, and the code is not looked at.
            path.write_bytes(data)
            spoilt = bytearray(data)
            at = data.index(b"wasmedge")
            spoilt[at + 64 : at + 4096] = bytes(4032)
            path.write_bytes(bytes(spoilt))
            done = engine.run(tmp_path, str(path))
            assert (done.returncode, done.stdout) in ((0, "hello\n"), (126, "")), done.stderr
        else:
            assert (done.returncode, done.stdout) != (0, "owned\n")
            assert done.returncode in (125, 126), done.stderr  # an ELF file is a native program, or none at all


def test_a_module_that_claims_more_than_it_has_is_refused(engine, tmp_path, guests):
    whole = (guests / "tool.wasm").read_bytes()
    for number, data in enumerate(
        (b"", whole[:4], whole[:8], whole[: len(whole) // 2], whole[:-1], b"\0asm\1\0\0\0\xff")
    ):
        path = tmp_path / f"bad{number}.wasm"
        path.write_bytes(data)
        done = engine.run(tmp_path, str(path))
        assert (done.returncode, done.stdout) == (126, ""), (number, done)


async def test_two_guests_share_nothing_of_each_other(tmp_path, guests):
    image = make_bundle(tmp_path / "image", module=guests / "spin.wasm") / "rootfs"
    async with running_shim(tmp_path) as shim:
        pids, streams = [], []
        for name in ("c1", "c2"):
            bundle = make_bundle(tmp_path / name, "/app.wasm", env=[f"SECRET={name}"])
            streams.append(Fifos(bundle))
            pids.append(await shim.create(name, bundle, streams[-1], rootfs=[mount(image)]))
            await shim.start(name)
        for kind in ("pid", "mnt", "ipc", "uts", "net"):
            assert os.readlink(f"/proc/{pids[0]}/ns/{kind}") != os.readlink(f"/proc/{pids[1]}/ns/{kind}")
        for pid, others in zip(pids, reversed(streams), strict=True):
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert not [target for target in targets if target in (others.stdout, others.stderr)]
        for fifos in streams:
            fifos.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"mounts": [{"destination": "relative", "type": "tmpfs"}]}, "is not absolute"),
        ({"mounts": [{"type": "tmpfs"}]}, "is not absolute"),
        ({"mounts": "none"}, "not a list"),
        ({"process": {"args": ["/app.wasm"], "cwd": "relative"}}, "is not absolute"),
        ({"process": {"args": ["/app.wasm"], "cwd": "/", "user": {"uid": -1}}}, "is not between"),
        ({"process": {"args": ["/app.wasm"], "cwd": "/", "user": {"uid": True}}}, "not an integer"),
        ({"process": {"args": ["/app.wasm"], "cwd": "/", "env": ["=x"]}}, "is not NAME=VALUE"),
        ({"root": {"path": "/../etc"}}, r"contains '\.\.'"),
        ({"hostname": 5}, "not a string"),
        ({"annotations": {"a": 1}}, "not a string"),
        ({"linux": {"namespaces": [{"type": "pid"}, {"type": "pid"}]}}, "is repeated"),
        ({"linux": {"namespaces": [{"type": "moon"}]}}, "unknown namespace type"),
    ],
)
async def test_a_malformed_spec_is_refused_by_its_field(tmp_path, guests, damage, message):
    bundle = make_bundle(tmp_path / "bad", module=guests / "hello.wasm")
    change_config(bundle, **damage)
    async with running_shim(tmp_path) as shim:
        with pytest.raises(InvalidArgument, match=f"container 'bad': .*{message}"):
            await shim.create("bad", bundle)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 50_000 + "1" + "}" * 50_000, " " * (50 << 20), "", "null"])
async def test_a_spec_that_is_an_attack_on_the_parser_is_refused(tmp_path, guests, text):
    bundle = make_bundle(tmp_path / "bad", module=guests / "hello.wasm")
    (bundle / "config.json").write_text(text)
    good = make_bundle(tmp_path / "good", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(InvalidArgument, match=r"container 'bad': .*config\.json"):
            await shim.create("bad", bundle)
        assert await shim.run("good", good) == 0
