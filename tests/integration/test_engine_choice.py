"""Which backend runs a container, on a node with three engines, by each setting, on each real containerd."""

import asyncio
import os
import re

import pytest

from pelagos_core.api.inspection_pb2 import BackendRequest
from pelagos_core.cli.connection import INSPECTION
from pelagos_core.ttrpc.client import Client
from scripts import engines
from tests.support.containerd import Containerd
from tests.support.crictl import CRI_CONFIG, Crictl, runtime_config
from tests.support.traces import nothing_is_left, parent

pytestmark = [pytest.mark.root, pytest.mark.containerd, pytest.mark.guests, pytest.mark.engines]

RUNTIME = "io.containerd.pelagos.wasm.v1"
ENGINES = ("wasmedge", "wasmer", "wasmtime")
PATHS_ONLY = ("bookworm",)  # containerd 1.6 passes on nothing of a table of options but its ConfigPath
ASKS = "io.pelagos.wasm.runtime"

# Runtime options as files: ours reads them, containerd knows their paths only.
FILES = {
    "wasmedge": 'runtime = "wasmedge"\n',
    "unknown-key": 'runtine = "wasmedge"\n',
    "of-the-node": "zygote_idle_seconds = 1\n",
    "no-toml": "runtime: wasmedge\n",
    "not-installed": 'runtime = "nosuch"\n',
}
BROKEN = {
    "unknown-key": "runtime options: config '{file}': unknown key 'runtine'",
    "of-the-node": "runtime options: config '{file}': zygote_idle_seconds belongs in the node's config",
    "no-toml": "runtime options: config '{file}': not TOML",
    "not-installed": "backend 'nosuch', asked for by the runtime options, is not installed",
    "no-file": "runtime options: config '{file}' does not exist",
}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """The directory of the files of options."""
    directory = tmp_path_factory.mktemp("options")
    for name, text in FILES.items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture(scope="module")
def containerd(release, bin_dir, options):
    (options / "node.toml").write_text(engines.config())
    handlers = [runtime_config(f"by-path-{name}", ConfigPath=str(options / name)) for name in (*FILES, "no-file")]
    handlers += [runtime_config("by-body", runtime="wasmer"), runtime_config("by-broken-body", runtine="wasmer")]
    environment = {"PELAGOS_CONFIG": str(options / "node.toml")}
    daemon = Containerd(bin_dir, environment, release, CRI_CONFIG + "\n".join(handlers))
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def crictl(containerd, images):
    return Crictl(containerd, images)


@pytest.fixture
def pod(crictl, container):
    """The name of the test's pod, which is removed at the end, whatever became of it."""
    yield container
    for found in crictl.run("pods", "-q", "--name", container).stdout.split():
        crictl.run("rmp", "-f", found)


def engine_of(containerd, container):
    """(the engine, why) that a container runs on, as its shim says."""
    (address,) = containerd.directory.glob(f"state/io.containerd.runtime.v2.task/*/{container}/address")

    async def ask():
        async with await Client.connect(address.read_text().removeprefix("unix://"), INSPECTION) as client:
            return await client.call("Backend", BackendRequest(id=container))

    said = asyncio.run(ask())
    return said.backend, said.reason


def is_refused(containerd, container, *args, flags):
    """What `ctr run` says to a container that cannot be made; nothing is left of it."""
    done = containerd.run(RUNTIME, args[0], container, *args[1:], flags=("--rm", *flags))
    assert done.returncode == 1
    assert container not in containerd.tasks()
    assert container not in containerd.ctr("container", "ls", "-q", check=True).stdout
    nothing_is_left(containerd.directory, container)
    assert not [path for path, _, _ in os.walk(containerd.directory / "state") if path.endswith(f"/{container}")]
    return done.stderr.splitlines()[-1]


def test_one_pod_runs_three_containers_on_three_engines_at_once(containerd, rootfs, container):
    names = {name: f"{container}-{name}" for name in ENGINES}
    for engine, name in names.items():
        flags = ("-d", "--annotation", f"io.kubernetes.cri.sandbox-id={container}", "--annotation", f"{ASKS}={engine}")
        done = containerd.run(RUNTIME, rootfs, name, "/spin.wasm", flags=flags)
        assert done.returncode == 0, done.stderr
    tasks = containerd.tasks()
    assert [tasks[name][1] for name in names.values()] == ["RUNNING"] * 3
    assert len({parent(tasks[name][0]) for name in names.values()}) == 1
    assert [engine_of(containerd, name)[0] for name in names.values()] == list(ENGINES)
    containerd.remove(*names.values())
    nothing_is_left(containerd.directory, container)


