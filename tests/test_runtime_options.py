"""What Create's options may hold: ours, runc's, a stranger's, noise."""

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core import runtime_options
from pelagos_core.api.runtimeoptions_pb2 import Options
from pelagos_core.config import Config
from pelagos_core.errors import InvalidArgument, NotFound


def options(kind="runtimeoptions.v1.Options", **fields):
    return Any(type_url=kind, value=Options(**fields).SerializeToString())


@pytest.mark.parametrize("prefix", ["", "types.containerd.io/", "type.googleapis.com/"])
def test_a_body_is_toml(prefix):
    found = runtime_options.parse(options(f"{prefix}runtimeoptions.v1.Options", config_body=b'runtime = "a"'))
    assert found == Config(runtime="a")


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
        (options(config_body=b"x = 1"), "runtime options: unknown key 'x'"),
        (options(config_body=b"="), "runtime options: not TOML"),
        (options(config_path="etc/x"), "'etc/x' is not absolute"),
        (options(config_body=b"[backends.a]"), "belong in the node's config"),
        (options(config_body=b"[cache]\nsize = '1g'"), "belong in the node's config"),
        (options(config_body=b"zygote_idle_seconds = 1"), "belongs in the node's config"),
        (options(config_body=b'seccomp = "off"'), "belongs in the node's config"),
        (Any(type_url="runtimeoptions.v1.Options", value=b"\xff"), "not a runtimeoptions"),
    ],
)
def test_faulty_options_are_refused(given, message):
    with pytest.raises(InvalidArgument, match=message):
        runtime_options.parse(given)
