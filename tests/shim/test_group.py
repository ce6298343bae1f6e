"""Which containers share a daemon."""

import json
import subprocess
import sys

import pytest

from pelagos_core.shim.group import MAX_CONFIG_BYTES, group_in, group_of

POD = "io.kubernetes.cri.sandbox-id"
GROUP = "io.containerd.runc.v2.group"


@pytest.mark.parametrize(
    ("annotations", "group"),
    [
        ({}, "c1"),
        ({POD: "pod"}, "pod"),
        ({POD: "pod", GROUP: "group"}, "group"),
        ({GROUP: "", POD: "pod"}, "pod"),
        ({POD: 7}, "c1"),
        (None, "c1"),
        ([POD], "c1"),
    ],
)
def test_an_annotation_names_the_group(annotations, group):
    assert group_of(json.dumps({"annotations": annotations, "process": {"args": [POD]}}).encode(), "c1") == group


@pytest.mark.parametrize("config", [b"", POD.encode(), b"[" * 100_000 + POD.encode(), b'"' + POD.encode() + b'"'])
def test_a_malformed_config_is_the_containers_own_trouble(config):
    assert group_of(config, "c1") == "c1"


def test_a_bundle_is_read_if_it_can_be(tmp_path):
    assert group_in(str(tmp_path), "c1") == "c1"
    (tmp_path / "config.json").write_text(json.dumps({"annotations": {POD: "pod"}}))
    assert group_in(str(tmp_path), "c1") == "pod"
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    assert group_in(str(tmp_path), "c1") == "c1"


def test_a_huge_config_is_not_read():
    assert group_of(b'{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}' + b" " * MAX_CONFIG_BYTES, "c1") == "c1"


def test_json_is_imported_for_a_pod_only():
    code = "from pelagos_core.shim.group import group_of; group_of(b'{}', 'c'); sys.exit('json' in sys.modules)"
    words = [sys.executable, "-S", "-c", f"import sys; sys.path.append('.'); {code}"]
    assert subprocess.run(words).returncode == 0
