"""Build packages for nodes without pip: archives with their own Python, Debian packages, and installer images.

    python -m scripts.node_packages [--machine x86_64 | aarch64] [--kind archive | deb | installer] [WHEELS]

All results are written to WHEELS (dist), which must contain the project's wheels (`make wheels`). pip downloads other
packages as wheels. The Python of an archive is Debian 13's, unpacked by mmdebstrap; it may be for another machine,
because nothing of it is executed. All files get the same time, so that equal parts give equal results; no test
compares two builds.

An archive and a Debian package contain a virtual environment. In an archive it is /opt/pelagos, with a Python, its C
library and its loader at absolute paths, so it runs on any Linux. In a Debian package it is /usr/lib/pelagos, and uses
Debian's python3 of any version: the wheels support all of them.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pelagos_core.images.archive import write
from pelagos_core.images.image import Platform, Settings, image
from pelagos_core.images.layer import Layer
from scripts import engines
from scripts.release_number import debian, version

ROOT = Path(__file__).parent.parent
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
_OWN = ("pelagos-core", "pelagos-native", "pelagos-wasmtime", "pelagos-wasmedge", "pelagos-wasmer")
_DEBIAN, _PYTHON = "trixie", "python3.13"
_INCLUDE = f"{_PYTHON}-minimal,lib{_PYTHON}-stdlib,libgcc-s1,libseccomp2"
# The versions of Python with which a Debian package must work. protobuf's wheel uses the stable ABI of the oldest.
_MINORS = range(10, 15)
_OLDEST = "3.10"
# Of the standard library, what a shim does not use: most of it by size, with the C libraries that it needs.
_LEFT_OUT = ("idlelib", "lib2to3", "pydoc_data", "tkinter", "turtledemo", "ensurepip", "curses", "dbm")
_LEFT_OUT += ("sqlite3", "sitecustomize.py", "__pycache__", "EXTERNALLY-MANAGED")
_LEFT_OUT_MODULES = re.compile(r"_(curses|dbm|gdbm|sqlite3|ssl|hashlib|test|xx|ctypes_test|crypt)|readline|xx")
_DESCRIPTION = """\
WebAssembly under containerd, with any engine
 A containerd shim that runs WebAssembly modules and components as containers,
 with Wasmtime, or WasmEdge and Wasmer where they are installed.
 `pelagos install` registers it with the node's containerd."""
_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
/usr/lib/pelagos/bin/python3 -Im compileall -q /usr/lib/pelagos/lib/site-packages
# The launchers of the version before, where `pelagos install` has written them.
if [ -n "$2" ] && [ -e /usr/local/bin/containerd-shim-wasm-v1 ]; then pelagos install --no-containerd; fi
"""
_PRERM = """\
#!/bin/sh
set -e
[ "$1" != remove ] || pelagos uninstall
find /usr/lib/pelagos/lib/site-packages -name __pycache__ -type d -prune -exec rm -r {} +
"""


def epoch() -> int:
    """The time of all files, in seconds since the epoch: SOURCE_DATE_EPOCH (reproducible-builds.org) or the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]) or 0)


def archive(machine: str, wheels: Path) -> Path:
    """Build an archive of /opt/pelagos; its path."""
    target = wheels / archive_name(machine)
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work, "pelagos")
        _environment(tree, "/opt/pelagos", "/opt/pelagos/python/bin", "../python/bin/" + _PYTHON, machine, wheels)
        _python(tree, _debian(Path(work, machine), machine), machine)
        here = platform.machine()
        own = Path(work, here) if here == machine else _debian(Path(work, here), here)
        for directory in (tree / "python/lib" / _PYTHON, tree / "lib/site-packages"):
            _compile(directory, f"/opt/pelagos/{directory.relative_to(tree)}", own)
        _tar(tree, target)
    return target


