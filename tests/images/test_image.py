"""Platforms by docker's words, and what an image says of its containers."""

import platform

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.images.image import Blob, Platform, Settings


def test_platforms_are_docker_s_words(monkeypatch):
    assert Platform.parse("linux/amd64") == ("linux", "amd64", "")
    assert Platform.parse("linux/arm/v7").fields() == {"os": "linux", "architecture": "arm", "variant": "v7"}
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert Platform.of_this_machine() == ("linux", "arm64", "")


@pytest.mark.parametrize("word", ["", "linux", "linux/x86_64", "windows/amd64", "linux/amd64/v1/x"])
def test_a_platform_that_is_none_is_named(word):
    with pytest.raises(InvalidArgument, match="linux/amd64 or linux/arm64"):
        Platform.parse(word)


@pytest.mark.parametrize("word", ["wasi/wasm", "wasip1/wasm", "wasm/wasip2"])
def test_a_platform_of_wasm_is_refused_with_the_reason(word):
    with pytest.raises(InvalidArgument, match="no match"):
        Platform.parse(word)


def test_an_empty_setting_is_left_out_of_a_config():
    assert Settings().config() == {}
    assert Settings(labels={"b": "2", "a": "1"}).config() == {"Labels": {"a": "1", "b": "2"}}
    assert Settings(created=0).time == "1970-01-01T00:00:00Z"


def test_a_measured_blob_is_written_once_to_be_measured_and_not_kept():
    calls = []
    blob = Blob.measured(lambda sink: calls.append(sink(b"abc")))
    assert (blob.size, len(calls), blob.digest) == (3, 1, Blob.of(b"abc").digest)
