"""Sets up the tracer of a daemon from the node's config and OpenTelemetry's environment variables."""

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
    """Whether traces are enabled: by [traces] in the config, or by an endpoint in the environment.

    OTEL_SDK_DISABLED=true disables both.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return settings is not None or any(environment.get(name) for name in ENDPOINTS)


def preload(settings: TraceSettings | None) -> None:
    """Import OpenTelemetry if traces are enabled. Call it once, in the zygote."""
    if is_wanted(settings, os.environ):
        _imported(asked=settings is not None)


def start(settings: TraceSettings | None, namespace: str) -> OtelTracer | None:
    """Start tracing in this daemon if it is enabled and possible; log why it is not possible.

    namespace: containerd's namespace. Returns None if the daemon does not trace.
    """
    if not is_wanted(settings, os.environ) or not _imported(asked=settings is not None):
        return None
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL and not (settings and settings.endpoint):
        log.warning("traces: protocol %r is not supported, only %s is", protocol, _PROTOCOL)
        return None
    from pelagos_core.tracing.tracer import OtelTracer

    try:
        tracer = OtelTracer(settings or TraceSettings(), namespace)
    except Exception as error:  # noqa: BLE001 (a wrong variable must not prevent a pod's start)
        log.warning("traces: %s", error)
        return None
    spans.install(tracer)
    return tracer


def _imported(*, asked: bool) -> bool:
    """Whether OpenTelemetry can be imported. asked: whether the config enables traces; a failure is a warning then."""
    try:
        from pelagos_core.tracing import tracer  # noqa: F401
    except ImportError as error:
        level = logging.WARNING if asked else logging.DEBUG
        log.log(level, "no traces: %s (pip install 'pelagos-core[otel]')", error)
        return False
    return True
