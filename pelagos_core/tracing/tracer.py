"""Creates spans with OpenTelemetry's packages (the extra `otel`). Imported only if traces are enabled.

Ids, sampling, contexts, spans and exporters are those of the packages. Their TracerProvider is not used: it registers a
handler that starts threads in every forked child, and children of a daemon must have one thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pelagos_core import __version__
from pelagos_core.api import ttrpc_pb2
from pelagos_core.config.node_file import TraceSettings
from pelagos_core.errors import InvalidArgument, to_fields
from pelagos_core.tracing.sender import Sender
from pelagos_core.tracing.spans import Attributes

_PATH = "/v1/traces"
_SERVICE = "pelagos"
# Calls that are polled, or that wait for a long time: their spans would be noise.
_QUIET = frozenset({"State", "Stats", "Pids", "Connect", "Wait"})
_MAX_METADATA = 64
_MAX_TEXT = 1024  # characters of a text in a span; the sender queues many spans
_PARENTS = ("traceparent", "tracestate")  # W3C Trace Context; containerd sends it in ttrpc's metadata
_SAMPLERS = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
}
_RATIOS = {"traceidratio": TraceIdRatioBased, "parentbased_traceidratio": ParentBasedTraceIdRatio}
_propagator = TraceContextTextMapPropagator()
_scope = InstrumentationScope("pelagos_core", __version__)


@dataclass(slots=True)
class _Span:
    """A span that has started. context: its own. parent: the context of the enclosing span."""

    name: str
    context: SpanContext
    parent: SpanContext | None
    kind: SpanKind
    attributes: dict[str, str | int | float | bool]
    links: Sequence[Link]
    began: int = field(default_factory=time.time_ns)
    status: Status = field(default_factory=Status)


_current: ContextVar[_Span | None] = ContextVar("pelagos_span", default=None)


class OtelTracer:
    """The tracer of one daemon. Create it after the fork, so that each daemon has different random ids."""

    def __init__(self, settings: TraceSettings, namespace: str) -> None:
        """Arguments: namespace: containerd's namespace, an attribute of all spans.

        The OTEL_… environment variables supply what `settings` does not set. Raises InvalidArgument for an unknown
        sampler.
        """
        self._settings = settings
        self._sampler = _sampler(settings, os.environ)
        self._sender: Sender[ReadableSpan] = Sender(self._deliver)
        own: dict[str, str | int] = {
            "service.name": _SERVICE,
            "service.version": __version__,
            "process.pid": os.getpid(),
            "containerd.namespace": namespace,
        }
        # `Resource.create` would start threads. The variables may be meant for containerd: our attributes override it.
        self._resource = OTELResourceDetector().detect().merge(Resource(own))
        self._ids = RandomIdGenerator()
        self._created: dict[str, SpanContext] = {}

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[None]:
        """See spans.Tracer. Outside any span, for example in work that no call has started, no span is created."""
        around = _current.get()
        if around is None:
            yield
            return
        context = SpanContext(
            around.context.trace_id,
            self._ids.generate_span_id(),
            is_remote=False,
            trace_flags=around.context.trace_flags,
            trace_state=around.context.trace_state,
        )
        with self._within(_Span(name, context, around.context, SpanKind.INTERNAL, dict(attributes), ())):
            yield

    def annotate(self, attributes: Attributes) -> None:
        """See spans.Tracer."""
        around = _current.get()
        if around is not None:
            around.attributes.update(attributes)

    @contextmanager
    def call(self, request: ttrpc_pb2.Request, message: object) -> Iterator[None]:
        """The span of a call of the task API. Its parent is the caller's span, whose context is in the metadata.

        The later calls of a container are linked to its Create, because containerd makes each call in another trace.
        """
        if request.method in _QUIET:
            yield
            return
        container, exec_id = (str(getattr(message, name, "")) for name in ("id", "exec_id"))
        attributes = {"rpc.system": "ttrpc", "rpc.service": request.service, "rpc.method": request.method}
        attributes |= {"container.id": container, **({"pelagos.exec.id": exec_id} if exec_id else {})}
        before = self._created.get(container)
        span = self._outermost(request, attributes, [Link(before)] if before else [])
        is_create = request.method == "Create" and before is None
        if is_create:
            self._created[container] = span.context
        try:
            with self._within(span):
                yield
        except BaseException:
            if is_create:
                self._created.pop(container, None)
            raise
        if request.method == "Delete" and not exec_id:
            self._created.pop(container, None)

    def close(self) -> None:
        """Send the queued spans. Call it when the daemon exits."""
        self._sender.close()

    def _outermost(self, request: ttrpc_pb2.Request, attributes: dict[str, str], links: Sequence[Link]) -> _Span:
        """The span of a request: in the caller's trace, with the caller's sampling decision, if there is one."""
        name = f"{request.service}/{request.method}"
        around = trace.get_current_span(_propagator.extract(_carrier(request), Context())).get_span_context()
        parent = around if around.is_valid else None
        trace_id = parent.trace_id if parent else self._ids.generate_trace_id()
        known = trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
        result = self._sampler.should_sample(known, trace_id, name, SpanKind.SERVER, attributes, links)
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        span_id = self._ids.generate_span_id()
        context = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=result.trace_state)
        return _Span(name, context, parent, SpanKind.SERVER, dict(attributes), links)

    @contextmanager
    def _within(self, span: _Span) -> Iterator[None]:
        """Make `span` the current span of the block, and queue it at its end. An exception becomes its status."""
        token = _current.set(span)
        try:
            yield
        except Exception as error:
            code, text, reason = to_fields(error)
            span.status = Status(StatusCode.ERROR, _cut(text))
            span.attributes.update({"rpc.ttrpc.status_code": int(code), **({"error.type": reason} if reason else {})})
            raise
        finally:
            _current.reset(token)
            if span.context.trace_flags.sampled:
                self._sender.put(self._finished(span))

    def _finished(self, span: _Span) -> ReadableSpan:
        return ReadableSpan(
            _cut(span.name),
            span.context,
            span.parent,
            self._resource,
            {key: _cut(value) if isinstance(value, str) else value for key, value in span.attributes.items()},
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=span.began,
            end_time=time.time_ns(),
            instrumentation_scope=_scope,
        )

    def _deliver(self, spans: Sequence[ReadableSpan]) -> bool:
        """Send spans and return whether that succeeded. Runs in a child, where the exporter may start threads."""
        endpoint = self._settings.endpoint
        exporter = OTLPSpanExporter(endpoint.removesuffix("/").removesuffix(_PATH) + _PATH if endpoint else None)
        return exporter.export(spans) is SpanExportResult.SUCCESS


def _cut(text: str) -> str:
    """Cut a text for the queue: ids and errors may be as long as a caller's message, and spans stay in memory."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _carrier(request: ttrpc_pb2.Request) -> Mapping[str, str]:
    pairs = ((pair.key.lower(), pair.value) for pair in request.metadata[:_MAX_METADATA])
    return {key: value for key, value in pairs if key in _PARENTS}


def _sampler(settings: TraceSettings, environment: Mapping[str, str]) -> Sampler:
    """The sampler from the config, or from OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. Raises InvalidArgument."""
    if settings.sampling is not None:
        return ParentBasedTraceIdRatio(settings.sampling)
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    if name in _SAMPLERS:
        return _SAMPLERS[name]
    if name not in _RATIOS:
        raise InvalidArgument(f"OTEL_TRACES_SAMPLER: {name!r} is none of {', '.join([*_SAMPLERS, *_RATIOS])}")
    share = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    try:
        return _RATIOS[name](float(share))
    except ValueError:
        raise InvalidArgument(f"OTEL_TRACES_SAMPLER_ARG: {share!r} is not a number from 0 to 1") from None
