"""What containerd's own config comes to, by each containerd that there is: asked of the real programs."""

import pytest

from pelagos_core.cli.containerd import Containerd
from pelagos_core.cli.containerd_config import registration
from tests.support import provision

OLD, NEW = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
RELEASES = provision.RELEASES

pytestmark = pytest.mark.containerd


def of(release, tmp_path, text):
    path = tmp_path / "config.toml"
    if text is not None:
        path.write_text(text)
    return registration(Containerd(str(provision.containerd_directory(release) / "usr/bin/containerd"), str(path)))


def table(name, kind="io.containerd.pelagos.wasm.v1", version=""):
    line = f"version = {version}\n" if version else ""
    return f'{line}[plugins."{name}".containerd.runtimes.pelagos]\n  runtime_type = "{kind}"\n'


@pytest.mark.parametrize("kind", ["io.containerd.pelagos.wasm.v1", "io.containerd.pelagos-wasm.v1"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_version_2_file_registers_it_for_every_containerd(tmp_path, release, kind):
    found = of(release, tmp_path, table(OLD, kind, "2"))
    assert (found.handlers, found.problem) == (("pelagos",), "")


@pytest.mark.parametrize("release", RELEASES)
def test_an_imported_file_counts(tmp_path, release):
    (tmp_path / "more.toml").write_text(table(OLD, version="2"))
    assert of(release, tmp_path, f'version = 2\nimports = ["{tmp_path}/more.toml"]\n').handlers == ("pelagos",)


def test_version_3_is_containerd_2s_alone(tmp_path):
    assert of("sid", tmp_path, table(NEW, version="3")).handlers == ("pelagos",)
    assert of("trixie", tmp_path, table(NEW, version="3")).broken
    assert of("bookworm", tmp_path, table(NEW, version="3")).handlers == ()


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_without_a_version_is_reported_so(tmp_path, release):
    found = of(release, tmp_path, table(OLD))
    if release == provision.BUILT:  # 2.4 reads such a file as one of version 2
        assert (found.handlers, found.problem) == (("pelagos",), "")
        return
    assert found.handlers == ()
    assert "has no line `version`" in found.problem


def test_the_old_tables_name_in_a_version_3_file_is_reported(tmp_path):
    found = of("sid", tmp_path, table(OLD, version="3"))
    assert found.handlers == ()
    assert "in a table that containerd does not read" in found.problem


@pytest.mark.parametrize("release", RELEASES)
def test_a_wrong_type_and_a_disabled_cri_are_named(tmp_path, release):
    assert "runtime 'pelagos' has runtime_type 'io.containerd.pelagos.v1'" in (
        of(release, tmp_path, table(OLD, "io.containerd.pelagos.v1", "2")).problem
    )
    disabled = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' + table(OLD)
    assert "take 'io.containerd.grpc.v1.cri' out of disabled_plugins" in of(release, tmp_path, disabled).problem


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_that_containerd_refuses_is_reported_in_its_words(tmp_path, release):
    found = of(release, tmp_path, "version = 2\nnonsense\n")
    assert found.broken
    assert "containerd refuses its config: failed to" in found.problem
