"""WasmEdge: core modules (WASI 0.1), by its C library if it can be loaded, else by its program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import program, wasi
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, NativePart, Trap, Workload, hookimpl
from pelagos_core.plugin.linking import Imports
from pelagos_core.plugin.program_backend import Diagnostics, ProgramBackend
from pelagos_core.plugin.values import Call
from wasmedge_backend import library, native_part
from wasmedge_backend.library import Failure, Library, Machine

# WasmEdge's additional socket functions (lib/host/wasi/wasimodule.cpp), and its own type of `sock_accept`.
_OF_SOCKETS = "open bind connect listen accept recv recv_from send send_to getlocaladdr getpeeraddr".split()
_SOCKETS = {
    *(f"sock_{name}" for name in (*_OF_SOCKETS, "shutdown", "getaddrinfo", "getsockopt", "setsockopt")),
    *(f"sock_{name}_v2" for name in _OF_SOCKETS),
    "sock_accept(i32, i32) -> (i32)",
}
_PAGE = 64 << 10
_LOG = rb"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\] \[error\] "
_SETTINGS = {"compile", "form", "library", *program.SETTINGS}
_NATIVE_CODE = b"wasmedge"  # the name of the custom section with which a module may contain native code


class WasmEdge(ProgramBackend):
    """WasmEdge: core modules (WASI 0.1), embedded or by its program."""

    pelagos_contract = 1
    name = "wasmedge"
    engine = "WasmEdge"
    remedy = "install WasmEdge 0.14 or newer (Debian 13: apt-get install wasmedge), or set [backends.wasmedge] root"
    score = 91
    features = frozenset({"module", "wasi-0.1", "read-only", "simd", "sockets"})
    # The program can enforce fuel too, but then prints statistics into the guest's output.
    limits = frozenset({"memory"})
    # The program logs a trap to stdout, which is also the guest's.
    diagnostics = Diagnostics(1, re.compile(_LOG + rb"execution failed: "), {134: b"["}, re.compile(_LOG))
    code_name = "code.so"
    invalid = re.compile(r"\[error\] (?:loading|validation) failed: (.*), Code")

    def __init__(self) -> None:
        super().__init__()
        self.library: Library | None = None
        self.compiles_ahead = False

    @hookimpl
    def pelagos_configure(self, settings: Mapping[str, object]) -> None:
        """Load the library, or find the program.

        Settings: `form` ("embedded" or "program") requires one of them. `library` is the library's path.
        `compile` = true compiles modules ahead of time; only the program can, so it is used.
        `program` and `root` are those of `pelagos_core.plugin.program.find`.
        """
        unknown = sorted(settings.keys() - _SETTINGS)
        form, path = settings.get("form", ""), settings.get("library", library.DEFAULT)
        if unknown:
            raise InvalidArgument(f"unknown setting {unknown[0]!r} (known: {', '.join(sorted(_SETTINGS))})")
        if form not in ("", "embedded", "program"):
            raise InvalidArgument(f"form = {form!r}: neither 'embedded' nor 'program'")
        compiles = settings.get("compile", False)
        if not isinstance(compiles, bool) or (compiles and form == "embedded"):
            raise InvalidArgument(f"compile = {compiles!r}: true or false, and for the program only")
        self.compiles_ahead = compiles
        form = "program" if compiles else form
        if not isinstance(path, str):
            raise InvalidArgument(f"library = {path!r}: not a path")
        self.library = _library(path) if form != "program" else None
        if self.library is not None:
            self.problem = ""
        elif form == "embedded":
            self.problem = f"{path} cannot be loaded"
        else:
            self.find_program({key: settings[key] for key in program.SETTINGS & settings.keys()})

    @hookimpl
    def pelagos_describe(self) -> Description:
        """Describe the library or the program."""
        if self.library is None:
            said = super().pelagos_describe()
            return replace(said, features=said.features | {"ahead-of-time"}) if self.compiles_ahead else said
        features, limits = self.features | {"argv0", "function", "function-values"}, self.limits | {"fuel"}
        # A signal that WasmEdge raises in the container's first process is lost: pid_namespaces(7).
        lost = frozenset({"the end"})
        return Description(self.engine, self.library.version, "embedded", features, limits, deviations=lost)

    @hookimpl
    def pelagos_native(self) -> NativePart | None:
        """The native part; it behaves like `library`. None if the program runs the guests."""
        return native_part.find(self.library) if self.library else None

    @hookimpl
    def pelagos_detect(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
        """Accept core modules whose imports WasmEdge provides."""
        if self.library is None:
            return replace(super().pelagos_detect(bundle, entrypoint), imports=_imports(entrypoint))
        if entrypoint.kind is not Kind.MODULE:
            return Detection.cannot(f"WasmEdge cannot run a {entrypoint.kind.value}")
        return Detection.can(self.score, "core module, WASI 0.1, embedded", imports=_imports(entrypoint))

    @hookimpl
    def pelagos_spawn(self, entrypoint: Entrypoint) -> Workload:
        """Load and validate the module, or build the program's command line."""
        for name, path, _ in entrypoint.preopens():
            if ":" in name + path:  # WasmEdge splits NAME:PATH at the colon: the image could choose another path
                raise InvalidArgument(
                    f"{entrypoint.path!r} has a directory {name!r}: WasmEdge accepts none with a colon"
                )
        if self.library is None:
            return super().pelagos_spawn(entrypoint)
        limits = entrypoint.limits
        try:
            machine = self.library.load(entrypoint.read(), _memory_pages(entrypoint), limits.fuel)
        except Failure as error:
            raise InvalidArgument(f"{entrypoint.path!r} is not valid WebAssembly: {error}") from None
        first, call = entrypoint.calls[:-1], entrypoint.call
        return lambda: _run(machine, entrypoint, first, call)

    def validation(self, entrypoint: Entrypoint) -> list[str]:
        """The program has no command that validates: call a function that does not exist.

        For compiled code, this checks the format; the module in it is interpreted here too.
        A start function would run first: it gets no fuel, so it cannot execute any instruction.
        """
        options = ["--force-interpreter", "--gas-limit", "1", "--reactor"]
        return [*options, "--", entrypoint.file_path, "pelagos: there is no such function"]

    def compilation(self, entrypoint: Entrypoint, output: str) -> list[str]:
        """Compile to a shared library; not a module that may contain native code, which would be copied into it."""
        if not self.compiles_ahead or _NATIVE_CODE in entrypoint.read():
            return []
        return ["compile", "--", entrypoint.file_path, output]

    def arguments(self, entrypoint: Entrypoint) -> list[str]:
        """The program's arguments. The guest's argv[0] is the file's name; the program cannot set another one."""
        # Run native code only if it was compiled here, never the code in a module.
        words = [] if entrypoint.code else ["--force-interpreter"]
        pages = _memory_pages(entrypoint)
        if pages is not None:
            words += ["--memory-page-limit", str(pages)]
        for word in _preopens(entrypoint, program.GUEST_ROOT):
            words += ["--dir", word]
        for variable in entrypoint.env:
            words += ["--env", variable]
        return [*words, "--", entrypoint.file_path, *entrypoint.args[1:]]


