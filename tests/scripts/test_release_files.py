"""What a wheel and an archive of sources must hold, and must not."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from scripts import release_files, release_number

_DIRECTORY = release_files.ROOT / "plugins/wasmer_backend"
_INFO = f"pelagos_wasmer-{release_number.version()}.dist-info"
_TOP = f"pelagos_wasmer-{release_number.version()}"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The files of the smallest distribution, as hatchling makes them."""
    target = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "-n", "-o", str(target), str(_DIRECTORY)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def wheel(built, target, changes):
    """A copy of the wheel with other files: None takes one away."""
    (source,) = built.glob("*.whl")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target / source.name, "w") as new:
        held = {name: old.read(name) for name in old.namelist()} | changes
        for name, data in held.items():
            if data is not None:
                new.writestr(name, data)
    return target / source.name


def sources(built, target, changes):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as old, tarfile.open(target / source.name, "w:gz") as new:
        held = {entry.name: old.extractfile(entry).read() for entry in old if entry.isfile()} | changes
        for name, data in held.items():
            if data is not None:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                new.addfile(entry, io.BytesIO(data))
    return target / source.name


def faults(file):
    return list(release_files.faults(file, _DIRECTORY, release_number.version()))


@pytest.mark.parametrize("make", [wheel, sources])
def test_what_is_built_is_in_order(built, tmp_path, make):
    assert faults(make(built, tmp_path, {})) == []


def elf(machine):
    return b"\x7fELF".ljust(18, b"\0") + machine.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({f"{_INFO}/licenses/LICENSE": None}, "it has no LICENSE"),
        ({f"{_INFO}/licenses/LICENSE": b"Do what you like."}, "it has no LICENSE, or another one"),
        ({"wasmer_backend/py.typed": None}, "it has no py.typed"),
        ({"wasmer_backend/left.py": b""}, "it has wasmer_backend/left.py, which is not in the tree"),
        ({"tests/test_hooks.py": b""}, "it has tests/test_hooks.py"),
        ({"wasmer_backend/bin/engine.so": b"text"}, "it has wasmer_backend/bin/engine.so, which is not in the tree"),
        ({"wasmer_backend/bin/engine.so": elf(183)}, "wasmer_backend/bin/engine.so is for aarch64"),
        ({"wasmer_backend/bin/engine.so": elf(62) + os.fsencode(sys.prefix)}, "names a path of this machine"),
        ({f"{_INFO}/METADATA": b"Version: 9.9.9\n\n# pelagos\n"}, "its version is 9.9.9"),
        ({f"{_INFO}/METADATA": b"Version: 9.9.9\n\n"}, "its metadata has no README"),
        ({f"{_INFO}/METADATA": b"Version: 9.9.9\n\n"}, "its metadata has no Keywords"),
    ],
)
def test_what_is_wrong_with_a_wheel_is_reported(built, tmp_path, changes, fault):
    found = faults(wheel(built, tmp_path, changes))
    assert [each for each in found if fault in each], found


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({f"{_TOP}/LICENSE": None}, "it has no LICENSE"),
        ({f"{_TOP}/wasmer_backend/py.typed": None}, "it has no py.typed"),
        ({f"{_TOP}/left.txt": b""}, "it has left.txt, which is not in the tree"),
        ({f"{_TOP}/wasmer_backend/hooks.py": elf(62)}, "it has wasmer_backend/hooks.py, which is compiled"),
        ({f"{_TOP}/PKG-INFO": b"Version: 9.9.9\n\n"}, "its version is 9.9.9"),
    ],
)
def test_what_is_wrong_with_sources_is_reported(built, tmp_path, changes, fault):
    found = faults(sources(built, tmp_path, changes))
    assert [each for each in found if fault in each], found


def test_the_cores_sources_have_nothing_of_the_other_distributions(tmp_path):
    version = release_number.version()
    with tarfile.open(tmp_path / f"pelagos_core-{version}.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"pelagos_core-{version}/native/README.md"))
    found = list(release_files.faults(tmp_path / f"pelagos_core-{version}.tar.gz", release_files.ROOT, version))
    assert "it has native/README.md, which is of another distribution" in found


def test_a_project_without_an_address_is_noticed(built, tmp_path):
    (source,) = built.glob("*.whl")
    assert release_files.without_address(source)
    made = wheel(built, tmp_path, {f"{_INFO}/METADATA": b"Project-URL: Source, https://example.com/pelagos\n\n"})
    assert not release_files.without_address(made)