def test_an_engine_that_is_not_installed_is_refused_with_those_that_are(containerd, rootfs, container):
    said = is_refused(containerd, container, rootfs, "/hello.wasm", flags=("--annotation", f"{ASKS}=nosuch"))
    assert f"backend 'nosuch', asked for by the container's annotation {ASKS}, is not installed" in said
    assert "(installed: wasmedge, wasmer, wasmtime; wasmedge, wasmer, wasmtime could)" in said
    assert "[PLG-ENGINE-MISSING]" in said


def test_an_engine_that_cannot_run_the_module_is_refused_with_one_that_could(containerd, rootfs, container):
    said = is_refused(containerd, container, rootfs, "/component.wasm", flags=("--annotation", f"{ASKS}=wasmer"))
    assert "entry point '/component.wasm' (component)" in said
    assert f"backend 'wasmer', asked for by the container's annotation {ASKS}, cannot run it: " in said
    assert "(installed: wasmedge, wasmer, wasmtime; wasmtime could)" in said
    assert "[PLG-ENGINE-UNFIT]" in said


def test_ctr_names_a_file_of_options_that_chooses_the_engine(containerd, rootfs, container, options):
    flags = ("-d", "--runtime-config-path", str(options / "wasmedge"))
    done = containerd.run(RUNTIME, rootfs, container, "/spin.wasm", flags=flags)
    assert done.returncode == 0, done.stderr
    engine, why = engine_of(containerd, container)
    assert (engine, "asked for by the runtime options" in why) == ("wasmedge", True)
    containerd.remove(container)


@pytest.mark.parametrize("name", BROKEN)
def test_ctr_gets_the_error_of_a_file_of_options(containerd, rootfs, container, options, name):
    flags = ("--runtime-config-path", str(options / name))
    said = is_refused(containerd, container, rootfs, "/hello.wasm", flags=flags)
    assert fault(name, options) in said
    assert re.search(r" \[PLG-[A-Z-]+\]", said)


@pytest.mark.crictl
def test_the_config_of_a_runtime_class_names_a_file_of_options(containerd, crictl, pod):
    spin = crictl.start(crictl.run_pod(pod, "by-path-wasmedge"), pod, "spin", "/spin.wasm")
    engine, why = engine_of(containerd, spin)
    assert (engine, "asked for by the runtime options" in why) == ("wasmedge", True)


@pytest.mark.crictl
@pytest.mark.parametrize("name", [name for name in BROKEN if name != "not-installed"])
def test_a_kubelet_gets_the_error_of_a_file_of_options(containerd, crictl, pod, options, name):
    assert fault(name, options) in pod_is_refused(containerd, crictl, pod, f"by-path-{name}")


@pytest.mark.crictl
def test_the_config_of_a_runtime_class_holds_the_options_itself(containerd, crictl, pod, release):
    spin = crictl.start(crictl.run_pod(pod, "by-body"), pod, "spin", "/spin.wasm")
    engine, why = engine_of(containerd, spin)
    if release in PATHS_ONLY:
        assert "asked for" not in why
    else:
        assert (engine, "asked for by the runtime options" in why) == ("wasmer", True)


@pytest.mark.crictl
def test_a_kubelet_gets_the_error_of_options_of_the_config(containerd, crictl, pod, release):
    if release in PATHS_ONLY:
        crictl.run_pod(pod, "by-broken-body")
    else:
        said = pod_is_refused(containerd, crictl, pod, "by-broken-body")
        assert "runtime options: unknown key 'runtine'" in said


def fault(name, options):
    """The error for a broken file of options."""
    return BROKEN[name].format(file=options / name)


def pod_is_refused(containerd, crictl, pod, handler):
    """What `crictl` says to a pod that cannot be made; nothing is left of it."""
    done = crictl.run(*crictl.words_of_pod(pod, handler), check=False)
    assert done.returncode == 1
    assert not crictl.run("pods", "-q", "--name", pod).stdout
    nothing_is_left(containerd.directory, pod)
    return done.stderr
