"""Spans: their ids, contexts, samples, errors and links; without a collector."""

import asyncio
import os

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from pelagos_core import reasons
from pelagos_core.api import task_pb2 as api
from pelagos_core.api import ttrpc_pb2
from pelagos_core.config.node_file import TraceSettings
from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import child
from pelagos_core.tracing import spans
from pelagos_core.tracing.tracer import OtelTracer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Kept:
    def __init__(self):
        self.spans: list[ReadableSpan] = []

    def put(self, span):
        self.spans.append(span)


@pytest.fixture
def made(monkeypatch):
    """Makes a tracer whose spans are kept."""

    def make(sampling=None, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        tracer = OtelTracer(TraceSettings("", sampling), "ns")
        tracer._sender = Kept()
        spans.install(tracer)
        return tracer

    yield make
    spans.install(None)


def request(method="Create", **metadata):
    pairs = [ttrpc_pb2.KeyValue(key=key, value=value) for key, value in metadata.items()]
    return ttrpc_pb2.Request(service="containerd.task.v2.Task", method=method, metadata=pairs)


def called(tracer, method="Create", container="c1", **metadata):
    message = api.StartRequest(id=container)
    with tracer.call(request(method, **metadata), message):
        pass
    return tracer._sender.spans[-1] if tracer._sender.spans else None


def test_a_call_without_a_context_begins_a_trace(made):
    tracer = made()
    first, second = called(tracer), called(tracer, container="c2")
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id
    assert first.name == "containerd.task.v2.Task/Create"
    assert first.attributes["container.id"] == "c1"
    assert first.resource.attributes["service.name"] == "pelagos"
    assert first.end_time >= first.start_time


def test_a_span_in_the_queue_is_small_however_long_what_a_caller_has_sent(made):
    tracer, long = made(), "x" * 4_000_000
    message = api.StartRequest(id=long, exec_id=long)
    call = ttrpc_pb2.Request(service=long, method=long)

    def fail():
        with tracer.call(call, message), spans.span("inner", pelagos__word=long):
            spans.annotate(pelagos__more=long)
            raise InvalidArgument(long)

    with pytest.raises(InvalidArgument):
        fail()
    assert len(tracer._sender.spans) == 2
    for span in tracer._sender.spans:
        assert len(span.to_json()) < 20_000
        assert span.status.description.startswith("xxx")


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False)])
def test_a_call_within_a_trace_is_sampled_as_that_is(made, flags, sampled):
    tracer = made(0.0)
    span = called(tracer, Traceparent=f"00-{TRACE}-{PARENT}-{flags}", tracestate="a=b")
    assert (span is not None) is sampled
    if span:
        assert f"{span.context.trace_id:032x}" == TRACE
        assert f"{span.parent.span_id:016x}" == PARENT
        assert span.parent.is_remote
        assert span.context.trace_state["a"] == "b"


@pytest.mark.parametrize("garbage", ["", "x", "00-0-0-00", f"00-{'0' * 32}-{PARENT}-01", "00-" + "f" * 10_000])
def test_a_context_that_is_none_begins_a_trace(made, garbage):
    assert called(made(), traceparent=garbage).parent is None


@pytest.mark.parametrize(
    ("sampling", "environment", "kept"),
    [
        (1.0, {}, True),
        (0.0, {}, False),
        (None, {"OTEL_TRACES_SAMPLER": "always_off"}, False),
        (None, {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, False),
        (1.0, {"OTEL_TRACES_SAMPLER": "always_off"}, True),
    ],
)
def test_the_config_samples_before_the_environment(made, sampling, environment, kept):
    assert (called(made(sampling, **environment)) is not None) is kept


def test_the_variables_of_containerd_do_not_rename_us(made):
    tracer = made(OTEL_SERVICE_NAME="containerd", OTEL_RESOURCE_ATTRIBUTES="deployment.environment=x,service.name=y")
    resource = called(tracer).resource.attributes
    assert (resource["service.name"], resource["deployment.environment"]) == ("pelagos", "x")


def test_calls_of_a_container_are_linked_to_its_create(made):
    tracer = made()
    create, start = called(tracer), called(tracer, "Start")
    delete, later = called(tracer, "Delete"), called(tracer, "Start")
    assert [link.context.span_id for span in (start, delete) for link in span.links] == [create.context.span_id] * 2
    assert not create.links
    assert not later.links
    assert not tracer._created


def test_an_error_is_the_spans_status(made):
    tracer = made()
    with pytest.raises(InvalidArgument), tracer.call(request(), api.StartRequest(id="c1")):
        raise InvalidArgument("no such thing", reasons.SPEC)
    (span,) = tracer._sender.spans
    assert (span.status.is_ok, span.status.description) == (False, "no such thing")
    assert span.attributes["error.type"] == "PLG-SPEC"
    assert not tracer._created


@pytest.mark.parametrize("method", ["State", "Wait", "Stats", "Pids", "Connect"])
def test_calls_that_are_asked_often_or_wait_have_no_span(made, method):
    assert called(made(), method) is None


def test_spans_nest_by_task_and_outlive_their_parent(made):
    tracer = made()

    async def later():
        with spans.span("inner"):
            await asyncio.sleep(0.02)

    async def body():
        with tracer.call(request(), api.StartRequest(id="c1")):
            task = asyncio.ensure_future(spans.spanned("outer", later()))
            await asyncio.sleep(0)
        await called_meanwhile()
        await task

    async def called_meanwhile():
        await asyncio.sleep(0)
        called(tracer, "Start", container="c2")

    asyncio.run(body())
    found = {span.name.rpartition("/")[2]: span for span in tracer._sender.spans}
    assert found["outer"].parent.span_id == found["Create"].context.span_id
    assert found["inner"].parent.span_id == found["outer"].context.span_id
    assert found["Start"].context.trace_id != found["Create"].context.trace_id
    assert [span.name for span in tracer._sender.spans][-2:] == ["inner", "outer"]


def test_work_outside_of_a_call_has_no_span(made):
    tracer = made()
    with spans.span("alone"):
        spans.annotate(a=1)
    assert not tracer._sender.spans


def test_a_fork_begins_no_thread_and_has_ids_of_its_own(made):
    tracer = made()

    def run(report):
        span = called(tracer)
        os.write(report, f"{len(os.listdir('/proc/self/task'))} {span.context.trace_id:032x}".encode())

    told = []
    for flags in (0, 0x20000000, 0):  # CLONE_NEWPID
        if flags and os.geteuid():
            continue
        with child.fork_reporting(run, flags) as forked:
            told.append(forked.read_all(100, 20).decode().split())
    assert {threads for threads, _ in told} == {"1"}
    assert len({trace for _, trace in told}) == len(told)
