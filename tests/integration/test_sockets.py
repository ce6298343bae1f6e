"""TCP and UDP of guests: in the network namespace of their container or pod, and nowhere else."""

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pelagos_core.errors import InvalidArgument
from scripts import engines
from tests.support import forms
from tests.support.absent import ABSENT
from tests.support.bundles import Fifos, change_config, make_bundle
from tests.support.network import new_network
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.components, pytest.mark.engines]

_KINDS = ("pid", "mount", "ipc", "uts")


@pytest.fixture
def network():
    with new_network() as made:
        yield made


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(engines.config())
    return path


@contextlib.asynccontextmanager
async def running_guest(tmp_path, component, path, *words, config, python=sys.executable, **annotations):
    """A started guest in a network namespace, or the spec's none. Gives its pid, streams and the shim."""
    bundle = make_bundle(tmp_path / "c1", "/app.wasm", *words, module=component)
    network = [{"type": "network", **({"path": path} if path else {})}] if path is not None else []
    change_config(
        bundle,
        linux={"namespaces": [*({"type": kind} for kind in _KINDS), *network]},
        annotations={f"io.pelagos.wasm.{name}": word for name, word in annotations.items()},
    )
    fifos = Fifos(bundle)
    try:
        async with running_shim(tmp_path, python=python, env={"PELAGOS_CONFIG": str(config)}) as shim:
            pid = await shim.create("c1", bundle, fifos)
            await shim.start("c1")
            yield pid, fifos, shim
    finally:
        fifos.close()


async def ended(guest):
    """Its exit code, stdout and stderr."""
    _, fifos, shim = guest
    status = await shim.wait("c1")
    return status.exit_status, *fifos.output()


@pytest.mark.parametrize(("kind", "word"), [("tcp", "listen"), ("udp", "receive")])
async def test_a_guest_serves_in_its_pods_network_alone(tmp_path, components, network, config, kind, word):
    words = (word, "0.0.0.0:7007")
    async with running_guest(tmp_path, components / "network.wasm", network.path, *words, config=config) as guest:
        pid, fifos, _ = guest
        assert await fifos.some(100) == "listening\n"
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == network.inode
        for text in ("one", "two"):
            assert network.ask(kind, 7007, text) == text
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", 7007)) != 0


async def test_a_guest_connects_to_a_neighbour_of_its_pod(tmp_path, components, network, config):
    words = ("connect", "127.0.0.1:7")
    with network.echoing():
        async with running_guest(tmp_path, components / "network.wasm", network.path, *words, config=config) as guest:
            assert await ended(guest) == (0, "hello\n", "")


async def test_a_port_that_is_taken_is_an_error_of_the_guests(tmp_path, components, network, config):
    with network.echoing(port=7007):
        async with running_guest(
            tmp_path, components / "network.wasm", network.path, "listen", "127.0.0.1:7007", config=config
        ) as guest:
            code, said, _ = await ended(guest)
            assert code == 1
            assert "error: Address" in said


