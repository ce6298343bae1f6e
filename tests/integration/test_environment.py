"""The variables of a process, as a client set them and as runc completes them, over ttrpc."""

import asyncio

import pytest

from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.native import config_of, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

TWICE = ["PATH=/usr/bin:/bin", "LEVEL=info", "B=2", "LEVEL=debug"]
PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv/app:/bin/sh\n"
SLEEP = "while :; do sleep 1; done"


async def executed(shim, directory, *args, **process):
    """What an exec prints."""
    directory.mkdir()
    fifos = Fifos(directory)
    await shim.exec("c1", directory.name, *args, fifos=fifos, **process)
    await shim.start("c1", directory.name)
    assert (await asyncio.wait_for(shim.wait("c1", directory.name), 10)).exit_status == 0
    text, _ = fifos.output()
    fifos.close()
    return text


def with_passwd(bundle, text=PASSWD):
    (bundle / "rootfs" / "etc").mkdir(exist_ok=True)
    (bundle / "rootfs" / "etc" / "passwd").write_text(text)
    return bundle


async def test_a_guest_and_its_exec_see_the_last_of_several_and_no_more_than_the_spec_says(tmp_path, guests):
    bundle = with_passwd(make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm", env=TWICE))
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c0", bundle, fifos) == 0
        assert fifos.output()[0] == "PATH=/usr/bin:/bin\nB=2\nLEVEL=debug\n"  # no HOME: a guest gets none
        spin = make_bundle(tmp_path / "c1b", module=guests / "spin.wasm")
        (spin / "rootfs" / "tool.wasm").write_bytes((guests / "tool.wasm").read_bytes())
        await shim.create("c1", spin)
        await shim.start("c1")
        text = await executed(shim, tmp_path / "e1", "/tool.wasm", "env", env=TWICE)
        assert text == "PATH=/usr/bin:/bin\nB=2\nLEVEL=debug\n"
        fifos.close()


async def test_a_policy_leaves_the_last_one(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm", env=TWICE)
    change_config(bundle, annotations={"io.pelagos.wasm.env": "LEVEL"})
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == "LEVEL=debug\n"
        fifos.close()


@pytest.mark.parametrize(
    ("uid", "given", "home"),
    [(0, [], "/root"), (1000, [], "/srv/app"), (1000, ["HOME="], "/srv/app"), (1000, ["HOME=/x"], "/x"), (7, [], "/")],
)
async def test_a_native_program_has_the_home_of_its_user(tmp_path, uid, given, home):
    env = [*TWICE, *given]
    bundle = with_passwd(shell(tmp_path / "c1", 'echo "$HOME $LEVEL"', env=env, user={"uid": uid, "gid": uid}))
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == f"{home} debug\n"
        fifos.close()


async def test_an_exec_has_the_home_of_its_own_user(tmp_path):
    bundle = with_passwd(shell(tmp_path / "c1", SLEEP))
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        for number, (uid, home) in enumerate([(1000, "/srv/app"), (0, "/root"), (7, "/")]):
            user = {"uid": uid, "gid": uid}
            words = ("/bin/sh", "-c", 'echo "$HOME $LEVEL"')
            text = await executed(shim, tmp_path / f"e{number}", *words, env=TWICE, user=user)
            assert text == f"{home} debug\n"


async def test_a_native_exec_beside_a_guest_has_a_home(tmp_path, guests):
    bundle = with_passwd(shell(tmp_path / "c1", "unused"))
    for name in ("spin", "tool"):
        (bundle / "rootfs" / f"{name}.wasm").write_bytes((guests / f"{name}.wasm").read_bytes())
    change_config(bundle, process={"args": ["/spin.wasm"], "cwd": "/", "user": {"uid": 0, "gid": 0}})
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        text = await executed(shim, tmp_path / "e1", "/bin/sh", "-c", 'echo "$HOME"', env=TWICE)
        assert text == "/root\n"


MANY = {
    "long": (1, [f"V{number}={'x' * 90}" for number in range(1500)]),
    "longer": (1, [f"V{number}={'x' * 90}" for number in range(3000)]),
    "variables": (1, [f"V{number}=" for number in range(9000)]),
    "words": (9000, ["A="]),
}


@pytest.mark.parametrize("many", MANY)
async def test_words_and_variables_may_be_more_than_a_process_without_an_interpreter_takes(tmp_path, guests, many):
    words, env = MANY[many]
    known = make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm")
    guest = make_bundle(tmp_path / "c2", "/app.wasm", "env", *["x"] * words, module=guests / "tool.wasm", env=env)
    native = shell(tmp_path / "c3", 'echo "$#" "$(/usr/bin/env | grep -c ^[AV])"', env=["PATH=/bin", *env])
    process = config_of(native)["process"]
    change_config(native, process={**process, "args": [*process["args"], *["x"] * words]})
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", known) == 0
        fifos = Fifos(tmp_path)
        await shim.create("c2", guest, fifos)
        await shim.start("c2")
        text = ""
        while chunk := await fifos.some(1 << 20):
            text += chunk
        assert text.splitlines() == env
        assert (await shim.wait("c2")).exit_status == 0
        assert await shim.run("c3", native, fifos) == 0
        assert fifos.output()[0] == f"{words - 1} {len(env)}\n"
        fifos.close()
