"""The options of `pelagos run`, and the container that they describe."""

import os

import click
import pytest

from pelagos_core.cli import run_options

_NONE = dict.fromkeys(run_options.Options._fields)
_NONE |= dict.fromkeys(("env", "env_files", "mounts", "volumes", "directories", "tmpfs", "annotations"), ())
_NONE |= dict.fromkeys(("backend", "user", "hostname", "name", "memory", "cpuset", "fuel", "deadline"), "")
_NONE |= {"workdir": "/", "read_only": False, "detach": False, "removed": False}


@pytest.fixture
def described(tmp_path):
    def describe(**chosen):
        (tmp_path / "bin").mkdir(exist_ok=True)
        return run_options.container(run_options.Options(**{**_NONE, **chosen}), str(tmp_path), ("/app.wasm",)).config()

    return describe


def test_what_is_not_asked_for_is_dockers_default(described):
    config = described()
    assert config["process"]["user"] == {"uid": 0, "gid": 0}
    assert config["root"] == {"path": "rootfs", "readonly": False}
    assert "hostname" not in config
    assert config["annotations"] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there is one user in a container")
@pytest.mark.parametrize(
    ("word", "user"), [("7", (7, 0)), ("7:8", (7, 8)), ("0", (0, 0)), (str(2**32 - 2), (2**32 - 2, 0))]
)
def test_a_user_is_given_by_numbers(described, word, user):
    assert described(user=word)["process"]["user"] == {"uid": user[0], "gid": user[1]}


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("user", "root"),
        ("user", "1:"),
        ("user", ":1"),
        ("user", "-1"),
        ("user", "4294967295"),
        ("user", "\u0661"),
        ("hostname", "a_b"),
        ("hostname", "-a"),
        ("hostname", "a" * 65),
        ("hostname", "a\n"),
    ],
)
def test_what_is_none_is_a_mistake_in_that_option(described, option, word):
    with pytest.raises(click.BadParameter) as raised:
        described(**{option: word})
    assert raised.value.param_hint == f"--{option}"


@pytest.mark.parametrize("name", ["", "web", "a.b-c_d", "0"])
def test_a_name_is_dockers(name):
    assert run_options.record(run_options.Options(**{**_NONE, "name": name}), ("x.wasm",)).name == name


@pytest.mark.parametrize("name", ["-web", "a/b", "../x", "a b", "x" * 129, "a\n"])
def test_what_could_be_a_path_or_an_option_is_no_name(name):
    with pytest.raises(click.BadParameter, match="is not a name"):
        run_options.record(run_options.Options(**{**_NONE, "name": name}), ("x.wasm",))


def test_words_of_a_policy_are_annotations(described):
    asked = described(backend="echo", fuel="100", deadline="1m", annotations=("a=b",))["annotations"]
    prefix = "io.pelagos.wasm."
    assert asked == {"a": "b", f"{prefix}runtime": "echo", f"{prefix}fuel": "100", f"{prefix}deadline": "1m"}


def test_hostname_and_a_root_that_cannot_be_written(described):
    config = described(hostname="web.example", read_only=True)
    assert (config["hostname"], config["root"]["readonly"]) == ("web.example", True)


def test_variables_of_files_come_first(described, tmp_path):
    (tmp_path / "env").write_text("# comment\n\nA=1\n B=2 3 \nC\n")
    assert described(env_files=(str(tmp_path / "env"),), env=("A=9",))["process"]["env"] == ("A=1", "B=2 3 ", "A=9")
