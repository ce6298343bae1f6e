"""The runtime's entry in the config of each containerd that there is: the real programs say what comes of it."""

import os
import random

import pytest

from pelagos_core.cli import containerd_config, containerd_entry, replacement
from pelagos_core.cli.containerd import Containerd
from pelagos_core.errors import AlreadyExists, FailedPrecondition, PermissionDenied
from tests.support import provision

OLD, NEW = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"
RELEASES = provision.RELEASES
OF_2 = ("sid", provision.BUILT)

pytestmark = pytest.mark.containerd

# As kubeadm's guide has it, with a comment, another runtime, and no end of the last line.
KUBEADM = f"""\
version = 2   # of the config
[plugins."{OLD}"]
  sandbox_image = "registry.example/pause:3.9"
[plugins."{OLD}".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."{OLD}".containerd.runtimes.runc.options]
  SystemdCgroup = true # kubelet's"""


def program(release):
    return str(provision.containerd_directory(release) / "usr/bin/containerd")


def node(release, directory, text=None, name="config.toml"):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    if text is not None:
        path.write_text(text)
    return Containerd(program(release), str(path))


def add(containerd):
    change = containerd_entry.to_add(containerd)
    if change.needed:
        replacement.apply(change)
    return change


def remove(containerd):
    for change in containerd_entry.to_remove(containerd):
        replacement.apply(change)


def tree(directory):
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*"))}


def table(containerd):
    return containerd_config.dump(containerd.program, containerd.config).table


@pytest.mark.parametrize("text", [KUBEADM, KUBEADM + "\n\n", "version = 2\n", "", None], ids=range(5))
@pytest.mark.parametrize("release", RELEASES)
def test_the_entry_registers_the_runtime_changes_nothing_else_and_is_taken_back(tmp_path, release, text):
    containerd = node(release, tmp_path / "etc", text)
    before = tree(tmp_path)
    add(containerd)
    assert containerd_config.registration(containerd).handlers == ("pelagos",)
    if text and text.startswith(KUBEADM):
        assert "pause:3.9" in str(table(containerd))
        assert "SystemdCgroup': True" in str(table(containerd))
    assert not add(containerd).needed  # once more
    remove(containerd)
    assert tree(tmp_path) == before
    assert containerd_entry.to_remove(containerd) == []


@pytest.mark.parametrize("release", RELEASES)
def test_what_others_write_around_it_stays(tmp_path, release):
    containerd = node(release, tmp_path, KUBEADM)
    path = tmp_path / "config.toml"
    add(containerd)
    path.write_text(f"# first\n{path.read_text().replace('pause:3.9', 'pause:3.10')}[debug]\n  level = 'debug'\n")
    assert not add(containerd).needed
    remove(containerd)
    assert path.read_text() == f"# first\n{KUBEADM.replace('pause:3.9', 'pause:3.10')}[debug]\n  level = 'debug'\n" or (
        path.read_text() == f"# first\n{KUBEADM.replace('pause:3.9', 'pause:3.10')}\n[debug]\n  level = 'debug'\n"
    )
    assert not containerd_config.registration(containerd).broken


def test_an_entry_of_an_earlier_version_is_replaced_where_it_stands(tmp_path):
    containerd = node("trixie", tmp_path, "version = 2\n")
    path = tmp_path / "config.toml"
    add(containerd)
    path.write_text(path.read_text().replace('  pod_annotations = ["io.pelagos.wasm.*"]\n', "") + "[debug]\n")
    assert add(containerd).needed
    assert path.read_text().endswith("# pelagos: end\n[debug]\n")
    remove(containerd)
    assert path.read_text() == "version = 2\n[debug]\n"


