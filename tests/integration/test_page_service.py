"""The service of the documents, written in Rust, built, run and ended as the pages say."""

import os
import shutil
import subprocess
import sys

import pytest

from scripts import engines
from tests.support import page_session, pages, services

TUTORIAL, PAGE = "docs/tutorial/service.md", "docs/serving.md"


def test_both_pages_have_the_same_service():
    (first,), (second,) = (pages.given_to(__file__, page, languages=("rust",)) for page in (TUTORIAL, PAGE))
    assert first.text == second.text


@pytest.mark.root
@pytest.mark.container
@pytest.mark.engines
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("rustup"), reason="needs Rust: https://rustup.rs")
def test_the_service_is_built_served_and_ended(tmp_path):
    subprocess.run(["rustup", "target", "add", "wasm32-wasip2"], check=True, capture_output=True)
    # What the session takes from the registry, which it cannot reach.
    words = ["cargo", "fetch", "--quiet", "--locked", "--manifest-path", services.SOURCES / "rust/Cargo.toml"]
    subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "config.toml").write_text(engines.config())
    (tmp_path / "pelagos").write_text(f'#!/bin/sh\nexec {sys.executable} -m pelagos_core "$@"\n')
    (tmp_path / "pelagos").chmod(0o755)
    (tmp_path / ".curlrc").write_text("silent\n")  # as on a terminal, where it shows no progress of a short answer
    environment = {
        "CURL_HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CARGO_NET_OFFLINE": "true",
        "PELAGOS_CONFIG": str(tmp_path / "config.toml"),
    }
    files = {"toml": ">>Cargo.toml", "rust": ">src/lib.rs"}
    sessions = [*pages.given_to(__file__, TUTORIAL), *pages.given_to(__file__, PAGE, languages=("bash",))]
    page_session.run(sessions, tmp_path, environment, files=files, seconds=200)