def installer(machine: str, wheels: Path) -> Path:
    """Build the image of the DaemonSet, of the archive; its path. The same as deploy/installer/Dockerfile makes."""
    target = wheels / f"pelagos-installer-{version()}-linux-{machine}.tar"
    with tempfile.TemporaryDirectory() as work, tarfile.open(wheels / archive_name(machine)) as files:
        files.extractall(work, filter="tar")
        layer = Layer()
        layer.add(f"{work}/pelagos", "/opt/pelagos")
        layer.add(str(ROOT / "deploy/installer/install_node.py"), "/install_node.py")
        settings = Settings(("/opt/pelagos/bin/python3", "-I", "/install_node.py"), created=epoch())
        made = image(layer, (Platform("linux", MACHINES[machine]),), settings)
        with target.open("wb") as file:
            write(made, f"docker.io/library/pelagos-installer:{version()}", file.write)
    return target


def archive_name(machine: str) -> str:
    """The name of the archive for a machine."""
    return f"pelagos-{version()}-linux-{machine}.tar.gz"


def deb(machine: str, wheels: Path) -> Path:
    """Build a Debian package; its path."""
    target = wheels / f"pelagos_{debian(version())}_{MACHINES[machine]}.deb"
    with tempfile.TemporaryDirectory() as work:
        root = Path(work, "root")
        tree = root / "usr/lib/pelagos"
        _environment(tree, "/usr/lib/pelagos", "/usr/bin", "/usr/bin/python3", machine, wheels)
        (root / "usr/bin").mkdir()
        (root / "usr/bin/pelagos").symlink_to("../lib/pelagos/bin/pelagos")
        place = root / "usr/share/doc/pelagos"
        place.mkdir(parents=True)
        shutil.copy(ROOT / "LICENSE", place / "copyright")
        shutil.copy(ROOT / "CHANGELOG.md", place)
        _control(root, machine)
        _settle(root)
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
        _run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(target)], environment)
    return target


