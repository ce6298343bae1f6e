"""Whether a node traces: by its config and by OpenTelemetry's variables, and what is said where it cannot."""

import logging
import sys

import pytest

from pelagos_core.config.node_file import TraceSettings
from pelagos_core.tracing import setup, spans

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in (*ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    yield
    spans.install(None)


@pytest.mark.parametrize(
    ("settings", "environment", "wanted"),
    [
        (None, {}, False),
        (TraceSettings(), {}, True),
        (None, ENDPOINT, True),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, True),
        (None, {"OTEL_SERVICE_NAME": "x"}, False),
        (TraceSettings(), {"OTEL_SDK_DISABLED": " TRUE"}, False),
        (None, {**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_traces_are_enabled_by_the_config_or_the_environment(settings, environment, wanted):
    assert setup.is_wanted(settings, environment) is wanted


def test_not_asked_for_is_no_tracer():
    assert setup.start(None, "ns") is None
    assert spans.span("a") is spans.span("b")


def test_asked_for_is_one(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert setup.start(None, "ns") is not None
    assert spans.span("a") is not spans.span("b")


def test_a_protocol_that_is_not_spoken_is_reported(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert setup.start(TraceSettings(), "ns") is None
    assert "protocol 'grpc' is not supported" in caplog.text
    assert setup.start(TraceSettings("http://127.0.0.1:9"), "ns") is not None


@pytest.mark.parametrize(("name", "share"), [("sometimes", ""), ("traceidratio", "x"), ("traceidratio", "2")])
def test_a_sampler_that_is_none_is_reported(monkeypatch, caplog, name, share):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", share)
    assert setup.start(TraceSettings(), "ns") is None
    assert "OTEL_TRACES_SAMPLER" in caplog.text


@pytest.mark.parametrize(("settings", "level"), [(TraceSettings(), "WARNING"), (None, "DEBUG")])
def test_without_the_packages_it_says_what_to_install(monkeypatch, caplog, settings, level):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delitem(sys.modules, "pelagos_core.tracing.tracer", raising=False)
    monkeypatch.delattr("pelagos_core.tracing.tracer", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with caplog.at_level(logging.DEBUG):
        assert setup.start(settings, "ns") is None
    (record,) = caplog.records
    assert record.levelname == level
    assert "pip install 'pelagos-core[otel]'" in record.message
