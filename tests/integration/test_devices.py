"""A container whose spec has devices of the host, as a privileged one's: what its guest and its programs get."""

import asyncio

import pytest

from tests.support.bundles import Fifos, change_config
from tests.support.native import change_linux, config_of, native_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

DEVICES = [  # containerd's WithHostDevices gives all that there are
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
    {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o644},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
    {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 0o666},
    {"path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237, "fileMode": 0o660},
    {"path": "/dev/none-such", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660},
]
# /dev/tty is the terminal of the process that opens it: here is none.
FORBIDDEN = ("/dev/kmsg", "/dev/tty", "/dev/loop-control", "/dev/ptmx", "/dev/none-such")
SCRIPT = """
for path in /dev/kmsg /dev/tty /dev/ptmx /dev/none-such; do [ -c $path ] && echo $path; done
echo lost > /dev/null && head -c 1 /dev/zero | wc -c
"""


def privileged(directory, guests, *args, own=True):
    """own: whether its /dev is its own, and not its image's."""
    bundle = native_bundle(directory, *args)
    for name in ("spin", "tool"):
        (bundle / "rootfs" / f"{name}.wasm").write_bytes((guests / f"{name}.wasm").read_bytes())
    if not own:
        change_config(
            bundle, mounts=[m for m in config_of(bundle)["mounts"] if not m["destination"].startswith("/dev")]
        )
        (bundle / "rootfs/dev").mkdir()
    change_linux(bundle, devices=DEVICES)
    return bundle


async def executed(shim, directory, exec_id, *words):
    """What an exec ends with: exit code, stdout, stderr."""
    (directory / exec_id).mkdir()
    fifos = Fifos(directory / exec_id)
    await shim.exec("c1", exec_id, *words, fifos=fifos, env=["PATH=/usr/bin:/bin"])
    await shim.start("c1", exec_id)
    status = await asyncio.wait_for(shim.wait("c1", exec_id), 10)
    out, err = fifos.output()
    fifos.close()
    return status.exit_status, out, err


@pytest.mark.parametrize("own", [True, False], ids=["own /dev", "the image's /dev"])
async def test_devices_that_a_guest_may_not_have_are_absent(tmp_path, guests, own):
    bundle = privileged(tmp_path / "c1", guests, "/spin.wasm", own=own)
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        code, out, err = await executed(shim, tmp_path, "ls", "/tool.wasm", "ls", "/dev")
        assert (code, err) == (0, "")
        assert {"null", "zero"} <= set(out.split())
        assert not {"kmsg", "ptmx", "loop-control", "none-such"} & set(out.split())
        for number, path in enumerate(FORBIDDEN):
            code, _, err = await executed(shim, tmp_path, f"read{number}", "/tool.wasm", "read", path)
            assert (code, path in err) == (1, True)
        assert (await executed(shim, tmp_path, "null", "/tool.wasm", "write", "/dev/null", "x"))[0] == 0


@pytest.mark.parametrize("own", [True, False], ids=["own /dev", "the image's /dev"])
async def test_a_native_program_beside_such_a_guest_gets_them_and_leaves_the_guest_nothing_to_write_to(
    tmp_path, guests, own
):
    bundle = privileged(tmp_path / "c1", guests, "/spin.wasm", own=own)
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for number in range(2):  # the second finds what the first has made
            code, out, err = await executed(shim, tmp_path, f"sh{number}", "/bin/sh", "-c", SCRIPT)
            assert (code, out.split(), err) == (0, ["/dev/kmsg", "/dev/tty", *(["/dev/ptmx"] if own else []), "1"], "")
        for number, path in enumerate(FORBIDDEN[:3]):  # the others the guest makes, in a directory of its own
            for what, more in (("read", ()), ("write", ("x",))):
                code, _, err = await executed(shim, tmp_path, f"{what}{number}", "/tool.wasm", what, path, *more)
                assert (code, path in err) == (1, True), (what, path)