def _environment(tree: Path, prefix: str, home: str, python: str, machine: str, wheels: Path) -> None:
    """Create a virtual environment with all packages: pyvenv.cfg and a link to the interpreter suffice (PEP 405)."""
    (tree / "bin").mkdir(parents=True)
    (tree / "lib").mkdir()
    for minor in _MINORS:
        (tree / f"lib/python3.{minor}").symlink_to(".")
    (tree / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    (tree / "bin/python3").symlink_to(python)
    program = tree / "bin/pelagos"
    program.write_text(
        f"#!{prefix}/bin/python3 -I\nimport sys\nfrom pelagos_core.cli.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    site = tree / "lib/site-packages"
    platform = [
        f"--platform={name}_{machine}" for name in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "linux")
    ]
    words = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    words += ["--target", str(site), "--only-binary=:all:", "--implementation=cp", "--abi=abi3", "--abi=none"]
    # tomli is for the oldest Python alone: pip looks at this one's version.
    _run([*words, f"--python-version={_OLDEST}", *platform, "--find-links", str(wheels), *_OWN, "tomli"])
    shutil.rmtree(site / "bin", ignore_errors=True)
    for path in site.rglob("RECORD"):
        path.unlink()  # it names what is not here: programs, and where pip has put them


def _debian(target: Path, machine: str) -> Path:
    """Unpack Debian's Python for a machine, with its dependencies, as a root directory."""
    engines.tool("mmdebstrap")
    words = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={MACHINES[machine]}"]
    _run([*words, f"--include={_INCLUDE}", _DEBIAN, str(target)])
    return target


def _python(tree: Path, debian: Path, machine: str) -> None:
    """Copy the required part of it to /opt/pelagos/python; the tree's programs get its loader and libraries."""
    engines.tool("patchelf")
    target, libraries = tree / "python", debian / f"usr/lib/{machine}-linux-gnu"
    (target / "bin").mkdir(parents=True)
    program, library = target / "bin" / _PYTHON, target / "lib" / _PYTHON
    shutil.copy(debian / "usr/bin" / _PYTHON, program)
    shutil.copytree(debian / "usr/lib" / _PYTHON, library, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for path in (library / "lib-dynload").iterdir():
        if _LEFT_OUT_MODULES.match(path.name):
            path.unlink()
    programs = [program, *tree.rglob("pelagos-nursery")]
    for name in _needed([*programs, *tree.rglob("*.so")], libraries) | {_LOADERS[machine]}:
        shutil.copy(libraries / name, target / "lib" / name)
    prefix = "/opt/pelagos/python/lib"
    for path in programs:
        _run(["patchelf", "--set-interpreter", f"{prefix}/{_LOADERS[machine]}", str(path)])
        # The old kind of path, which counts for what the program loads too.
        _run(["patchelf", "--force-rpath", "--set-rpath", prefix, str(path)])
    for package in ("python3.13", "libc6", "libgcc-s1", "libseccomp2"):
        notice = target / "share/doc" / package
        notice.mkdir(parents=True)
        for path in (debian / "usr/share/doc").glob(f"{package}*/copyright"):
            shutil.copy(path, notice)


def _needed(programs: list[Path], libraries: Path) -> set[str]:
    """The names of Debian's libraries that programs are linked with, and of those that they ask for by dlopen(3)."""
    wanted = {"libgcc_s.so.1", "libseccomp.so.2"}  # for pthread_exit(3); for pelagos
    pending = [*programs, *(libraries / name for name in wanted)]
    while pending:
        names = _run(["patchelf", "--print-needed", str(pending.pop())]).split()
        new = {name for name in names if (libraries / name).exists()} - wanted
        wanted |= new
        pending += [libraries / name for name in new]
    return wanted


def _compile(directory: Path, where: str, debian: Path) -> None:
    """Compile modules with the archive's Python; the code is not compared with the source when it is imported."""
    libraries = debian / f"usr/lib/{platform.machine()}-linux-gnu"
    words = [str(libraries / _LOADERS[platform.machine()]), "--library-path", str(libraries)]
    words += [str(debian / "usr/bin" / _PYTHON), "-Sm", "compileall", "-q", "--invalidation-mode=unchecked-hash"]
    _run([*words, "-s", str(directory), "-p", where, str(directory)], {"PYTHONHOME": str(debian / "usr")})


def _control(root: Path, machine: str) -> None:
    control = root / "DEBIAN"
    control.mkdir()
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) >> 10
    fields = {
        "Package": "pelagos",
        "Version": debian(version()),
        "Architecture": MACHINES[machine],
        "Maintainer": "The pelagos maintainers <pelagos@localhost>",
        "Installed-Size": str(size),
        "Depends": f"python3 (>= {_OLDEST}), libc6 (>= 2.28), libgcc-s1, libseccomp2 (>= 2.5)",
        "Suggests": "containerd",
        "Section": "admin",
        "Priority": "optional",
        "Description": _DESCRIPTION,
    }
    (control / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    for name, text in (("postinst", _POSTINST), ("prerm", _PRERM)):
        (control / name).write_text(text)
        (control / name).chmod(0o755)


def _settle(root: Path) -> None:
    """Set the modes of all files, independent of the umask of the build."""
    for path in _files(root):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _files(tree: Path) -> Iterator[Path]:
    yield tree
    yield from sorted(tree.rglob("*"))


def _tar(tree: Path, target: Path) -> None:
    _settle(tree)
    moment = epoch()
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=moment, fileobj=raw) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in _files(tree):
            entry = tar.gettarinfo(str(path), str(path.relative_to(tree.parent)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mtime = moment
            if entry.isreg():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def _run(words: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:3])} ... failed with code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


_KINDS = {"archive": archive, "deb": deb, "installer": installer}  # an installer is made of the archive


def main() -> None:
    """Build the requested kinds, by default all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--machine", action="append", choices=sorted(MACHINES))
    parser.add_argument("--kind", action="append", choices=list(_KINDS))
    parser.add_argument("wheels", nargs="?", type=Path, default=ROOT / "dist")
    words = parser.parse_args()
    for machine in words.machine or sorted(MACHINES, reverse=True):
        for kind in words.kind or _KINDS:
            made = _KINDS[kind](machine, words.wheels.resolve())
            print(f"{made} ({made.stat().st_size >> 20} MiB)")


if __name__ == "__main__":
    main()