@pytest.mark.parametrize("release", RELEASES)
def test_a_directory_that_is_imported_is_used_where_containerd_merges_it(tmp_path, release):
    """containerd 1.6 and 1.7 replace a whole section by an imported one: then the entry goes into the file."""
    text = f"imports = ['{tmp_path}/etc/conf.d/*.toml']\n{KUBEADM}\n"
    containerd = node(release, tmp_path / "etc", text)
    (tmp_path / "etc/conf.d").mkdir()
    (tmp_path / "etc/conf.d/other.toml").write_text("version = 2\n[debug]\n  level = 'debug'\n")
    before = tree(tmp_path)
    add(containerd)
    drop_in = tmp_path / "etc/conf.d/pelagos.toml"
    assert drop_in.exists() == (release in OF_2)
    assert ((tmp_path / "etc/config.toml").read_text() == text) == drop_in.exists()
    found = str(table(containerd))
    assert "pause:3.9" in found
    assert "SystemdCgroup': True" in found
    assert containerd_config.registration(containerd).handlers == ("pelagos",)
    assert not add(containerd).needed
    remove(containerd)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("imports", ["'conf.d/*.toml'", '"conf.d/*.toml"', "'{0}/etc/conf.d/*.toml'"])
def test_the_directory_is_made_and_removed_with_the_entry(tmp_path, imports):
    containerd = node("sid", tmp_path / "etc", f"version = 3\nimports = [{imports.format(tmp_path)}]\n")
    before = tree(tmp_path)
    add(containerd)
    assert (tmp_path / "etc/conf.d/pelagos.toml").exists()
    assert containerd_config.registration(containerd).handlers == ("pelagos",)
    remove(containerd)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("release", RELEASES)
def test_a_file_of_version_1(tmp_path, release):
    text = '[plugins.cri]\n  sandbox_image = "registry.example/pause:3.9"\n'
    containerd = node(release, tmp_path, text)
    if release == "sid":  # 2.1 converts a part of such a file only
        with pytest.raises(FailedPrecondition, match="has no line `version`: `containerd config migrate`"):
            containerd_entry.to_add(containerd)
    else:
        add(containerd)
        assert containerd_config.registration(containerd).handlers == ("pelagos",)
        assert "pause:3.9" in str(table(containerd))
        remove(containerd)
    assert (tmp_path / "config.toml").read_text() == text


@pytest.mark.parametrize(("release", "version"), [("sid", 3), (provision.BUILT, 3), (provision.BUILT, 4)])
def test_a_file_of_version_3_or_4(tmp_path, release, version):
    containerd = node(release, tmp_path, f"version = {version}\n")
    add(containerd)
    assert containerd_config.registration(containerd).handlers == ("pelagos",)


RANCHER = "var/lib/rancher/k3s/agent/etc/containerd"


@pytest.mark.parametrize(("release", "template"), [("trixie", "config.toml.tmpl"), ("sid", "config-v3.toml.tmpl")])
@pytest.mark.parametrize("there", [None, '{{ template "base" . }}\n# mine\n[debug]\n  level = "info"'])
def test_k3s_and_rke2_have_a_template(tmp_path, release, template, there):
    version, name = (2, OLD) if release == "trixie" else (3, NEW)
    generated = (
        f'version = {version}\n[plugins."{name}".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n'
    )
    containerd = node(release, tmp_path / RANCHER, generated)
    path = tmp_path / RANCHER / template
    if there:
        path.write_text(there)
    before = tree(tmp_path)
    assert containerd.of_rancher
    add(containerd)
    assert (tmp_path / RANCHER / "config.toml").read_text() == generated
    text = path.read_text()
    assert text.count('{{ template "base" . }}') == 1
    # What k3s does at its next start.
    (tmp_path / RANCHER / "config.toml").write_text(text.replace('{{ template "base" . }}', generated))
    assert containerd_config.registration(containerd).handlers == ("pelagos",)
    assert not add(containerd).needed
    remove(containerd)
    (tmp_path / RANCHER / "config.toml").write_text(generated)
    assert tree(tmp_path) == before


