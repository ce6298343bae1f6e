"""What annotations and the node's config leave to a guest, on every engine."""

import json
import os
import time

import pytest

from pelagos_core.errors import InvalidArgument
from tests.support import forms
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

ANNOTATION = "io.pelagos.wasm."
FILL = """
(module (memory (export "memory") 1024)
  (func (export "_start")
    (loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 67108864)) (br $again))))
"""


@pytest.fixture(params=forms.ALL)
def engine(request):
    return forms.FORMS[request.param]()


@pytest.fixture
def tool(engine, tmp_path, guests):
    """Runs the guest of many small behaviours with some words of the policy."""

    def run(*words, config="", volumes=(), stdin=b"", **annotations):
        flags = [part for volume in volumes for part in ("--volume", volume)]
        flags += [part for name, word in annotations.items() for part in ("--annotation", f"{ANNOTATION}{name}={word}")]
        return engine.run(tmp_path, *flags, str(guests / "tool.wasm"), *words, config=config, stdin=stdin)

    return run


def seen(done):
    """The names that a guest has listed, except those of Wasmer's own file system in memory."""
    return set(done.stdout.split()) - {"bin", "dev", "etc", "tmp"}


@pytest.fixture
def volumes(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/file").write_text("read me")
    (tmp_path / "in/deep").mkdir()
    return [f"{tmp_path / 'in'}:/in", f"{tmp_path / 'out'}:/some/out"]


def test_a_guest_has_only_the_directories_that_are_listed(tool, volumes):
    assert seen(tool("ls", "/", volumes=volumes, dirs="/in")) <= {"in"}
    assert sorted(tool("ls", "/in", volumes=volumes, dirs="/in,/some/out").stdout.split()) == ["deep", "file"]
    listed = tool("ls", "/in", volumes=volumes, dirs="/some/out")
    assert (listed.returncode, listed.stdout) == (1, "")


def test_a_listed_directory_can_be_read_and_written_as_it_is_mounted(tool, volumes, tmp_path):
    both = {"volumes": volumes, "dirs": "/in,/some/out"}
    assert tool("read", "/in/file", **both).stdout == "read me"
    assert tool("write", "/some/out/new", "text", **both).returncode == 0
    assert (tmp_path / "out/new").read_text() == "text"


def test_a_listed_directory_may_be_made_read_only_but_not_writable(tool, volumes, tmp_path):
    done = tool("write", "/some/out/new", "text", volumes=volumes, dirs="/some/out:ro")
    assert done.returncode != 0
    done = tool("write", "/in/new", "text", volumes=[f"{volumes[0]}:ro"], dirs="/in")
    assert done.returncode != 0
    assert sorted(os.listdir(tmp_path / "in")) == ["deep", "file"]
    assert os.listdir(tmp_path / "out") == []


def test_no_directory_at_all(tool, volumes):
    assert seen(tool("ls", "/", volumes=volumes, dirs="none")) == set()
    assert tool("args", dirs="none").stdout.split()[-1] == "args"


def test_a_directory_that_is_not_there_is_refused_by_name(tool):
    done = tool("ls", "/", dirs="/nowhere")
    assert (done.returncode, done.stdout) == (125, "")
    assert "directory '/nowhere' in the container: No such file" in done.stderr


def test_variables_and_input_are_taken_away(engine, tool, tmp_path, guests):
    flags = ("--env", "A=1", "--env", "B=2", "--env", "EMPTY=")
    done = engine.run(tmp_path, *flags, "--annotation", f"{ANNOTATION}env=B,EMPTY", str(guests / "tool.wasm"), "env")
    assert {"B=2", "EMPTY="} <= set(done.stdout.split())
    assert "A=1" not in done.stdout
    flags = ("--interactive", "--annotation", f"{ANNOTATION}stdin=none")
    assert engine.run(tmp_path, *flags, str(guests / "tool.wasm"), "cat", stdin=b"secret").stdout == ""
    assert engine.run(tmp_path, "--interactive", str(guests / "tool.wasm"), "cat", stdin=b"given").stdout == "given"


@pytest.mark.parametrize("guest", ["spin.wat", "fill.wat"])
def test_a_deadline_ends_whatever_the_guest_does(engine, tmp_path, guest, guests):
    """fill.wat is in one endless bulk operation after the other, where some engines look at no clock."""
    source = tmp_path / guest
    source.write_text(FILL) if guest == "fill.wat" else source.write_text((guests / guest).read_text())
    if engine.backend == "wasmedge":  # which reads no text
        import wasmtime

        source = tmp_path / "guest.wasm"
        source.write_bytes(bytes(wasmtime.wat2wasm((tmp_path / guest).read_text())))
    began = time.monotonic()
    done = engine.run(tmp_path, "--annotation", f"{ANNOTATION}deadline=300ms", str(source))
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr == "pelagos: the deadline of 0.3 s has passed [PLG-DEADLINE]\n"
    assert time.monotonic() - began >= 0.3


def test_a_guest_that_is_in_time_is_let_be(tool):
    assert tool("exit", "7", deadline="1m").returncode == 7


def test_the_nodes_config_narrows_every_container_and_no_annotation_widens_it(tool, volumes):
    config = '[wasm]\ndirs = "/in:ro"\nenv = "B"\ndeadline = "1m"\nstdin = "none"\n'
    assert seen(tool("ls", "/", config=config, volumes=volumes)) <= {"in"}
    assert seen(tool("ls", "/in", config=config, volumes=volumes)) == {"deep", "file"}
    for word in ("/", "/in,/some/out", "/some"):
        done = tool("ls", "/some", config=config, volumes=volumes, dirs=word)
        assert (done.returncode != 0, done.stdout) == (True, "")
    assert tool("write", "/in/new", "x", config=config, volumes=volumes, dirs="/in").returncode != 0
    assert tool("env", config=config, env="A,B,HOME").stdout == ""
    refused = tool("cat", config=config, network="host")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "annotation 'io.pelagos.wasm.network': 'host' is not 'none'" in refused.stderr


@pytest.mark.parametrize("name", ["netwrok", "allow", "preopen", "backend.wasmtime", "privileged", "Dirs", ""])
def test_an_annotation_that_means_nothing_is_refused_by_name(tmp_path, guests, name):
    done = forms.FORMS["wasmtime"]().run(
        tmp_path, "--annotation", f"{ANNOTATION}{name}=x", str(guests / "tool.wasm"), "args"
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert f"annotation '{ANNOTATION}{name}': unknown (known: deadline, dirs, " in done.stderr


async def test_a_pods_annotations_and_its_containers_own_both_narrow(tmp_path, guests):
    pod = make_bundle(tmp_path / "pod", module=guests / "hello.wasm")
    kind = {"io.kubernetes.cri.container-type": "sandbox"}
    change_config(pod, annotations={**kind, f"{ANNOTATION}env": "A,B", f"{ANNOTATION}dirs": "/dev"})
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm", env=["A=1", "B=2", "C=3"])
    change_config(bundle, annotations={f"{ANNOTATION}env": "B,C", f"{ANNOTATION}dirs": "/"})
    async with running_shim(tmp_path) as shim:
        await shim.run("pod", pod)
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == "B=2\n"
        config = json.loads((bundle / "config.json").read_text())
        change_config(bundle, process={**config["process"], "args": ["/app.wasm", "ls", "/"]})
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == "dev\n"
        fifos.close()
        change_config(bundle, annotations={f"{ANNOTATION}nonsense": "x"})
        with pytest.raises(InvalidArgument, match=r"container 'c1': annotation 'io\.pelagos\.wasm\.nonsense': unknown"):
            await shim.create("c1", bundle)


async def test_a_pods_annotation_is_for_the_container_that_it_names(tmp_path, guests):
    cri = "io.kubernetes.cri.container-"
    said = {f"{ANNOTATION}env": "A,B,C", f"{ANNOTATION}env.app": "B,C", f"{ANNOTATION}deadline.other": "not looked at"}
    pod = make_bundle(tmp_path / "pod", module=guests / "hello.wasm")
    change_config(pod, annotations={f"{cri}type": "sandbox", **said})
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm", env=["A=1", "B=2", "C=3"])
    fifos = Fifos(tmp_path)

    async def env(shim, **annotations):
        change_config(bundle, annotations=annotations)
        assert await shim.run("c1", bundle, fifos) == 0
        return fifos.output()[0].split()

    async with running_shim(tmp_path) as shim:
        await shim.run("pod", pod)
        assert await env(shim, **{f"{cri}name": "app"}) == ["B=2", "C=3"]
        assert await env(shim, **{f"{cri}name": "side"}) == ["A=1", "B=2", "C=3"]
        # As containerd writes it: with what its pod says. And one of its own.
        assert await env(shim, **{f"{cri}name": "app", **said}) == ["B=2", "C=3"]
        assert await env(shim, **{f"{cri}name": "app", **said, f"{ANNOTATION}env": "A,C"}) == ["C=3"]
        change_config(bundle, annotations={f"{cri}name": "other"})
        with pytest.raises(InvalidArgument, match=r"container 'c1': annotation 'io\.pelagos\.wasm\.deadline\.other': "):
            await shim.create("c1", bundle)
    fifos.close()


async def test_a_pods_annotations_hold_in_a_daemon_that_has_not_seen_its_sandbox(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm", env=["A=1", "B=2", "C=3"])
    said = {f"{ANNOTATION}env": "A,B", f"{ANNOTATION}env.app": "B,C", f"{ANNOTATION}env.side": "none"}
    change_config(bundle, annotations={"io.kubernetes.cri.container-name": "app", **said})
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == "B=2\n"
        fifos.close()


async def test_labels_of_an_image_mean_nothing(tmp_path, guests):
    """CVE-2026-53488: what an image's author writes reaches the spec as annotations of other names."""
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", "env", module=guests / "tool.wasm", env=["A=1"])
    labels = {
        "org.opencontainers.image.title": "x",
        "run.oci.handler": "wasm",
        "module.wasm.image/variant": "compat-smart",
        "io.containerd.image.io.pelagos.wasm.dirs": "none",
        "containerd.io/restart.loguri": "binary:///bin/sh",
    }
    change_config(bundle, annotations=labels)
    async with running_shim(tmp_path) as shim:
        fifos = Fifos(tmp_path)
        assert await shim.run("c1", bundle, fifos) == 0
        assert fifos.output()[0] == "A=1\n"
        fifos.close()
