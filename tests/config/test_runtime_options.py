"""What Create's options may hold: ours, runc's, a stranger's, noise."""

from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core.api import runc_options_pb2
from pelagos_core.api.runtimeoptions_pb2 import Options
from pelagos_core.config import runtime_options
from pelagos_core.config.node_file import Config
from pelagos_core.errors import InvalidArgument, NotFound

FIELDS = runc_options_pb2.Options.DESCRIPTOR.fields


def options(kind="runtimeoptions.v1.Options", **fields):
    return Any(type_url=kind, value=Options(**fields).SerializeToString())


@pytest.mark.parametrize("prefix", ["", "types.containerd.io/", "type.googleapis.com/"])
def test_a_body_is_toml(prefix):
    found = runtime_options.parse(options(f"{prefix}runtimeoptions.v1.Options", config_body=b'runtime = "a"'))
    assert found == Config(runtime="a")


@pytest.fixture(autouse=True)
def _nothing_is_told(monkeypatch):
    monkeypatch.setattr(runtime_options, "_warned", set())


def runc(**fields):
    return Any(type_url="containerd.runc.v1.Options", value=runc_options_pb2.Options(**fields).SerializeToString())


def test_every_option_of_runc_is_done_or_named_once_in_the_log(caplog):
    every = {field.name: 1 if field.type == field.TYPE_UINT32 else field.name for field in FIELDS}
    every |= {field.name: True for field in FIELDS if field.type == field.TYPE_BOOL} | {"shim_cgroup": "/shims"}
    names = {"".join(word.capitalize() for word in field.name.split("_")) for field in FIELDS}
    table = "".join(f"{name} = {'true' if name[:2] == 'No' else repr('/shims')}\n" for name in sorted(names))
    for _ in range(2):
        assert runtime_options.parse(runc(**every)) == Config(shim_cgroup="/shims")
        assert runtime_options.parse(options(config_body=table.encode())) == Config(shim_cgroup="/shims")
    named = sorted(record.getMessage().split(" ")[2] for record in caplog.records)
    assert named == sorted(names - {"ShimCgroup", "SystemdCgroup", "IoUid", "IoGid"})


def test_options_that_are_not_set_are_not_named(caplog):
    assert runtime_options.parse(runc()) == Config()
    assert runtime_options.parse(options(config_body=b'NoPivotRoot = false\nBinaryName = ""')) == Config()
    assert not caplog.records


def test_the_documentation_has_every_option_of_runc():
    text = (Path(__file__).parents[2] / "docs/task-api.md").read_text()
    for field in FIELDS:
        assert f"`{''.join(word.capitalize() for word in field.name.split('_'))}`" in text


def test_the_keys_of_cri_and_runc_are_passed_over():
    body = b'TypeUrl = "x"\nSystemdCgroup = true\nBinaryName = "runc"\norder = ["a"]\n'
    assert runtime_options.parse(options(config_body=body)) == Config(order=("a",))


def test_a_config_path_is_read(tmp_path):
    (tmp_path / "options.toml").write_text('runtime = "b"')
    assert runtime_options.parse(options(config_path=str(tmp_path / "options.toml"))) == Config(runtime="b")
    with pytest.raises(NotFound, match=r"^runtime options: config '/.*/none' does not exist"):
        runtime_options.parse(options(config_path=str(tmp_path / "none")))


@pytest.mark.parametrize(
    "given",
    [Any(), options(), Any(type_url="containerd.runc.v1.Options", value=b"\x08\x01"), Any(type_url="x", value=b"\xff")],
)
def test_no_options_and_other_runtimes_options_mean_nothing(given):
    assert runtime_options.parse(given) == Config()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (options(config_body=b"ShimCgroup = 1"), "ShimCgroup: not a string"),
        (options(config_body=b"ShimCgroup = 'x'"), "ShimCgroup: 'x' is not an absolute path"),
        (options(config_body=b"ShimCgroup = '/a/../b'"), "ShimCgroup: '/a/../b' is not an absolute path"),
        (Any(type_url="containerd.runc.v1.Options", value=b"\xff"), "not a containerd.runc.v1.Options"),
        (options(config_body=b"x = 1"), "runtime options: unknown key 'x'"),
        (options(config_body=b"="), "runtime options: not TOML"),
        (options(config_path="etc/x"), "'etc/x' is not absolute"),
        (options(config_body=b"[backends.a]"), "belong in the node's config"),
        (options(config_body=b"[cache]\nsize = '1g'"), "belong in the node's config"),
        (options(config_body=b"zygote_idle_seconds = 1"), "belongs in the node's config"),
        (options(config_body=b'seccomp = "off"'), "belongs in the node's config"),
        (options(config_body=b"host_network = true"), "host_network belongs in the node's config"),
        (Any(type_url="runtimeoptions.v1.Options", value=b"\xff"), "not a runtimeoptions"),
    ],
)
def test_faulty_options_are_refused(given, message):
    with pytest.raises(InvalidArgument, match=message):
        runtime_options.parse(given)
