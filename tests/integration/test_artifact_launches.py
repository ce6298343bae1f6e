"""The module of an image in every kind of launch, through a real shim, with containerd's API by gRPC's own library."""

import asyncio
import contextlib
import json
import signal
import time

import pytest

from pelagos_core import reasons
from pelagos_core.errors import Cancelled, NotFound, PelagosError, ResourceExhausted
from pelagos_core.images import media_types
from tests.integration.test_user_namespaces import mapped
from tests.support import wazero
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.containerd_api import digest_of, serving
from tests.support.shim import running_shim
from tests.support.traces import children, descriptors, processes

pytestmark = [pytest.mark.root, pytest.mark.guests]


def image_of(*modules, **fields):
    """What containerd says of containers c1 to c9, whose image has these modules. fields: of each layer."""
    layers = [
        {
            "mediaType": media_types.WASM_LAYER,
            "digest": digest_of(module),
            "size": len(module),
            "annotations": {media_types.TITLE: f"{number}.wasm"},
            **fields,
        }
        for number, module in enumerate(modules)
    ]
    manifest = json.dumps({"layers": layers}).encode()
    return {
        "containers": {f"c{number}": "image" for number in range(1, 10)},
        "images": {"image": [media_types.MANIFEST, digest_of(manifest), len(manifest)]},
        "blobs": {digest_of(data): data for data in (*modules, manifest)},
    }


@contextlib.asynccontextmanager
async def shim_with(tmp_path, said, **settings):
    """A shim, and the containerd whose address it gets."""
    with serving(tmp_path, "containerd.sock", "test", **said):
        async with running_shim(tmp_path, **settings) as shim:
            yield shim


async def run(shim, name, bundle):
    fifos = Fifos(bundle)
    try:
        code = await shim.run(name, bundle, fifos)
        return code, fifos.output()[0]
    finally:
        fifos.close()


def bundle_of(tmp_path, name, *args, **process):
    return make_bundle(tmp_path / name, *(args or ("/tool.wasm", "args", "x")), **process)


@pytest.fixture
def tool(guests):
    return (guests / "tool.wasm").read_bytes()


SAID = "/tool.wasm\nargs\nx\n"


async def test_a_new_module_and_a_known_one_run(tmp_path, tool):
    async with shim_with(tmp_path, image_of(tool)) as shim:
        for name in ("c1", "c2", "c3"):
            assert await run(shim, name, bundle_of(tmp_path, name)) == (0, SAID)
        before = descriptors(shim.pid)
        assert await run(shim, "c4", bundle_of(tmp_path, "c4")) == (0, SAID)
        assert descriptors(shim.pid) == before


async def test_it_runs_in_a_user_namespace(tmp_path, tool):
    async with shim_with(tmp_path, image_of(tool)) as shim:
        for name in ("c1", "c2"):
            assert await run(shim, name, mapped(bundle_of(tmp_path, name))) == (0, SAID)


async def test_hooks_run_for_it(tmp_path, tool):
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >> {tmp_path}/noted"]}
    async with shim_with(tmp_path, image_of(tool)) as shim:
        for name in ("c1", "c2"):
            bundle = bundle_of(tmp_path, name)
            change_config(bundle, hooks={"createRuntime": [hook]})
            assert await run(shim, name, bundle) == (0, SAID)
    assert "x" in (tmp_path / "noted").read_text()


async def test_a_read_only_root_and_another_user_are_no_hindrance(tmp_path, tool):
    async with shim_with(tmp_path, image_of(tool)) as shim:
        for name in ("c1", "c2"):
            bundle = bundle_of(tmp_path, name, user={"uid": 65532, "gid": 65532}, cwd="/")
            change_config(bundle, root={"path": "rootfs", "readonly": True})
            assert await run(shim, name, bundle) == (0, SAID)


@pytest.mark.wazero
async def test_an_engine_that_is_a_program_has_a_copy(tmp_path, tool):
    form = wazero.form()
    (tmp_path / "config.toml").write_text(f'runtime = "wazero"\n{form.config}')
    settings = {"python": str(form.python), "env": {"PELAGOS_CONFIG": str(tmp_path / "config.toml")}}
    async with shim_with(tmp_path, image_of(tool), **settings) as shim:
        for name in ("c1", "c2"):
            assert await run(shim, name, bundle_of(tmp_path, name)) == (0, SAID)


async def test_a_further_process_is_one_of_its_modules(tmp_path, guests, tool):
    said = image_of((guests / "spin.wasm").read_bytes(), tool)
    async with shim_with(tmp_path, said) as shim:
        bundle = bundle_of(tmp_path, "c1", "/0.wasm")
        fifos = Fifos(bundle)
        await shim.create("c1", bundle)
        await shim.start("c1")
        for name in ("e1", "e2"):
            await shim.exec("c1", name, "/1.wasm", "args", name, fifos=fifos)
            await shim.start("c1", name)
            assert (await shim.wait("c1", name)).exit_status == 0
            await shim.delete("c1", name)
        assert fifos.output()[0] == "/1.wasm\nargs\ne1\n/1.wasm\nargs\ne2\n"
        fifos.close()
        await shim.exec("c1", "e3", "ls")
        with pytest.raises(NotFound, match="executable file not found"):
            await shim.start("c1", "e3")
        await shim.kill("c1", signal.SIGKILL)


