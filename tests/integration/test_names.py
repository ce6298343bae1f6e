"""Names that guests look up: by the container's own files, and never by code of its image."""

import json
import os
import subprocess
import sys

import pytest

from scripts import engines
from tests.support.absent import ABSENT
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.network import new_network
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.components]

NO_PROGRAM = f'[backends.wasmtime]\nprogram = "{ABSENT}/wasmtime"\n'
_EVIL = """
#include <unistd.h>
__attribute__((constructor)) static void run(void) { if (write(2, "code of the image\\n", 18)) return; }
"""
# What glibc opens for a host name where it is free to: sources of nsswitch.conf, and libraries of these.
_LIBRARIES = [f"libnss_{name}.so.2" for name in ("evil", "files", "dns", "resolve", "myhostname", "mdns4_minimal")]
_LIBRARIES += ["libresolv.so.2", "libidn2.so.0", "libgcc_s.so.1"]
_PLACES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib", "usr/lib", "lib64", "usr/lib64")


@pytest.fixture
def network():
    with new_network() as made:
        yield made


@pytest.fixture(params=["library", pytest.param("program", marks=pytest.mark.engines)])
def config(request, tmp_path):
    """The node's config, by which Wasmtime's library or its program runs a guest with sockets."""
    path = tmp_path / "config.toml"
    path.write_text(engines.config() if request.param == "program" else NO_PROGRAM)
    return path


def guest(directory, component, namespace, *words, **annotations):
    bundle = make_bundle(directory, "/app.wasm", *words, module=component)
    kinds = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    change_config(
        bundle,
        linux={"namespaces": [*kinds, {"type": "network", "path": namespace.path}]},
        annotations={f"io.pelagos.wasm.{name}": word for name, word in annotations.items()},
    )
    etc = bundle / "rootfs/etc"
    etc.mkdir()
    (etc / "hosts").write_text("10.1.2.3 box.test\n")
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    return bundle


async def outcomes(tmp_path, bundles, config):
    """What came of each: exit code, stdout, stderr. The library is first used by Python, then by the native part."""
    found = []
    async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(config)}) as shim:
        for number, bundle in enumerate(bundles):
            streams = tmp_path / f"streams-{number}"
            streams.mkdir()
            fifos = Fifos(streams)
            code = await shim.run(f"c{number}", bundle, fifos)
            found.append((code, *fifos.output()))
            fifos.close()
    return found


async def test_a_guest_looks_names_up_as_its_container_has_them(tmp_path, components, network, config):
    component = components / "network.wasm"
    asked = ["box.test", "away.test", "nowhere.test"] * 2
    bundles = [guest(tmp_path / f"b{n}", component, network, "look-up", name) for n, name in enumerate(asked)]
    with network.serving_names(away_test="10.9.8.7"):
        found = await outcomes(tmp_path, bundles, config)
    assert [each[:2] for each in found[:2]] == [(0, "10.1.2.3\n"), (0, "10.9.8.7\n")]
    assert found[2][0] == 1
    assert "failed to lookup address information" in found[2][1]
    assert found[3:] == found[:3]


@pytest.fixture
def hostile(tmp_path):
    """Adds to a root what an image may ship for the C library to open."""
    library = tmp_path / "evil.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-xc", "-", "-o", library], input=_EVIL, text=True, check=True)

    def add(root):
        for place in _PLACES:
            directory = root / place
            directory.mkdir(parents=True, exist_ok=True)
            for name in _LIBRARIES:
                os.link(library, directory / name)
        (root / "etc").mkdir(exist_ok=True)
        (root / "etc/nsswitch.conf").write_text(
            "hosts: evil resolve [UNAVAIL=return] myhostname files dns\npasswd: evil\nservices: evil\n"
        )

    return add


@pytest.mark.compiler
@pytest.mark.parametrize("level", ["engine", "off"])
async def test_no_code_of_an_image_is_loaded_for_a_look_up(tmp_path, components, network, hostile, config, level):
    """With the system calls that an engine has, and with all of them."""
    bundles = []
    for number in range(2):
        bundle = guest(tmp_path / f"b{number}", components / "network.wasm", network, "look-up", "away.test")
        hostile(bundle / "rootfs")
        bundles.append(bundle)
    config.write_text(f'seccomp = "{level}"\n{config.read_text()}')
    with network.serving_names(away_test="10.9.8.7"):
        found = await outcomes(tmp_path, bundles, config)
    assert found == 2 * [(0, "10.9.8.7\n", "")]


@pytest.mark.compiler
def test_the_c_library_does_load_it_where_nothing_is_done(tmp_path, hostile):
    """Else the test above would show nothing."""
    hostile(tmp_path / "root")
    look_up = f"import os, socket; os.chroot({str(tmp_path / 'root')!r}); socket.getaddrinfo(b'away.test', 80)"
    done = subprocess.run([sys.executable, "-c", look_up], capture_output=True, text=True)
    assert "code of the image\n" in done.stderr


async def test_without_a_network_no_name_is_looked_up_and_the_guest_gets_an_error(
    tmp_path, components, network, config
):
    bundles = [
        guest(tmp_path / f"b{n}", components / "network.wasm", network, "look-up", "box.test", network="none")
        for n in range(2)
    ]
    told = "pelagos: the guest asked for wasi:sockets/ip-name-lookup@0.2.6, and it has no network [PLG-NETWORK]\n"
    found = await outcomes(tmp_path, bundles, config)
    assert [(code, stderr) for code, _, stderr in found] == 2 * [(1, told)]


async def test_a_guest_sends_http_requests_by_name(tmp_path, components, network):
    """By the library, in Python and by the native part: it asks for no socket."""
    bundles = [guest(tmp_path / f"b{n}", components / "fetch.wasm", network, "web.test") for n in range(2)]
    config = tmp_path / "config.toml"
    config.write_text(NO_PROGRAM)
    with network.serving_names(web_test="127.0.0.1"), network.serving_http():
        found = await outcomes(tmp_path, bundles, config)
    assert found == 2 * [(0, "200\nyou asked web.test", "")]


async def test_without_a_network_no_request_is_sent_and_the_guest_gets_an_error(tmp_path, components, network):
    bundles = [
        guest(tmp_path / f"b{n}", components / "fetch.wasm", network, "127.0.0.1", network="none") for n in range(2)
    ]
    config = tmp_path / "config.toml"
    config.write_text(NO_PROGRAM)
    told = "pelagos: the guest asked for wasi:http/outgoing-handler@0.2.12, and it has no network [PLG-NETWORK]\n"
    with network.serving_http():
        found = await outcomes(tmp_path, bundles, config)
    assert found == 2 * [(1, "error: ErrorCode::HttpRequestDenied\n", told)]


@pytest.mark.engines
@pytest.mark.compiler
async def test_nor_is_any_for_a_service_that_asks_another_one(tmp_path, components, network, hostile):
    bundle = guest(tmp_path / "b", components / "proxy.wasm", network)
    hostile(bundle / "rootfs")
    spec = json.loads((bundle / "config.json").read_text())
    change_config(bundle, process={**spec["process"], "env": ["UPSTREAM=web.test"]})
    config = tmp_path / "config.toml"
    config.write_text(engines.config())
    with network.serving_names(web_test="127.0.0.1"), network.serving_http():
        async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(config)}) as shim:
            await shim.create("c1", bundle)
            await shim.start("c1")
            assert network.fetch(8080) == "you asked web.test\n"
