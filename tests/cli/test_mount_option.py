"""docker's words for mounts."""

import click
import pytest

from pelagos_core.cli.mount_option import Mount, directory, mount, tmpfs, volume
from pelagos_core.errors import InvalidArgument


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (lambda path: mount(f"type=bind,source={path},target=/x"), ("rbind",)),
        (lambda path: mount(f"src={path},dst=/x,ro"), ("rbind", "ro")),
        (lambda path: mount(f"source={path},destination=/x,readonly=true"), ("rbind", "ro")),
        (lambda path: volume(f"{path}:/x"), ("rbind",)),
        (lambda path: volume(f"{path}:/x:rw"), ("rbind",)),
        (lambda path: volume(f"{path}:/x:ro"), ("rbind", "ro")),
    ],
)
def test_a_directory_is_bound(tmp_path, made, options):
    assert made(tmp_path) == Mount("/x", "bind", str(tmp_path), options)


def test_a_source_may_be_relative_or_a_link(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert volume("./link:/x").source == f"{tmp_path}/real"


def test_a_tmpfs_has_no_source():
    assert mount("type=tmpfs,target=/x,ro") == Mount("/x", "tmpfs", "tmpfs", ("nosuid", "nodev", "ro"))


@pytest.mark.parametrize("word", ["", "target=/x", "type=nfs,source=/,target=/x", "source=/,target=/x,size=1", "src=/"])
def test_what_is_no_mount_is_a_mistake(word):
    with pytest.raises(click.BadParameter, match="is not type=bind"):
        mount(word)


@pytest.mark.parametrize("word", ["", "/", "/:", ":/x", "/:/x:wr"])
def test_what_is_no_volume_is_a_mistake(word):
    with pytest.raises(click.BadParameter, match="is not SOURCE:TARGET"):
        volume(word)


def test_a_target_is_absolute_and_a_source_is_there():
    with pytest.raises(click.BadParameter, match="'x' is not absolute"):
        volume("/:x")
    with pytest.raises(InvalidArgument, match="--volume: source '/proc/none/such' does not exist"):
        volume("/proc/none/such:/x")


def test_a_directory_as_wasmtime_writes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert directory(".") == Mount(str(tmp_path), "bind", str(tmp_path), ("rbind",))
    assert directory(".::/data") == Mount("/data", "bind", str(tmp_path), ("rbind",))
    for word, text in (("::/x", "is not HOST"), (".::x", "'x' is not absolute")):
        with pytest.raises(click.BadParameter, match=text):
            directory(word)
    with pytest.raises(InvalidArgument, match="--dir: source '/proc/none/such' does not exist"):
        directory("/proc/none/such")


def test_a_tmpfs_has_mounts_options():
    assert tmpfs("/run") == Mount("/run", "tmpfs", "tmpfs", ("nosuid", "nodev"))
    assert tmpfs("/run:noexec,size=64k").options == ("nosuid", "nodev", "noexec", "size=64k")
    with pytest.raises(click.BadParameter, match="'run' is not absolute"):
        tmpfs("run")
