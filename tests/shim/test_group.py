"""Which containers share a daemon."""

import json
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos_core.shim.group import ANNOTATIONS, MAX_CONFIG_BYTES, group_in, group_of

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


def test_a_config_that_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert group_in(str(tmp_path), "c1") == "c1"


def test_a_bundle_may_be_named_from_another_directory(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/config.json").write_text(json.dumps({"annotations": {POD: "pod"}}))
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert group_in("b", "c1", fd) == "pod"
        assert group_in(".", "c1", fd) == "c1"
        assert group_in(str(tmp_path / "b"), "c1", fd) == "pod"
    finally:
        os.close(fd)


def test_a_huge_config_is_not_read():
    assert group_of(b'{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}' + b" " * MAX_CONFIG_BYTES, "c1") == "c1"


# What containerd 2 writes for a container of a pod, cut down to one of each kind.
OF_A_POD = {
    "ociVersion": "1.2.0",
    "process": {
        "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
        "args": ["/app.wasm", "--json", '{"a":"\\\\"}'],
        "env": ["PATH=/bin", 'LAST={"annotations":{"io.kubernetes.cri.sandbox-id":"other"}}', "HTML=<&>"],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_CHOWN"]},
    },
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
    "annotations": {
        "io.kubernetes.cri.container-name": "app",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": "0" * 64,
        "io.kubernetes.cri.sandbox-name": "pod",
        "io.pelagos.wasm.env": 'a "b" \\ \n',
    },
    "linux": {"cgroupsPath": "/k/x", "seccomp": {"syscalls": [{"names": ["read", "write"]}] * 20}, "maskedPaths": []},
}


def as_go_writes(value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def imports_json(tmp_path, config):
    (tmp_path / "config.json").write_bytes(config)
    code = "from pelagos_core.shim.group import group_in; print(group_in(sys.argv[1], 'c'), 'json' in sys.modules)"
    words = [sys.executable, "-S", "-c", f"import sys; sys.path.append('.'); {code}", str(tmp_path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def test_json_is_imported_for_nothing_that_containerd_writes(tmp_path):
    assert imports_json(tmp_path, as_go_writes({**OF_A_POD, "annotations": {}})) == ["c", "False"]
    assert imports_json(tmp_path, as_go_writes(OF_A_POD)) == ["0" * 64, "False"]
    assert imports_json(tmp_path, json.dumps(OF_A_POD, indent=1).encode()) == ["0" * 64, "False"]


def test_what_is_spelt_otherwise_is_left_to_json(tmp_path):
    spelt = as_go_writes(OF_A_POD).replace(b"sandbox-id", b"sandbox\\u002did")
    assert imports_json(tmp_path, spelt) == ["0" * 64, "True"]


def by_json(config):
    try:
        annotations = json.loads(config)["annotations"]
        values = [annotations.get(name) for name in ANNOTATIONS]
    except (ValueError, TypeError, KeyError, AttributeError):
        return "c1"
    return next((value for value in values if value and isinstance(value, str)), "c1")


HOSTILE = [
    "annotations",
    POD,
    GROUP,
    "pod",
    '"',
    "\\",
    '\\"',
    f'"annotations":{{"{POD}":"evil"}}',
    "}",
    "<",
    "\n",
    "é",
    "",
]
NAMES = [POD, POD, GROUP, "other"]


def spelt(rng, words=HOSTILE):
    """A string as JSON: as Go spells it, or in other ways that mean the same."""
    text = "".join(rng.choices(words, k=rng.choice([1, 1, 1, 2, 3])) if words is HOSTILE else [rng.choice(words)])
    if rng.random() < 0.05:
        return '"' + "".join(f"\\u{ord(c):04x}" for c in text) + '"'
    return as_go_writes(text).decode() if rng.random() < 0.8 else json.dumps(text)


def an_object(rng, value, words=HOSTILE):
    """An object, in which a key may come twice."""
    pairs = [(spelt(rng, words), value(rng)) for _ in range(rng.choice([0, 1, 1, 2, 2, 3]))]
    space = rng.choice(["", "", "", " ", "\n\t"])
    return "{" + space + f",{space}".join(f"{key}{space}:{space}{value}" for key, value in pairs) + space + "}"


def a_value(rng):
    kind = rng.randrange(10)
    if kind < 2:
        return an_object(rng, a_value)
    if kind < 4:
        return "[" + ", ".join(a_value(rng) for _ in range(rng.randrange(3))) + "]"
    return rng.choice(["7", "null", "true", "-1.5e3", "[]", "{}"]) if kind < 5 else spelt(rng)


def a_config(rng):
    def of_the_outermost(rng):
        return an_object(rng, spelt, NAMES) if rng.random() < 0.7 else a_value(rng)

    return an_object(rng, of_the_outermost, ["annotations", "annotations", "process"])


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=True))
def test_whatever_its_users_write_the_group_is_what_a_parser_finds(rng):
    for config in (make(rng).encode() for make in [a_config] * 20 + [a_value] * 2):
        assert group_of(config, "c1") == by_json(config), config


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_other_encodings_of_json_mean_the_same(encoding):
    assert group_of(json.dumps(OF_A_POD).encode(encoding), "c1") == "0" * 64


@given(st.integers(min_value=0, max_value=len(as_go_writes(OF_A_POD)) - 1))
def test_a_file_that_is_cut_off_names_no_group(length):
    assert group_of(as_go_writes(OF_A_POD)[:length], "c1") == "c1"


def test_many_words_that_look_like_the_key_take_no_time():
    config = as_go_writes({"process": {"args": ["annotations"] * 50_000}, "annotations": {POD: "pod"}})
    before = time.process_time()
    assert group_of(config, "c1") == "pod"
    assert time.process_time() - before < 2
