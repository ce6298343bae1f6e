"""Fixtures: a real containerd of each release, an image's files, and names of containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import engines
from tests.conftest import leave_out
from tests.support import provision
from tests.support.containerd import Containerd, install
from tests.support.crictl import CRI_CONFIG, GUESTS_IMAGE, PAUSE_IMAGE, UNPACKING, Crictl
from tests.support.images import write_image

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def bin_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the shim's launchers."""
    return install(tmp_path_factory.mktemp("bin"))


@pytest.fixture(
    scope="module",
    params=provision.RELEASES,
    ids=[f"containerd-{provision.containerd_version(release)}" for release in provision.RELEASES],
)
def release(request: pytest.FixtureRequest) -> str:
    """Each release of containerd; the tests of a module run with each."""
    if not provision.has_containerd((request.param,)):
        leave_out(f"needs containerd {request.param}: `make test-setup` gets it")
    return request.param


@pytest.fixture(scope="module")
def containerd(release: str, bin_dir: Path) -> Iterator[Containerd]:
    """The containerd of each release, shared by a module's tests."""
    daemon = Containerd(bin_dir, release=release)
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def unpacking(
    release: str, bin_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Containerd, Crictl]]:
    """A containerd whose CRI unpacks imported images, and its client, which has imported only the pause image."""
    daemon = Containerd(bin_dir, release=release, cri=CRI_CONFIG + UNPACKING)
    directory = tmp_path_factory.mktemp("images")
    write_image(directory / "pause.tar", PAUSE_IMAGE, {"pause": provision.pause()})
    try:
        yield daemon, Crictl(daemon, directory, PAUSE_IMAGE)
    finally:
        daemon.close()


@pytest.fixture
def pod(crictl: Crictl, container: str) -> Iterator[str]:
    """Run a pod by the module's `crictl`; yield its id, and remove it at the end."""
    found = crictl.run_pod(container)
    yield found
    crictl.run("rmp", "-f", found)


@pytest.fixture(scope="module")
def containerd_with_engines(
    release: str, bin_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    """The containerd of each release, on a node with the engines that are programs."""
    config = tmp_path_factory.mktemp("node") / "config.toml"
    config.write_text(engines.config())
    daemon = Containerd(bin_dir, {"PELAGOS_CONFIG": str(config)}, release)
    yield daemon
    daemon.close()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, guests: Path) -> Path:
    """A directory of images for pods: archives of the pause program and of the test programs."""
    directory = tmp_path_factory.mktemp("images")
    write_image(directory / "pause.tar", PAUSE_IMAGE, {"pause": provision.pause()})
    write_image(directory / "guests.tar", GUESTS_IMAGE, {path.name: path for path in guests.glob("*.wasm")})
    return directory


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory, guests: Path) -> Path:
    """The root directory of an image: it contains the test programs."""
    directory = tmp_path_factory.mktemp("image")
    for program in guests.glob("*.wa*"):
        shutil.copy(program, directory)
    (directory / "data").mkdir()
    (directory / "data/note.txt").write_text("a note\n")
    return directory


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheels of what the README installs, built of a copy of their sources."""
    directory = tmp_path_factory.mktemp("published")
    # Backends are compiled by what is in native/.
    tree = shutil.copytree(ROOT, directory / "tree", ignore=_not_sources)
    for distribution in (".", "plugins/wasmtime_backend", "native"):
        words = [sys.executable, "-m", "build", "--wheel", "--outdir", directory / "dist", tree / distribution]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory / "dist"


def _not_sources(directory: str, names: list[str]) -> list[str]:
    if Path(directory) != ROOT:
        return [name for name in names if name in ("__pycache__", "bin")]
    kept = ("pelagos_core", "plugins", "native", "pyproject.toml", "README.md", "LICENSE")
    return [name for name in names if name not in kept]


@pytest.fixture
def container() -> str:
    """A container's name that no other test has used."""
    return f"t-{os.urandom(4).hex()}"
