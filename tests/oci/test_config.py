"""config.json: what is read of it, and what is refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core import oci
from pelagos_core.errors import InvalidArgument, Unimplemented
from pelagos_core.oci import Capabilities, Device, Mount, Namespace, Rlimit, User

WHOLE = {
    "ociVersion": "1.1.0",
    "process": {
        "args": ["/app.wasm", "x"],
        "env": ["A=1", "B="],
        "cwd": "/work",
        "terminal": True,
        "user": {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 63},
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "noNewPrivileges": True,
        "oomScoreAdj": -998,
        "apparmorProfile": "p",
        "selinuxLabel": "l",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
    },
    "root": {"path": "/images/x", "readonly": True},
    "hostname": "box",
    "mounts": [{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}],
    "annotations": {"a": "b"},
    "domainname": "example",
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/1/ns/net"}],
        "cgroupsPath": "/a/b",
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "personality": {"domain": "LINUX32"},
        "mountLabel": "m",
    },
}


def parse(config):
    return oci.parse(json.dumps(config).encode())


def test_a_whole_spec_is_read():
    read = parse(WHOLE)
    assert read.process.args == ("/app.wasm", "x")
    assert read.process.env == ("A=1", "B=")
    assert (read.process.cwd, read.process.terminal) == ("/work", True)
    assert read.process.user == User(1, 2, (3, 4), 63)
    assert read.process.capabilities == Capabilities(
        bounding=frozenset({"CAP_KILL"}), permitted=frozenset({"CAP_KILL"})
    )
    assert (read.root.path, read.root.readonly, read.hostname) == ("/images/x", True, "box")
    assert read.mounts == (Mount("/tmp", "tmpfs", "tmpfs", ("ro",)),)
    assert read.annotations == {"a": "b"}
    assert read.namespace("network") == Namespace("network", "/proc/1/ns/net")
    assert read.namespace("ipc") is None
    assert read.cgroups_path == "/a/b"
    assert (read.process.no_new_privileges, read.process.oom_score_adj) == (True, -998)
    assert (read.process.apparmor_profile, read.process.selinux_label, read.mount_label) == ("p", "l", "m")
    assert read.process.rlimits == (Rlimit("RLIMIT_NOFILE", 1, 2),)
    assert read.devices == (Device("/dev/x", "c", 1, 3),)
    assert (read.masked_paths, read.readonly_paths) == (("/proc/kcore",), ("/proc/sys",))
    assert (read.domainname, read.sysctl, read.personality) == ("example", {"net.ipv4.ip_forward": "1"}, "LINUX32")


def test_what_is_left_out_has_a_default():
    read = parse({"process": {"args": ["x"]}})
    assert (read.process.cwd, read.root.path, read.mounts, read.annotations) == ("/", "rootfs", (), {})
    assert read.process.user == User()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"process": None}, "config.json: process: missing"),
        ({"process": "x"}, "config.json: process: not an object"),
        ({"process": {"args": []}}, "config.json: process.args: empty"),
        ({"process": {"args": [""]}}, "config.json: process.args: empty"),
        ({"process": {"args": "x"}}, "config.json: process.args: not a list"),
        ({"process": {"args": ["x", 1]}}, "config.json: process.args[1]: not a string"),
        ({"process": {"args": ["a\0b"]}}, "config.json: process.args[0]: holds a NUL byte"),
        ({"process": {"args": ["\ud800"]}}, "config.json: process.args[0]: holds a lone surrogate"),
        ({"process": {"args": ["x"], "env": ["A"]}}, "config.json: process.env: 'A' is not NAME=VALUE"),
        ({"process": {"args": ["x"], "env": ["=A"]}}, "config.json: process.env: '=A' is not NAME=VALUE"),
        ({"process": {"args": ["x"], "cwd": "a"}}, "config.json: process.cwd: 'a' is not absolute"),
        ({"process": {"args": ["x"], "user": {"uid": -1}}}, "config.json: process.user.uid: -1 is not between"),
        ({"process": {"args": ["x"], "user": {"uid": 2**32 - 1}}}, "config.json: process.user.uid: 4294967295 is not"),
        ({"process": {"args": ["x"], "user": {"uid": True}}}, "config.json: process.user.uid: not an integer"),
        ({"process": {"args": ["x"], "terminal": 1}}, "config.json: process.terminal: not true or false"),
        ({"root": {"path": "a/../b"}}, "config.json: root.path: 'a/../b' contains"),
        ({"mounts": [{"destination": "tmp"}]}, "config.json: mounts[0].destination: 'tmp' is not absolute"),
        ({"annotations": {"a": 1}}, "config.json: annotations['a']: not a string"),
        ({"linux": {"namespaces": [{"type": "moon"}]}}, "config.json: linux.namespaces[0]: unknown namespace type"),
        ({"linux": {"namespaces": [{"type": "pid", "path": "x"}]}}, "config.json: linux.namespaces[0].path: 'x'"),
        ({"linux": {"namespaces": [{"type": "pid"}] * 2}}, "config.json: linux.namespaces: pid is repeated"),
        ({"process": {"args": ["x"], "oomScoreAdj": 1001}}, "config.json: process.oomScoreAdj: 1001 is not between"),
        ({"linux": {"maskedPaths": ["x"]}}, "config.json: linux.maskedPaths[0]: 'x' is not absolute"),
        ({"linux": {"personality": {"domain": "X"}}}, "config.json: linux.personality.domain: 'X' is none of"),
        (
            {"linux": {"personality": {"domain": "LINUX", "flags": ["x"]}}},
            "config.json: linux.personality.flags: flags are not supported",
        ),
        ({"linux": {"cgroupsPath": "/../x"}}, "config.json: linux.cgroupsPath: '/../x' contains"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(change, message):
    with pytest.raises(InvalidArgument) as refused:
        parse({**WHOLE, **change})
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *(({key: {}}, key) for key in ("vm", "windows", "solaris", "zos", "freebsd")),
        *(({"linux": {key: {"x": 1}}}, f"linux.{key}") for key in ("intelRdt", "memoryPolicy", "netDevices")),
    ],
)
def test_what_is_known_and_not_supported_is_refused_by_name(change, name):
    with pytest.raises(Unimplemented, match=rf"config\.json: {name}: not supported"):
        parse({**WHOLE, **change})


def test_what_is_unknown_is_no_error():
    assert parse({**WHOLE, "novelty": 1, "linux": {**WHOLE["linux"], "novelty": 1}}) == parse(WHOLE)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN', b"null x"])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(InvalidArgument, match=r"config\.json: not JSON"):
        oci.parse(data)


def test_a_huge_file_is_refused():
    with pytest.raises(InvalidArgument, match=r"config\.json: 16777217 bytes"):
        oci.parse(b" " * (oci.MAX_CONFIG_BYTES + 1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WHOLE, "x"]), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.sampled_from(sorted(WHOLE)))
def test_any_json_is_a_spec_or_refused(value, field):
    for config in (value, {**WHOLE, field: value}):
        try:
            parse(config)
        except InvalidArgument as error:
            assert str(error).startswith("config.json")
        except Unimplemented as error:
            assert str(error).endswith("not supported")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_spec_or_refused(data):
    try:
        oci.parse(data)
    except InvalidArgument as error:
        assert str(error).startswith("config.json")
