"""A bare word is looked up in PATH as execvp(3) does; an error has the words that clients look for."""

import asyncio
import os

import pytest

from pelagos_core.errors import PelagosError
from tests.support.bundles import Fifos, make_bundle
from tests.support.native import native_bundle, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root]

PATH = ["PATH=/first:/second:/usr/bin:/bin"]
USER = {"uid": 1000, "gid": 1000}


def script(path, text="#!/bin/sh\necho $0\n", mode=0o755):
    path.write_text(text)
    path.chmod(mode)


def _private(path):
    script(path)
    path.parent.chmod(0o700)


OBSTACLES = {
    "a directory": os.mkdir,
    "no x bit": lambda path: script(path, mode=0o644),
    "not its user's": lambda path: script(path, mode=0o744),
    "in a private directory": _private,
    "a fifo": os.mkfifo,
    "a dangling link": lambda path: os.symlink("nowhere", path),
    "a link to itself": lambda path: os.symlink("tool", path),
    "data": lambda path: script(path, "data", mode=0o644),
    "below a file": lambda path: (path.parent.rmdir(), path.parent.write_text("")),
}


def in_two_places(root, obstacle):
    for name in ("first", "second"):
        (root / name).mkdir()
    OBSTACLES[obstacle](root / "first" / "tool")
    script(root / "second" / "tool")


@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_what_cannot_be_executed_is_passed_over(tmp_path, obstacle):
    bundle = native_bundle(tmp_path / "c1", "tool", env=PATH, user=USER)
    in_two_places(bundle / "rootfs", obstacle)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output() == ("/second/tool\n", "")
        fifos.close()


async def test_it_is_passed_over_in_an_exec_too(tmp_path):
    bundle = shell(tmp_path / "c1", "while :; do sleep 1; done")
    in_two_places(bundle / "rootfs", "a directory")
    (tmp_path / "e1").mkdir()
    async with running_shim(tmp_path) as shim:
        await shim.create("c1", bundle)
        await shim.start("c1")
        fifos = Fifos(tmp_path / "e1")
        await shim.exec("c1", "e1", "tool", fifos=fifos, env=PATH, user=USER)
        await shim.start("c1", "e1")
        assert (await asyncio.wait_for(shim.wait("c1", "e1"), 10)).exit_status == 0
        assert fifos.output() == ("/second/tool\n", "")
        fifos.close()


@pytest.mark.guests
@pytest.mark.parametrize("obstacle", ["a directory", "no x bit", "data", "a fifo"])
async def test_a_module_needs_no_x_bit_and_what_cannot_run_before_it_is_passed_over(tmp_path, guests, obstacle):
    bundle = make_bundle(tmp_path / "c1", "tool", "args", env=PATH)
    in_two_places(bundle / "rootfs", obstacle)
    (bundle / "rootfs/second/tool").write_bytes((guests / "tool.wasm").read_bytes())
    (bundle / "rootfs/second/tool").chmod(0o644)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output() == ("tool\nargs\n", "")
        fifos.close()


# moby/daemon/errors.go: the first two are docker's exit code 127, the third is its 126. podman has the same.
NOT_FOUND, MISSING, FORBIDDEN = "executable file not found", "no such file or directory", "permission denied"
CANNOT_RUN = [
    ("tool", lambda root: None, NOT_FOUND),
    ("tool", lambda root: os.mkdir(root / "tool"), FORBIDDEN),
    ("tool", lambda root: script(root / "tool", mode=0o644), FORBIDDEN),
    ("tool", lambda root: script(root / "tool", mode=0o700), FORBIDDEN),
    ("/no/tool", lambda root: None, MISSING),
    ("/tool", lambda root: os.mkdir(root / "tool"), f"is a directory: {FORBIDDEN}"),
    ("/tool", lambda root: os.mkfifo(root / "tool"), FORBIDDEN),
    ("/tool", lambda root: script(root / "tool", mode=0o644), FORBIDDEN),
    ("/tool", lambda root: script(root / "tool", "#!/no/such\n"), MISSING),
    ("/tool", lambda root: script(root / "tool", "data"), "exec format error"),
]


@pytest.mark.parametrize(("word", "make", "words"), CANNOT_RUN)
async def test_clients_find_their_words_at_create_and_at_the_start_of_an_exec(tmp_path, word, make, words):
    process = {"env": PATH, "user": USER}
    bundle = native_bundle(tmp_path / "c1", word, **process)
    make(bundle / "rootfs")
    running = shell(tmp_path / "c2", "while :; do sleep 1; done")
    make(running / "rootfs")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PelagosError, match=f"container 'c1': .*{words}"):
            await shim.create("c1", bundle)
        await shim.create("c2", running)
        await shim.start("c2")
        await shim.exec("c2", "e1", word, **process)
        with pytest.raises(PelagosError, match=f"exec 'e1' of container 'c2': .*{words}"):
            await shim.start("c2", "e1")


async def test_another_architecture_is_reported_in_the_words_of_execve(tmp_path):
    bundle = native_bundle(tmp_path / "c1", "/tool")
    with open(os.path.realpath("/bin/true"), "rb") as file:
        program = bytearray(file.read())
    program[18:20] = (0xF3F3).to_bytes(2, "little")  # e_machine: of none that there is
    (bundle / "rootfs/tool").write_bytes(program)
    (bundle / "rootfs/tool").chmod(0o755)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 126
        assert fifos.output() == ("", "pelagos: exec '/tool': exec format error\n")
        fifos.close()
