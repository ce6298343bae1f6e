"""What the backends of this repository claim of WebAssembly's proposals, a container gets."""

import json
import subprocess

import pytest

from pelagos_core.plugin.claims import FEATURES
from tests.support import forms, proposals

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.mark.parametrize("name", forms.ALL)
def test_a_backend_claims_the_proposals_that_its_containers_have(name, tmp_path):
    form = forms.FORMS[name]()
    (tmp_path / "config.toml").write_text(form.config)
    words = [form.python, "-m", "pelagos_core", "backends", "--json"]
    environment = {"PELAGOS_CONFIG": str(tmp_path / "config.toml"), "PATH": "/usr/bin:/bin"}
    said = json.loads(subprocess.run(words, env=environment, capture_output=True, check=True).stdout)
    claimed = next(set(each["features"]) for each in said["backends"] if each["name"] == form.backend)
    assert claimed <= FEATURES.keys()
    has = set()
    for proposal in proposals.TEXTS:
        path = tmp_path / f"{proposal}.wasm"
        path.write_bytes(proposals.module(proposal))
        if form.run(tmp_path, str(path)).returncode == 0:
            has.add(proposal)
    assert claimed & proposals.TEXTS.keys() <= has
