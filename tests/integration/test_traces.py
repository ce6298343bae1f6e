"""Traces of real containers, from the shim alone and joined to those of a real containerd."""

import asyncio
import os
import re
import subprocess
import sys

import pytest

from pelagos_core.api import task_pb2 as api
from pelagos_core.api import ttrpc_pb2
from pelagos_core.errors import PelagosError
from tests.support import leftovers, patience, provision
from tests.support.bundles import make_bundle
from tests.support.collector import attributes, collector
from tests.support.containerd import Containerd, install, until
from tests.support.shim import running_shim
from tests.support.zygote import end_zygotes

pytestmark = [pytest.mark.root, pytest.mark.guests]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def own(tmp_path):
    """A zygote of this test's own, which has what its config asks for."""
    directory = tmp_path / "z"
    yield {"PELAGOS_ZYGOTE": str(directory), "PELAGOS_CONFIG": str(tmp_path / "config.toml")}
    end_zygotes(str(directory))


def configured(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)


async def test_a_container_from_create_to_delete_is_one_trace_for_each_call(tmp_path, own, guests):
    with collector() as found:
        configured(tmp_path, f'[traces]\nendpoint = "{found.url}"\n')
        async with running_shim(tmp_path, env=own) as shim:
            assert await shim.run("c1", make_bundle(tmp_path / "b", module=guests / "exit7.wasm")) == 7
            threads = len(os.listdir(f"/proc/{shim.pid}/task"))
        assert threads == 1
        until(lambda: found.named("/Delete"))
    (create,), (start,), (delete,) = (found.named(f"/{name}") for name in ("Create", "Start", "Delete"))
    assert [attributes(span)["container.id"] for span in (create, start, delete)] == ["c1"] * 3
    assert attributes(create)["rpc.service"] == "containerd.task.v2.Task"
    assert attributes(create)["pelagos.backend"] == "wasmtime"
    inner = {span.name: span for span in found.spans() if span.trace_id == create.trace_id}
    assert set(inner) == {"containerd.task.v2.Task/Create", "control group", "launch", "compile", "process"}
    assert inner["launch"].parent_span_id == create.span_id
    assert inner["compile"].parent_span_id == inner["launch"].span_id
    assert attributes(inner["process"])["process.exit.code"] == 7
    assert [link.span_id for link in (*start.links, *delete.links)] == [create.span_id] * 2
    assert not found.named("/Wait")
    (resource,) = {str(sorted(attributes(each.resource_spans[0].resource).items())) for each in found.requests}
    assert "'service.name', 'pelagos'" in resource
    assert "'containerd.namespace', 'test'" in resource


async def test_a_call_with_a_context_is_within_the_callers_trace(tmp_path, own, guests):
    with collector() as found:
        configured(tmp_path, f'[traces]\nendpoint = "{found.url}"\nsampling = 0\n')
        async with running_shim(tmp_path, env=own) as shim:
            request = api.CreateTaskRequest(
                id="c1", bundle=str(make_bundle(tmp_path / "b", module=guests / "hello.wasm"))
            )
            await _call(shim, "Create", request, traceparent=f"00-{TRACE}-{PARENT}-01")
            await _call(shim, "Start", api.StartRequest(id="c1"), traceparent=f"00-{TRACE}-{PARENT}-00")
            await shim.wait("c1")
            await _call(shim, "Delete", api.DeleteRequest(id="c1"), traceparent="garbage")
            with pytest.raises(PelagosError):
                await _call(shim, "Create", api.CreateTaskRequest(id="c2"), traceparent=f"00-{TRACE}-{PARENT}-01")
        until(lambda: len(found.named("/Create")) == 2)
    first, second = found.named("/Create")
    assert {span.trace_id.hex() for span in found.spans()} == {TRACE}
    assert first.parent_span_id.hex() == second.parent_span_id.hex() == PARENT
    assert not found.named("/Start")  # the caller has not sampled it
    assert not found.named("/Delete")  # begins here, of which none is sampled
    assert (second.status.code, first.status.code) == (2, 0)
    assert attributes(second)["error.type"] == "PLG-SPEC"


async def _call(shim, method, message, **metadata):
    """A call of the task API with metadata of ttrpc."""
    from pelagos_core.ttrpc import envelope

    service = shim.client._service
    request = ttrpc_pb2.Request.FromString(envelope.request(service, method, message))
    request.metadata.extend(ttrpc_pb2.KeyValue(key=key, value=value) for key, value in metadata.items())
    answer = asyncio.get_running_loop().create_future()
    shim.client._protocol.send(request.SerializeToString(), answer.set_result)
    came = await asyncio.wait_for(answer, 30)
    if isinstance(came, PelagosError):
        raise came
    return envelope.response(service, method, came)


async def test_a_collector_that_is_away_or_refuses_is_no_containers_trouble(tmp_path, own, guests):
    with collector() as found:
        found.status = 400
        configured(tmp_path, f'[traces]\nendpoint = "{found.url}"\n')
        async with running_shim(tmp_path, env=own) as shim:
            assert await shim.run("c1", make_bundle(tmp_path / "b", module=guests / "exit7.wasm")) == 7
        await patience.until(lambda: not leftovers.processes(str(tmp_path)))  # the process that sends the rest
    assert not found.requests


def test_without_being_asked_nothing_is_imported():
    code = "import sys, pelagos_core.daemon.program; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pelagos_core.tracing.spans" in loaded
    assert not re.search(r"\b(opentelemetry|requests|urllib3)\b", loaded)


def _root(directory, module):
    directory.mkdir()
    (directory / "app.wasm").write_bytes(module.read_bytes())
    return directory


# Debian's containerd of 1.6 and 1.7 pass no context to shims; what they are configured by is their own.
@pytest.mark.containerd
@pytest.mark.slow
@pytest.mark.parametrize("release", [name for name in provision.RELEASES if name not in ("bookworm", "trixie")])
def test_the_shims_spans_are_in_containerds_own_traces(tmp_path, own, guests, release):
    configured(tmp_path, "")
    with collector() as found:
        # containerd's own variables: its tracing plugin and the shim read the same ones.
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": found.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        bin_dir = tmp_path / "bin"
        bin_dir.mkdir()
        engine = Containerd(install(bin_dir), {**own, **endpoint}, release)
        try:
            rootfs = _root(tmp_path / "rootfs", guests / "hello.wasm")
            done = engine.run("io.containerd.pelagos.wasm.v1", rootfs, "c1", "/app.wasm")
            assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr + engine.log()
            until(
                lambda: found.named("/Delete", "pelagos"),
                30,
                lambda: str([(s.name) for s in found.spans()]) + engine.log()[-3000:],
            )
            until(lambda: found.named("/Create", "containerd"), 30)
        finally:
            engine.close()
        for method in ("Create", "Start", "Delete"):
            (ours,) = found.named(f"/{method}", "pelagos")
            (theirs,) = [span for span in found.spans("containerd") if span.span_id == ours.parent_span_id]
            assert ours.trace_id == theirs.trace_id
            assert theirs.name.endswith(f"Task/{method}")
            assert ours.start_time_unix_nano >= theirs.start_time_unix_nano
            assert ours.end_time_unix_nano <= theirs.end_time_unix_nano