def test_a_newer_k3s_imports_a_directory(tmp_path):
    place = tmp_path / RANCHER
    containerd = node("sid", place, f"version = 3\nimports = ['{place}/config-v3.toml.d/*.toml']\n")
    before = tree(tmp_path)
    add(containerd)
    assert sorted(os.listdir(place)) == ["config-v3.toml.d", "config.toml"]
    assert containerd_config.registration(containerd).handlers == ("pelagos",)
    remove(containerd)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("release", RELEASES)
def test_lines_that_were_written_by_hand_suffice(tmp_path, release):
    text = (
        f'version = 2\n[plugins."{OLD}".containerd.runtimes.wasm]\n  runtime_type = "io.containerd.pelagos.wasm.v1"\n'
    )
    containerd = node(release, tmp_path, text)
    assert containerd_entry.to_add(containerd) is None
    remove(containerd)
    assert (tmp_path / "config.toml").read_text() == text


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 2\nnonsense\n", "containerd refuses its config"),
        ('disabled_plugins = ["cri"]\n', "out of disabled_plugins"),
        (f'version = 2\ndisabled_plugins = ["{OLD}"]\n', f"take '{OLD}' out of disabled_plugins"),
        ("version = 2\n[plugins]\n'io.containerd.grpc.v1.cri' = {containerd = {runtimes = {}}}\n", "would not know"),
    ],
)
def test_what_cannot_work_is_refused_and_left_as_it_is(tmp_path, release, text, problem):
    containerd = node(release, tmp_path, text)
    with pytest.raises(FailedPrecondition, match=problem):
        containerd_entry.to_add(containerd)
    assert tree(tmp_path) == {str(tmp_path / "config.toml"): text.encode()}


def test_a_link_is_followed_if_only_an_administrator_can_have_made_it(tmp_path):
    containerd = node("trixie", tmp_path / "etc")
    (tmp_path / "managed").mkdir()
    (tmp_path / "managed/real").write_text("version = 2\n")
    (tmp_path / "etc/config.toml").symlink_to(tmp_path / "managed/real")
    add(containerd)
    assert (tmp_path / "etc/config.toml").is_symlink()
    assert containerd_config.registration(containerd).handlers == ("pelagos",)
    remove(containerd)
    (tmp_path / "etc").chmod(0o777)
    with pytest.raises(PermissionDenied, match="can be written to by every user"):
        containerd_entry.to_add(containerd)
    assert (tmp_path / "managed/real").read_text() == "version = 2\n"


def test_a_drop_in_that_is_a_link_is_not_written_through(tmp_path):
    containerd = node("sid", tmp_path / "etc", f"version = 3\nimports = ['{tmp_path}/etc/conf.d/*.toml']\n")
    (tmp_path / "etc/conf.d").mkdir(mode=0o777)
    (tmp_path / "etc/conf.d").chmod(0o777)
    (tmp_path / "secret").write_text("x = 1\n")
    (tmp_path / "etc/conf.d/pelagos.toml").symlink_to(tmp_path / "secret")
    with pytest.raises((PermissionDenied, AlreadyExists)):
        containerd_entry.to_add(containerd)
    assert (tmp_path / "secret").read_text() == "x = 1\n"


def test_bytes_that_are_no_utf8_in_a_comment_stay(tmp_path):
    content = b"version = 2 \n# caf\xe9\n"
    containerd = node("trixie", tmp_path)
    (tmp_path / "config.toml").write_bytes(content)
    try:
        add(containerd)
    except FailedPrecondition as error:
        assert "refuses its config" in str(error)
    remove(containerd)
    assert (tmp_path / "config.toml").read_bytes() == content


def test_random_texts_come_back_as_they_were():
    generator = random.Random(7)
    words = ["a", "\n", "\n\n", "# x\n", " ", "\r\n", "[t]\n", containerd_entry._MADE + "\n"]
    for _ in range(2000):
        text = "".join(generator.choice(words) for _ in range(generator.randrange(8)))
        block = containerd_entry._block(generator.choice([1, 2, 3, 4]), {})
        assert containerd_entry._without(containerd_entry._with(text, block)) == text
