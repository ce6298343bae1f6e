"""Whether a node traces, and the tracer of a daemon: by the node's config and OpenTelemetry's variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pelagos_core.config.node_file import TraceSettings
from pelagos_core.tracing import spans

if TYPE_CHECKING:
    from pelagos_core.tracing.tracer import OtelTracer

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


def is_wanted(settings: TraceSettings | None, environment: Mapping[str, str]) -> bool:
    """Whether traces are asked for: by [traces] in the config, or an endpoint in the environment.

    OTEL_SDK_DISABLED=true turns both off.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return settings is not None or any(environment.get(name) for name in ENDPOINTS)


def preload(settings: TraceSettings | None) -> None:
    """Import OpenTelemetry if traces are asked for: once, in the process that forks daemons."""
    if is_wanted(settings, os.environ):
        _imported(asked=settings is not None)


def start(settings: TraceSettings | None, namespace: str) -> OtelTracer | None:
    """Begin to trace in this daemon, if that is asked for and can be done. What cannot be is logged.

    namespace: containerd's.
    """
    if not is_wanted(settings, os.environ) or not _imported(asked=settings is not None):
        return None
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL and not (settings and settings.endpoint):
        log.warning("traces: protocol %r is not supported, %s is", protocol, _PROTOCOL)
        return None
    from pelagos_core.tracing.tracer import OtelTracer

    try:
        tracer = OtelTracer(settings or TraceSettings(), namespace)
    except Exception as error:  # noqa: BLE001 (what OpenTelemetry makes of a variable must not keep a pod from starting)
        log.warning("traces: %s", error)
        return None
    spans.install(tracer)
    return tracer


def _imported(*, asked: bool) -> bool:
    """Whether OpenTelemetry can be imported. asked: by the config, so its absence is worth a warning."""
    try:
        from pelagos_core.tracing import tracer  # noqa: F401
    except ImportError as error:
        level = logging.WARNING if asked else logging.DEBUG
        log.log(level, "no traces: %s (pip install 'pelagos-core[otel]')", error)
        return False
    return True
