"""Wasmer: core modules (WASI 0.1), embedded if its Python package is installed, else by its program."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import program, wasi
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.claims import WASI_0_1_AREAS
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import Description, Detection, Workload, hookimpl
from pelagos_core.plugin.linking import Imports
from pelagos_core.plugin.program_backend import Diagnostics, ProgramBackend
from wasmer_backend.engine import Engine

_TEXT_NAMES = (".wat", ".wasm")  # Wasmer's program recognises a binary by its bytes, but text by its name
_SETTINGS = {"form", *program.SETTINGS}
_WASI: Imports = {wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS, wasi.WASI_UNSTABLE: wasi.WASI_UNSTABLE_FUNCTIONS}
# The Python package, last released in 2022: the functions that it lacks, and the areas in which it deviates from WASI.
_WASI_EMBEDDED: Imports = {**_WASI, wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS - {"sock_accept", "sock_shutdown"}}
_DEVIATIONS_EMBEDDED = frozenset(
    WASI_0_1_AREAS.keys() - {"arguments and variables", "clocks", "random bytes", "the end"}
)


class Wasmer(ProgramBackend):
    """Wasmer: core modules (WASI 0.1), embedded or by its program."""

    pelagos_contract = 1
    name = "wasmer"
    engine = "Wasmer"
    remedy = (
        "install Wasmer (cargo install wasmer-cli --no-default-features --features sys,wat,cranelift), "
        "set [backends.wasmer] program, or use CPython 3.10, for which it is a Python package"
    )
    score = 92
    features = frozenset({"module", "wat", "wasi-0.1", "argv0", "sockets"})
    # The program, 7.4.2: it runs programs in C and Go, but its errnos, rights and links differ from WASI.
    deviations = frozenset(WASI_0_1_AREAS.keys() - {"all functions are there", "clocks", "random bytes", "directories"})
    imports: Mapping[str, Collection[str] | None] = {**_WASI, "wasix_32v1": None, "wasix_64v1": None}
    invalid = re.compile(r"(?s)error: (.*)")
    # A guest without WASI cannot print, so its traps (code 1) are recognised by the word "error".
    diagnostics = Diagnostics(
        2, re.compile(rb"(?:error: )?RuntimeError: "), {1: b"error: RuntimeError: ", 45: b"RuntimeError: "}
    )

    def __init__(self) -> None:
        super().__init__()
        self.embedded: Engine | None = None

    @hookimpl
    def pelagos_configure(self, settings: Mapping[str, object]) -> None:
        """Import the package, or find the program.

        Settings: `form` ("embedded" or "program") requires one of them; `program` and `root` are
        those of `pelagos_core.plugin.program.find`.
        """
        unknown, form = sorted(settings.keys() - _SETTINGS), settings.get("form", "")
        if unknown:
            raise InvalidArgument(f"unknown setting {unknown[0]!r} (known: {', '.join(sorted(_SETTINGS))})")
        if form not in ("", "embedded", "program"):
            raise InvalidArgument(f"form = {form!r}: neither 'embedded' nor 'program'")
        self.embedded = _embedded() if form != "program" else None
        if self.embedded is not None:
            self.problem = ""
        elif form == "embedded":
            self.problem = "the Python package wasmer is not installed"
        else:
            self.find_program({key: settings[key] for key in program.SETTINGS & settings.keys()})

    @hookimpl
    def pelagos_describe(self) -> Description:
        """Describe the package or the program."""
        if self.embedded is None:
            return super().pelagos_describe()
        features = self.features | {"function", "function-values", "ahead-of-time"}
        return Description(
            self.engine, self.embedded.version, "embedded", features, self.limits, deviations=_DEVIATIONS_EMBEDDED
        )

    @hookimpl
    def pelagos_detect(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
        """Accept core modules, binary or text."""
        if self.embedded is None and entrypoint.kind is Kind.WAT:
            return self._detect_text(bundle, entrypoint)
        if self.embedded is None:
            return super().pelagos_detect(bundle, entrypoint)
        if entrypoint.kind not in (Kind.MODULE, Kind.WAT):
            return Detection.cannot(f"Wasmer cannot run a {entrypoint.kind.value}")
        what = f"{entrypoint.kind.value}, WASI 0.1, embedded"
        if bundle.has_readonly_files:
            return Detection.can(50, f"{what}, but it cannot read read-only files", imports=_WASI_EMBEDDED)
        return Detection.can(self.score, what, imports=_WASI_EMBEDDED)

    def _detect_text(self, bundle: Bundle, entrypoint: Entrypoint) -> Detection:
        """The program's answer for text, which depends on the file's name."""
        if not entrypoint.path.endswith(_TEXT_NAMES):
            words = " or *".join(_TEXT_NAMES)
            return Detection.cannot(f"Wasmer's program takes text only from a file *{words}", kept=False)
        return replace(super().pelagos_detect(bundle, entrypoint), kept=False)

    @hookimpl
    def pelagos_code_key(self, entrypoint: Entrypoint) -> str | None:
        """Nothing more than the fixed part of the key, if embedded."""
        return "" if self.embedded is not None else super().pelagos_code_key(entrypoint)

    @hookimpl
    def pelagos_compile(self, entrypoint: Entrypoint) -> bytes:
        """Compile to Wasmer's serialized format."""
        assert self.embedded is not None
        return self.embedded.compile(entrypoint)

    @hookimpl
    def pelagos_spawn(self, entrypoint: Entrypoint) -> Workload:
        """Load or compile the module, or build the program's command line."""
        if self.embedded is None:
            return super().pelagos_spawn(entrypoint)
        return self.embedded.load(entrypoint, _WASI_EMBEDDED)

    def validation(self, entrypoint: Entrypoint) -> list[str]:
        """The program's command `validate`; it does not read text."""
        return ["validate", "--quiet", entrypoint.file_path] if entrypoint.kind is Kind.MODULE else []

    def arguments(self, entrypoint: Entrypoint) -> list[str]:
        """The program's arguments."""
        words = ["run", "--quiet", "--disable-cache", *(["--net"] if entrypoint.network else [])]
        for name, path in _volumes():
            words += ["--volume", f"{path}:{name}"]
        for name, value in entrypoint.environment():
            if value:
                words.append(f"--env={name}={value}")  # one word: a name may begin with a dash
        # The program refuses `--env NAME=`, so empty variables are inherited: see `environment`.
        words += ["--forward-host-env"] if len(self.environment(entrypoint)) > 1 else []
        return [*words, entrypoint.file_path, "--", *entrypoint.args[1:]]

    def environment(self, entrypoint: Entrypoint) -> dict[str, str]:
        """The guest's empty variables, which have no effect on the engine and its loader, and HOME.

        Wasmer does not start without a home directory. A guest with empty variables sees HOME too.
        """
        return {name: "" for name, value in entrypoint.environment() if not value} | {"HOME": program.SCRATCH}


def _volumes() -> list[tuple[str, str]]:
    """The guest's directories, as pairs of the guest's name and the path in the engine root.

    Wasmer keeps writes to the volume `/` in memory; only other volumes are written to disk. So
    each directory of the root is a volume too, except one with a colon in its name: Wasmer splits
    at the colon, so with a name such as `..:x` an image could choose another path.
    """
    with os.scandir(program.GUEST_ROOT) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    directories = [name for name in names if ":" not in name]
    return [("/", program.GUEST_ROOT), *((f"/{name}", f"{program.GUEST_ROOT}/{name}") for name in directories)]


def _embedded() -> Engine | None:
    try:
        return Engine()
    except ImportError:
        return None


backend = Wasmer()
