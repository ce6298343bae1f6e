"""Services for the tests: components that handle HTTP requests, written in Rust, Python and JavaScript.

    python -m tests.support.services

The tools that build components from Python and JavaScript are downloaded once (60 and 390 MB), to the cache of
`provision`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import provision

SOURCES = Path(__file__).parent.parent / "services"
NAMES = ("rust", "python", "javascript", "python-0.3")
_WORLD = "wasi:http/proxy@0.2.12"
_TARGET = "wasm32-wasip2"
_COMPONENTIZE_PY = "componentize-py==0.25.1"
_COMPONENTIZE_JS_DIRECTORY = provision.CACHE / "componentize-js"
_COMPONENTIZE_JS = "@bytecodealliance/componentize-js@0.23.0"


def directory() -> Path:
    """The directory of the components that are built from the current sources."""
    return provision.CACHE / f"services-{provision.digest(SOURCES)}"


def component(name: str) -> Path:
    """The path of a component. name: one of NAMES."""
    return directory() / f"{name}.wasm"


def has() -> bool:
    """Whether all are built."""
    return all(component(name).exists() for name in NAMES)


def provide() -> None:
    """Build them. Raises RuntimeError."""
    work = directory().with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    crate = SOURCES / "rust/Cargo.toml"
    build_rust(work / "rust.wasm", crate)
    wit = _interfaces(crate)
    _build_python("service", wit, _WORLD, work / "python.wasm")
    _build_javascript(wit, work / "javascript.wasm")
    _build_python("service_0_3", _interfaces_0_3(work / "wit"), "service", work / "python-0.3.wasm")
    shutil.rmtree(work / "wit")
    work.rename(directory())


def build_rust(made: Path, crate: Path = SOURCES / "rust/Cargo.toml") -> None:
    """Build only the service in Rust. Raises RuntimeError."""
    if not shutil.which("cargo"):
        raise RuntimeError("cargo is not there: rustup installs it")
    if shutil.which("rustup"):
        provision.run(["rustup", "target", "add", _TARGET])
    target = provision.CACHE / "services.target"
    words = ["build", "--quiet", "--release", "--locked", "--manifest-path", str(crate), "--target", _TARGET]
    provision.run(["cargo", *words, "--target-dir", str(target)])
    shutil.copy(target / _TARGET / "release/service.wasm", made)


def _interfaces(crate: Path) -> Path:
    """The WIT of WASI 0.2, which a crate of the Rust service contains."""
    words = ["cargo", "metadata", "--format-version=1", "--locked", "--manifest-path", str(crate)]
    said = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    manifest = next(each["manifest_path"] for each in said["packages"] if each["name"] == "wasip2")
    return Path(manifest).parent / "wit"


def _interfaces_0_3(wit: Path) -> Path:
    """The WIT of WASI 0.3, from the tool for JavaScript, with the world of the service."""
    (wit / "deps").mkdir(parents=True)
    found = _COMPONENTIZE_JS_DIRECTORY / "node_modules/@bytecodealliance/jco/lib/wit/builtin/0.3.0"
    for package in found.glob("wasi-*/package.wit"):
        shutil.copy(package, wit / "deps" / f"{package.parent.name}.wit")
    shutil.copy(SOURCES / "python/world.wit", wit)
    return wit


def _build_python(module: str, wit: Path, world: str, made: Path) -> None:
    environment = provision.CACHE / "componentize-py"
    tool = environment / "bin/componentize-py"
    if not tool.exists():
        provision.run([sys.executable, "-m", "venv", str(environment)])
        provision.run([str(environment / "bin/pip"), "install", "-q", _COMPONENTIZE_PY])
    words = ["-d", str(wit), "-w", world, "componentize", module, "-o", str(made)]
    # What it compiles beside the sources would count as one of them.
    sources = shutil.copytree(SOURCES / "python", made.with_suffix(".source"))
    provision.run([str(tool), *words], cwd=sources)
    shutil.rmtree(sources)


def _build_javascript(wit: Path, made: Path) -> None:
    if not shutil.which("npm"):
        raise RuntimeError("npm is not there: on Debian, apt-get install npm")
    tool = _COMPONENTIZE_JS_DIRECTORY
    if not (tool / "node_modules").exists():
        provision.run(["npm", "install", "--silent", "--prefix", str(tool), _COMPONENTIZE_JS])
    # Node looks for packages beside the program that asks for them.
    program = shutil.copy(SOURCES / "javascript/build.mjs", tool)
    provision.run(["node", str(program), str(SOURCES / "javascript/app.js"), str(wit), _WORLD, str(made)])


if __name__ == "__main__":
    provide()