async def test_a_further_process_is_of_the_same_image_though_its_name_has_moved(tmp_path, guests, tool):
    spin, newer = (guests / "spin.wasm").read_bytes(), (guests / "exit7.wasm").read_bytes()
    said, moved = image_of(spin, tool), image_of(spin, newer)
    moved["blobs"] |= said["blobs"]
    async with shim_with(tmp_path, said) as shim:
        bundle = bundle_of(tmp_path, "c1", "/0.wasm")
        await shim.create("c1", bundle)
        await shim.start("c1")
        (tmp_path / "containerd.sock").unlink()
        with serving(tmp_path, "containerd.sock", "test", **moved):
            await shim.exec("c1", "e1", "/1.wasm", "args", "x")
            await shim.start("c1", "e1")
            assert (await shim.wait("c1", "e1")).exit_status == 0
            assert (await run(shim, "c2", bundle_of(tmp_path, "c2", "/1.wasm")))[0] == 7
        await shim.kill("c1", signal.SIGKILL)


@pytest.mark.parametrize("method", ["container", "read"])
async def test_a_kill_ends_a_launch_that_waits_for_its_image(tmp_path, tool, method):
    async with shim_with(tmp_path, {**image_of(tool), "silent": [method]}) as shim:
        creating = asyncio.ensure_future(shim.create("c1", bundle_of(tmp_path, "c1")))
        while "pelagos-image" not in [_name(pid) for pid in children(shim.pid)]:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await shim.kill("c1", signal.SIGKILL)
        with pytest.raises(Cancelled, match="killed while it was being created"):
            await creating
        assert time.monotonic() - began < 5
        assert not processes(shim.pid)


def _name(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


FORGED = {"digest": digest_of(b"another module")}


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"size": 7}, PelagosError, "bytes, and not 7"),
        ({"size": 1 << 40}, ResourceExhausted, "a module of 1.0 TiB"),
        ({"size": (1 << 30) - 1}, PelagosError, "bytes, and not 1073741823"),
        (FORGED, NotFound, "is not in containerd's store"),
        ({"digest": "sha256:../../../etc/shadow"}, PelagosError, "is not a sha256"),
    ],
)
async def test_an_artifact_that_lies_leaves_an_error_and_nothing_else(tmp_path, tool, fields, error, text):
    async with shim_with(tmp_path, image_of(tool, **fields)) as shim:
        before = descriptors(shim.pid)
        with pytest.raises(error, match=text) as raised:
            await shim.create("c1", bundle_of(tmp_path, "c1"))
        assert raised.value.reason == reasons.IMAGE
        assert str(raised.value).startswith("container 'c1': image: ")
        assert not processes(shim.pid)
        assert descriptors(shim.pid) == before


async def test_what_is_known_of_a_module_is_not_for_an_image_that_only_names_it(tmp_path, tool):
    """The author of a manifest may know a digest, and have nothing of the module."""
    async with shim_with(tmp_path, image_of(tool)) as shim:
        for name in ("c1", "c2"):  # its code and what is known of it are kept
            assert await run(shim, name, bundle_of(tmp_path, name)) == (0, SAID)
        said = image_of(tool)
        del said["blobs"][digest_of(tool)]
        (tmp_path / "containerd.sock").unlink()
        with (
            serving(tmp_path, "containerd.sock", "test", **said),
            pytest.raises(NotFound, match="is not in containerd's store"),
        ):
            await shim.create("c3", bundle_of(tmp_path, "c3"))


async def test_bytes_of_another_digest_are_not_run(tmp_path, guests, tool):
    said = image_of(tool)
    said["blobs"][digest_of(tool)] = (guests / "attack.wasm").read_bytes().ljust(len(tool), b"\0")[: len(tool)]
    async with shim_with(tmp_path, said) as shim:
        with pytest.raises(PelagosError, match="has bytes of another digest"):
            await shim.create("c1", bundle_of(tmp_path, "c1"))


async def test_a_missing_file_is_reported_as_usual_without_an_artifact(tmp_path, tool):
    said = {**image_of(tool), "containers": {"c1": "", "c2": "none"}}
    text = r"entry point '/tool\.wasm': no such file or directory in the container: tried '/tool\.wasm'"
    async with shim_with(tmp_path, said) as shim:
        for name in ("c1", "c2", "c3"):
            with pytest.raises(NotFound, match=text) as raised:
                await shim.create(name, bundle_of(tmp_path, name))
            assert raised.value.reason == reasons.ENTRYPOINT
    (tmp_path / "b").mkdir()
    async with running_shim(tmp_path / "b") as shim:  # no containerd at all
        with pytest.raises(NotFound, match=text):
            await shim.create("c1", bundle_of(tmp_path / "b", "c1"))


async def test_what_containerd_refuses_is_in_the_error(tmp_path, tool):
    async with shim_with(tmp_path, {**image_of(tool), "fails": {"read": "UNAVAILABLE"}}) as shim:
        with pytest.raises(PelagosError, match="as the test wants it") as raised:
            await shim.create("c1", bundle_of(tmp_path, "c1"))
        assert raised.value.reason == reasons.IMAGE
