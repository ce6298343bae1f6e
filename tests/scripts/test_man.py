"""Manual pages."""

import pytest

from scripts import man


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # click-man uses what click is about to give up
def test_every_command_has_a_page_with_its_options_and_examples(tmp_path):
    pages = {path.stem: path.read_text() for path in man.write(tmp_path)}
    assert {"pelagos", "pelagos-run", "pelagos-cache-warm", "pelagos-exec"} <= pages.keys()
    text = pages["pelagos-run"]
    assert "\\-\\-env\\-file" in text or "--env-file" in text
    # Examples are lines of their own.
    assert any(line.endswith("pelagos run hello.wasm") for line in text.splitlines())
