"""Platforms by docker's words."""

import os

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.images.node_platform import Platform


def test_platforms_are_docker_s_words(monkeypatch):
    assert Platform.parse("linux/amd64") == ("linux", "amd64", "")
    assert Platform.parse("linux/arm/v7").fields() == {"os": "linux", "architecture": "arm", "variant": "v7"}
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "6", "1", "aarch64")))
    assert Platform.of_this_machine() == ("linux", "arm64", "")


@pytest.mark.parametrize("word", ["", "linux", "linux/x86_64", "windows/amd64", "linux/amd64/v1/x"])
def test_a_platform_that_is_none_is_named(word):
    with pytest.raises(InvalidArgument, match="linux/amd64 or linux/arm64"):
        Platform.parse(word)


@pytest.mark.parametrize("word", ["wasi/wasm", "wasip1/wasm", "wasm/wasip2"])
def test_a_platform_of_wasm_is_refused_with_the_reason(word):
    with pytest.raises(InvalidArgument, match="no match"):
        Platform.parse(word)
