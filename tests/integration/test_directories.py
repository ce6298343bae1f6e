"""What a guest finds in its container, by whatever name, on every engine: what a native program finds."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from tests.support import forms
from tests.support.bundles import CONFIG, Fifos, change_config, make_bundle
from tests.support.native import SPEC_MOUNTS, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

TOOL, FILES = "/tool.wasm", "/files.wasm"  # in C and in Go
WAITING = (TOOL, "after", "/never", "exit", "0")
READ_ONLY = {"root": {"path": "rootfs", "readonly": True}}
ELSEWHERE = "pelagos: relative paths of a program with wasi-libc (C, Rust and others) start in '/', not in its "


# Wasmer's program has a file system of its own, in memory, in which the container's directories are volumes.
@pytest.fixture(params=[each for each in forms.ALL if each.id != "wasmer-program"])
def engine(request):
    return forms.FORMS[request.param]()


@pytest.fixture
def image(tmp_path, guests):
    """The root of a container in the making."""
    return with_programs(make_bundle(tmp_path / "c1") / "rootfs", guests)


def with_programs(directory, source):
    for path in (TOOL, FILES):
        (directory / path[1:]).write_bytes((source / path[1:]).read_bytes())
    return directory


@pytest.fixture(scope="module")
def kept(tmp_path_factory, guests):
    """A cache for all tests with the code that takes long to make."""
    directory = tmp_path_factory.mktemp("kept") / "cache"
    words = [sys.executable, "-m", "pelagos_core", "cache", "warm", str(guests / FILES[1:])]
    subprocess.run(words, env={**os.environ, "PELAGOS_CACHE_DIR": str(directory)}, check=True, capture_output=True)
    return str(directory)


@pytest.fixture
def running(engine, tmp_path, kept):
    """Gives a container on a shim; a test runs in it what it likes."""

    @contextlib.asynccontextmanager
    async def running(image):
        (tmp_path / "config.toml").write_text(engine.config)
        env = {"PELAGOS_CONFIG": str(tmp_path / "config.toml"), "PELAGOS_CACHE_DIR": kept}
        async with running_shim(tmp_path, env=env, python=engine.python) as shim:
            yield Container(shim, image.parent, engine.backend)

    return running


class Container:
    """One container, run with one program after the other."""

    def __init__(self, shim, bundle, backend):
        self._shim, self._bundle, self._runs = shim, bundle, 0
        self._annotations = {"io.pelagos.wasm.runtime": backend}

    async def run(self, *args, **process):
        """Run a program as the first process: the exit code, and what it wrote."""
        self._set(args, process)
        with self._streams() as (name, fifos):
            code = await self._shim.run(name, self._bundle, fifos=fifos)
            return (code, *fifos.output())

    def narrow(self, dirs):
        """Leave a guest some directories only."""
        self._annotations["io.pelagos.wasm.dirs"] = dirs

    async def start(self, *args):
        """Have a program run for the rest of the test."""
        self._set(args, {})
        await self._shim.create("first", self._bundle)
        await self._shim.start("first")

    async def exec(self, *args, **process):
        """Run a program beside that one."""
        with self._streams() as (name, fifos):
            await self._shim.exec("first", name, *args, fifos=fifos, **process)
            await self._shim.start("first", name)
            code = (await self._shim.wait("first", name)).exit_status
            return (code, *fifos.output())

    def _set(self, args, process):
        process = {**CONFIG["process"], **process, "args": list(args)}
        change_config(self._bundle, process=process, annotations=self._annotations)

    @contextlib.contextmanager
    def _streams(self):
        self._runs += 1
        name = f"run{self._runs}"
        (self._bundle / name).mkdir()
        fifos = Fifos(self._bundle / name)
        yield name, fifos
        fifos.close()


def bind(source, destination, *options):
    return {"destination": destination, "type": "bind", "source": str(source), "options": options or ("rbind",)}


def mounted(image, *mounts, **fields):
    change_config(image.parent, mounts=[*CONFIG["mounts"], *mounts], **fields)


def tree(directory, files):
    """A directory with these files, which every user may change."""
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
        (directory / path).chmod(0o666)
    return directory


async def test_a_link_out_of_the_working_directory_is_followed(running, image):
    tree(image, {"srv/shared/f": "shared", "srv/app/own": "own"})
    (image / "srv/app/config").symlink_to("../shared")
    async with running(image) as container:
        assert (await container.run(TOOL, "read", "/srv/app/config/f", cwd="/srv/app"))[:2] == (0, "shared")
        for path in ("config/f", "../shared/f", "/srv/app/config/f"):
            assert await container.run(FILES, "read", path, cwd="/srv/app") == (0, "shared", "")
        await container.start(*WAITING)
        assert await container.exec(FILES, "read", "config/f", cwd="/srv/app") == (0, "shared", "")
        assert await container.exec(FILES, "cwd", cwd="/srv/app") == (0, "/srv/app\n", "")


async def test_a_working_directory_behind_a_link_is_where_that_leads(running, image):
    tree(image, {"opt/app/f": "here"})
    (image / "srv").symlink_to("/opt")
    async with running(image) as container:
        assert await container.run(FILES, "cwd", cwd="/srv/app") == (0, "/opt/app\n", "")
        assert await container.run(FILES, "read", "f", cwd="/srv/app") == (0, "here", "")
        assert await container.run(FILES, "write", "new", "x", cwd="/srv/app") == (0, "", "")
    assert (image / "opt/app/new").read_text() == "x"


async def test_one_that_starts_elsewhere_is_reported_once_and_no_other(running, image):
    (image / "data").mkdir()
    line = f"{ELSEWHERE}working directory '/data' [PLG-CWD]\n"
    async with running(image) as container:
        assert await container.run(TOOL, "write", "out.txt", "x", cwd="/data") == (0, "", line)
        assert await container.run(TOOL, "write", "out.txt", "x") == (0, "", "")
        assert await container.run(FILES, "write", "out.txt", "x", cwd="/data") == (0, "", "")
        await container.start(*WAITING)
        assert await container.exec(TOOL, "exit", "3", cwd="/data") == (3, "", line)
    assert (image / "data/out.txt").read_text() == "x"


async def test_links_between_read_only_and_writable_places_are_followed(running, image, tmp_path):
    volume, closed = tree(tmp_path / "volume", {"f": "open"}), tree(tmp_path / "closed", {"g": "closed"})
    (closed / "link").symlink_to("../volume/f")
    (volume / "link").symlink_to("../closed/g")
    mounted(image, bind(volume, "/volume"), bind(closed, "/closed", "rbind", "ro"), **READ_ONLY)
    async with running(image) as container:
        assert await container.run(TOOL, "read", "/closed/link") == (0, "open", "")
        assert await container.run(TOOL, "read", "/volume/link") == (0, "closed", "")
        assert await container.run(TOOL, "write", "/closed/link", "new") == (0, "", "")
        assert (await container.run(TOOL, "write", "/volume/link", "new"))[0] == 1
    assert ((volume / "f").read_text(), (closed / "g").read_text()) == ("new", "closed")


async def test_what_is_mounted_writable_in_a_read_only_place_can_be_written(running, image, tmp_path):
    source = tree(tmp_path / "source", {"log": "", "v/sub/f": ""})
    inner = bind(source / "v/sub", "/v/sub")
    mounted(image, bind(source / "log", "/etc/log"), bind(source / "v", "/v", "rbind", "ro"), inner, **READ_ONLY)
    async with running(image) as container:
        for program in (TOOL, FILES):
            assert await container.run(program, "write", "/etc/log", program) == (0, "", "")
            assert (source / "log").read_text() == program
            assert await container.run(program, "write", f"/v/sub{program}", "x") == (0, "", "")
            for path in ("/v/new", "/new", "/etc/new"):
                assert (await container.run(program, "write", path, "x"))[0] == 1
    assert os.listdir(source / "v") == ["sub"]
    assert sorted(os.listdir(source / "v/sub")) == ["f", "files.wasm", "tool.wasm"]


@pytest.mark.parametrize(("word", "code"), [("ro", 0), ("rro", 1)])
async def test_a_read_only_bind_is_so_as_deep_as_it_says(running, image, tmp_path, word, code):
    (tmp_path / "source/sub").mkdir(parents=True)
    mounted(image, bind(tmp_path / "source", "/v", "rbind", word))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "source/sub"], check=True)
    try:
        async with running(image) as container:
            assert (await container.run(TOOL, "write", "/v/sub/new", "x"))[0] == code
            assert (await container.run(TOOL, "write", "/v/new", "x"))[0] == 1
    finally:
        subprocess.run(["umount", "-l", tmp_path / "source/sub"], check=True)


@pytest.mark.parametrize("link", ["/run", "../run", "/../run", "../../../run", "/to/run"])
async def test_a_volume_behind_a_link_of_the_image_has_both_names(running, image, tmp_path, link):
    volume = tree(tmp_path / "volume", {"f": "as it was"})
    for name in ("var", "run"):
        (image / name).mkdir()
    (image / "var/run").symlink_to(link)
    (image / "to").symlink_to("/")
    mounted(image, bind(volume, "/var/run/s"), **READ_ONLY)
    async with running(image) as container:
        assert await container.run(TOOL, "read", "/run/s/f") == (0, "as it was", "")
        for program in (TOOL, FILES):
            assert await container.run(program, "write", "/var/run/s/f", program) == (0, "", "")
            assert (volume / "f").read_text() == program
        await container.start(*WAITING)
        assert await container.exec(FILES, "read", "s/f", cwd="/var/run") == (0, FILES, "")
        assert await container.exec(TOOL, "read", "/var/run/s/f") == (0, FILES, "")


@pytest.mark.parametrize("link", ["/run/x/stub.conf", "../run/x/stub.conf"])
async def test_a_file_on_a_dangling_link_of_the_image_has_both_names(running, image, tmp_path, link):
    source = tree(tmp_path / "source", {"conf": "nameserver"})
    (image / "etc").mkdir()
    (image / "etc/resolv.conf").symlink_to(link)
    mounted(image, bind(source / "conf", "/etc/resolv.conf"))
    async with running(image) as container:
        for program in (TOOL, FILES):
            for path in ("/etc/resolv.conf", "/run/x/stub.conf"):
                assert await container.run(program, "read", path) == (0, "nameserver", "")
    assert os.readlink(image / "etc/resolv.conf") == link


async def test_a_directory_behind_a_dangling_link_has_both_names(running, image, tmp_path):
    volume = tree(tmp_path / "volume", {"f": "found"})
    (image / "data").symlink_to("/mnt/data")
    mounted(image, bind(volume, "/data/deep/v"))
    async with running(image) as container:
        for path in ("/data/deep/v/f", "/mnt/data/deep/v/f"):
            assert await container.run(TOOL, "read", path) == (0, "found", "")


async def test_what_a_policy_leaves_is_one_root_too(running, image, tmp_path):
    volume = tree(tmp_path / "volume", {"f": "found"})
    tree(image, {"srv/app/own": "own", "srv/data/g": "data", "srv/other": "other"})
    for name, target in {"data": "../data", "away": "../other", "far": "/srv/data/far"}.items():
        (image / "srv/app" / name).symlink_to(target)
    with_programs(image / "srv/app", image)
    mounted(image, bind(volume, "/srv/app/far/v"))
    async with running(image) as container:
        container.narrow("/srv/app,/srv/data:ro")
        for path in ("/srv/app/far/v/f", "/srv/data/far/v/f"):
            assert await container.run(TOOL, "read", path) == (0, "found", "")
        assert await container.run(TOOL, "read", "/srv/app/data/g") == (0, "data", "")
        await container.start(*WAITING)
        for run, program in ((container.run, FILES), (container.exec, "./files.wasm")):
            assert await run(program, "write", "new", "x", cwd="/srv/app") == (0, "", "")
            for words in (("read", "away"), ("read", "../other"), ("write", "data/new", "x"), ("write", "../new", "x")):
                assert (await run(program, *words, cwd="/srv/app"))[0] == 1
    assert sorted(os.listdir(image / "srv")) == ["app", "data", "other"]


async def test_a_relative_path_below_a_directory_that_a_policy_takes_away_is_nowhere(running, image):
    tree(image, {"work/f": "not there", "f": "elsewhere", "data/f": "data"})
    async with running(image) as container:
        container.narrow("/data")
        assert (await container.run(FILES, "read", "f", cwd="/work"))[:2] == (1, "")
        assert await container.run(FILES, "read", "../data/f", cwd="/work") == (0, "data", "")


STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/1", "/var/log/absolute", "/var/log/relative")


@pytest.mark.parametrize("own", [True, False])
async def test_what_is_written_to_a_stream_by_its_name_is_refused_and_never_lost(running, image, own):
    (image / "var/log").mkdir(parents=True)
    (image / "dev").mkdir()
    (image / "var/log/absolute").symlink_to("/dev/stdout")
    (image / "var/log/relative").symlink_to("../../dev/stderr")
    if not own:
        change_config(image.parent, mounts=[])
    async with running(image) as container:
        for program in (TOOL, FILES):
            for path in STREAMS:
                code, out, said = await container.run(program, "write", path, "x")
                assert (code, out) == (1, ""), path
                assert path in said
        assert (await container.run(TOOL, "read", "/dev/stdin"))[0] == 1
    assert all((image / "dev" / name).is_symlink() for name in os.listdir(image / "dev"))


async def test_a_guest_in_a_native_container_finds_the_same(running, tmp_path, guests):
    volume = tree(tmp_path / "volume", {"f": "found"})
    bundle = shell(tmp_path / "native", "while :; do sleep 1; done")
    image = with_programs(bundle / "rootfs", guests)
    for name in ("run", "var"):
        (image / name).mkdir()
    (image / "var/run").symlink_to("/run")
    own = [mount for mount in SPEC_MOUNTS if mount["destination"] in ("/proc", "/dev")]
    libraries = [
        bind(f"/{name}", f"/{name}", "rbind", "ro")
        for name in ("bin", "lib", "lib64", "usr")
        if not os.path.islink(f"/{name}")
    ]
    change_config(bundle, mounts=[*own, *libraries, bind(volume, "/var/run/s")])
    async with running(image) as container:
        await container.start("/bin/sh", "-c", "while :; do sleep 1; done")
        assert await container.exec(TOOL, "read", "/var/run/s/f") == (0, "found", "")
        assert await container.exec(FILES, "read", "s/f", cwd="/var/run") == (0, "found", "")
        assert (await container.exec(TOOL, "write", "/dev/stdout", "x"))[:2] == (1, "")
