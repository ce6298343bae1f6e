"""What a user sees: one line, in the call's error and on the container's own stderr, with a name."""

import pytest

from pelagos_core.errors import PelagosError
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]


CASES = {
    "PLG-ENTRYPOINT": ({"args": ["/none.wasm"]}, {}, "entry point '/none.wasm': no such file"),
    "PLG-MODULE": ({"args": ["/app.wasm#none"]}, {}, "exports no function 'none'"),
    "PLG-ENGINE-MISSING": (
        {},
        {"annotations": {"io.pelagos.wasm.runtime": "odd"}},
        "backend 'odd', asked for by the container's annotation io.pelagos.wasm.runtime, is not installed",
    ),
    "PLG-ENGINE-UNFIT": ({"args": ["/text"]}, {}, "no installed backend can run it"),
    "PLG-MOUNT": (
        {},
        {"mounts": [{"destination": "/x", "type": "bind", "source": "/proc/none/such"}]},
        "mount source '/proc/none/such': No such file or directory",
    ),
    "PLG-SPEC": (
        {},
        {"linux": {"namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}]}},
        "mount namespace by path",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_failed_create_says_why_and_by_name(tmp_path, guests, name):
    process, config, message = CASES[name]
    bundle = make_bundle(tmp_path / "c1", module=guests / "tool.wasm", **process)
    (bundle / "rootfs/text").write_text("plain text")
    change_config(bundle, **config)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        with pytest.raises(PelagosError, match=message) as raised:
            await shim.create("c1", bundle, fifos)
        assert str(raised.value).endswith(f" [{name}]")
        assert fifos.output() == ("", f"pelagos: {raised.value}\n")
        assert fifos.at_end()
        fifos.close()


async def test_a_failed_exec_says_so_on_its_own_stderr(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "spin.wasm")
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        fifos = Fifos(tmp_path)
        await shim.exec("c1", "e1", "/none.wasm", fifos=fifos)
        with pytest.raises(PelagosError) as raised:
            await shim.start("c1", "e1")
        assert str(raised.value).endswith("[PLG-ENTRYPOINT]")
        assert fifos.output()[1] == f"pelagos: {raised.value}\n"
        await shim.exec("c1", "e2", "/app.wasm", stdout="/proc/none/such")
        with pytest.raises(PelagosError, match=r"stdout '/proc/none/such' does not exist \[PLG-STREAMS\]"):
            await shim.start("c1", "e2")
        fifos.close()


async def test_a_trap_ends_with_its_name_too(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "trap.wasm")
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 134
        said = fifos.output()[1].splitlines()
        assert any("unreachable" in line for line in said)
        assert said[-1] == "pelagos: the guest has trapped [PLG-TRAP]"
        fifos.close()