@pytest.mark.parametrize("path", ["", None, "/proc/self/ns/net", f"/proc/{os.getpid()}/ns/net"])
@pytest.mark.parametrize("target", ["host", "169.254.169.254:80"])
async def test_the_hosts_loopback_and_the_nodes_metadata_are_out_of_reach(
    tmp_path, components, network, config, path, target
):
    """With a network namespace of its own, none, and paths to the host's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"127.0.0.1:{server.getsockname()[1]}" if target == "host" else target
        async with running_guest(
            tmp_path, components / "network.wasm", path, "connect", address, config=config
        ) as guest:
            code, said, _ = await ended(guest)
        assert (code, said.startswith("error: ")) == (1, True)
        with pytest.raises(TimeoutError):
            server.accept()


async def test_another_pods_network_is_out_of_reach(tmp_path, components, network, config):
    with new_network() as other, other.echoing(), network.echoing(port=9):
        async with running_guest(
            tmp_path, components / "network.wasm", network.path, "connect", "127.0.0.1:7", config=config
        ) as guest:
            code, said, _ = await ended(guest)
        assert code == 1
        assert "refused" in said


async def test_a_guest_that_may_only_connect_connects_and_serves_nothing(tmp_path, components, network, config):
    component = components / "network.wasm"
    outcomes = {}
    with network.echoing():
        for word, address in (("connect", "127.0.0.1:7"), ("listen", "127.0.0.1:0"), ("receive", "127.0.0.1:0")):
            (tmp_path / word).mkdir()
            async with running_guest(
                tmp_path / word, component, network.path, word, address, config=config, network="outbound"
            ) as guest:
                outcomes[word] = await ended(guest)
    assert outcomes["connect"] == (0, "hello\n", "")
    for word in ("listen", "receive"):
        assert outcomes[word][0] == 1
        assert "Permission denied" in outcomes[word][1]


async def test_a_list_of_addresses_is_refused_by_name(tmp_path, components, network, config):
    with pytest.raises(Exception, match="engines cannot restrict a guest to a list of addresses"):
        async with running_guest(
            tmp_path, components / "network.wasm", network.path, "connect", "x", config=config, network="10.0.0.1:1"
        ):
            pass


async def test_without_the_program_a_guest_gets_an_error_at_its_first_try(tmp_path, components, network, config):
    config.write_text(f'[backends.wasmtime]\nprogram = "{ABSENT}/wasmtime"\n')
    async with running_guest(
        tmp_path, components / "network.wasm", network.path, "listen", "127.0.0.1:7007", config=config
    ) as guest:
        code, _, told = await ended(guest)
    assert code == 1
    assert told == (
        "pelagos: the guest asked for wasi:sockets/tcp-create-socket@0.2.6, and Wasmtime's library has no TCP "
        "and UDP, its program has [PLG-NETWORK]\n"
    )


# WasmEdge's own functions: an echo of one connection at port 7007.
_ECHO = """(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\\20\\00\\00\\00\\04\\00\\00\\00") ;; an address: 4 bytes at 32, which are 0
  (data (i32.const 48) "\\80\\00\\00\\00\\00\\10\\00\\00") ;; a buffer of 4096 bytes at 128
  (data (i32.const 64) "\\48\\00\\00\\00\\0a\\00\\00\\00listening\\0a") ;; a line of 10 bytes at 72
  (func $check (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
  (func (export "_start")
    (call $check (call $open (i32.const 1) (i32.const 2) (i32.const 0)))
    (call $check (call $bind (i32.load (i32.const 0)) (i32.const 16) (i32.const 7007)))
    (call $check (call $listen (i32.load (i32.const 0)) (i32.const 8)))
    (call $check (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 8)))
    (call $check (call $accept (i32.load (i32.const 0)) (i32.const 4)))
    (call $check (call $recv (i32.load (i32.const 4)) (i32.const 48) (i32.const 1) (i32.const 0) (i32.const 8)
      (i32.const 12)))
    (i32.store (i32.const 52) (i32.load (i32.const 8)))
    (call $check (call $send (i32.load (i32.const 4)) (i32.const 48) (i32.const 1) (i32.const 0) (i32.const 8)))))
"""


# The same by those of WASIX, which Wasmer has. An address is its family, 1, its port and 4 bytes.
_ECHO_OF_WASIX = (
    _ECHO.replace('"wasi_snapshot_preview1" "sock_', '"wasix_32v1" "sock_')
    .replace('"sock_accept" (func $accept (param i32 i32)', '"sock_accept_v2" (func $accept (param i32 i32 i32 i32)')
    .replace("$open (param i32 i32 i32)", "$open (param i32 i32 i32 i32)")
    .replace("$bind (param i32 i32 i32)", "$bind (param i32 i32)")
    .replace('"\\20\\00\\00\\00\\04\\00\\00\\00"', '"\\01\\00\\5f\\1b\\00\\00\\00\\00"')
    .replace(
        "$open (i32.const 1) (i32.const 2) (i32.const 0)",
        "$open (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 0)",
    )
    .replace("(i32.const 16) (i32.const 7007)", "(i32.const 16)")
    .replace(
        "(i32.const 0)) (i32.const 4)))\n    (call $check (call $recv",
        "(i32.const 0)) (i32.const 0) (i32.const 4) (i32.const 8192)))\n    (call $check (call $recv",
    )
)
_FORMS = {"wasmedge-program": _ECHO, "wasmedge-embedded": _ECHO, "wasmer-program": _ECHO_OF_WASIX}


class Engine(NamedTuple):
    """One that has functions of its own for sockets: its words for `running_guest`, and an echo."""

    words: dict[str, object]
    echo: Path


def _engine(name, tmp_path):
    import wasmtime

    form = forms.FORMS[name]()
    (tmp_path / "config.toml").write_text(form.config)
    (tmp_path / "echo.wasm").write_bytes(bytes(wasmtime.wat2wasm(_FORMS[name])))
    words = {"python": form.python, "config": tmp_path / "config.toml", "runtime": form.backend}
    return Engine(words, tmp_path / "echo.wasm")


@pytest.mark.parametrize("name", _FORMS)
async def test_a_guest_serves_in_its_pods_network_by_functions_of_its_engine(tmp_path, name):
    engine = _engine(name, tmp_path)
    for number in range(2):  # by Python, then by the native part where there is one
        place = tmp_path / str(number)
        place.mkdir()
        with new_network() as network:
            async with running_guest(place, engine.echo, network.path, **engine.words) as guest:
                assert await guest[1].some(100) == "listening\n"
                assert network.ask("tcp", 7007, "hello") == "hello"
                assert (await ended(guest))[0] == 0


@pytest.mark.parametrize("name", _FORMS)
@pytest.mark.parametrize("word", ["none", "outbound"])
async def test_such_a_guest_is_held_to_its_policy(tmp_path, network, name, word):
    engine = _engine(name, tmp_path)
    guest = running_guest(tmp_path, engine.echo, network.path, network=word, **engine.words)
    if (name.partition("-")[0], word) == ("wasmedge", "none"):
        with pytest.raises(InvalidArgument, match=r"unknown import: .*sock_"):
            async with guest:
                pass
    else:
        async with guest as started:
            code, said, _ = await ended(started)
            assert (code != 0, said) == (True, "")