def _imports(entrypoint: Entrypoint) -> Imports:
    """The imports that WasmEdge provides. Socket functions only with a network; WasmEdge does not check that."""
    more = _SOCKETS if entrypoint.network else frozenset()
    return {wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS | more}


def _library(path: str) -> Library | None:
    try:
        return Library(path)
    except (OSError, AttributeError):  # it is missing, for another libc, or another version
        return None


def _memory_pages(entrypoint: Entrypoint) -> int | None:
    """The largest number of pages of a memory. At least the initial size: WasmEdge refuses a smaller limit."""
    limit = entrypoint.limits.memory
    return max(limit, _PAGE, *entrypoint.interface.memories) // _PAGE if limit is not None else None


def _preopens(entrypoint: Entrypoint, root: str = "") -> list[str]:
    """The guest's directories in WasmEdge's notation, which the program and the library share."""
    return [f"{name}:{path}" for name, path, _ in entrypoint.preopens(root)]


def _run(machine: Machine, entrypoint: Entrypoint, first: list[str], call: Call) -> int:
    try:
        return machine.run(first, call, entrypoint.args, entrypoint.env, _preopens(entrypoint)) & 0xFF
    except Failure as error:
        raise Trap(f"wasm trap: {error}") from None


backend = WasmEdge()
