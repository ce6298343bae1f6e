"""Runs Wasmer in this Python process: the packages `wasmer` and `wasmer-compiler-cranelift` 1.1, for CPython 3.10."""

from __future__ import annotations

import re
from typing import Any

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.hookspecs import GuestExit, Trap, UnusableCode, Workload
from pelagos_core.plugin.interface import Export, Import, Interface, signature
from pelagos_core.plugin.linking import Imports
from pelagos_core.plugin.values import Call

_EXIT = re.compile(r"RuntimeError: WASI exited with code: (\d+)")


class Engine:
    """The imported Python packages."""

    def __init__(self) -> None:
        """Import them. Raises ImportError if they are not installed; they do not exist for newer CPython than 3.10."""
        import wasmer
        import wasmer_compiler_cranelift

        # The packages contain no types.
        self._wasmer: Any = wasmer
        self._compiler: Any = wasmer_compiler_cranelift.Compiler
        self.version = str(wasmer.__version__)

    def load(self, entrypoint: Entrypoint, imports: Imports) -> Workload:
        """Load the compiled code, or compile the module, and check its imports; the workload instantiates and runs it.

        imports: what the package provides. Raises InvalidArgument or UnusableCode.
        """
        store = self._store()
        module = self._deserialized(store, entrypoint) if entrypoint.code else self._compiled(store, entrypoint)
        entrypoint = entrypoint.with_compiled(imports, lambda: _interface(module))
        first, call = entrypoint.calls[:-1], entrypoint.call
        return lambda: self._run(store, module, entrypoint, first, call)

    def compile(self, entrypoint: Entrypoint) -> bytes:
        """Compile the module to code for `load`. Raises InvalidArgument."""
        return bytes(self._compiled(self._store(), entrypoint).serialize())

    def _store(self) -> Any:  # noqa: ANN401 (it has no types)
        return self._wasmer.Store(self._wasmer.engine.Universal(self._compiler))

    def _compiled(self, store: Any, entrypoint: Entrypoint) -> Any:  # noqa: ANN401 (it has no types)
        data = entrypoint.read_text() if entrypoint.kind is Kind.WAT else entrypoint.read()
        try:
            return self._wasmer.Module(store, data)
        except RuntimeError as error:
            raise InvalidArgument(f"{entrypoint.path!r} is not valid WebAssembly: {error}") from None

    def _deserialized(self, store: Any, entrypoint: Entrypoint) -> Any:  # noqa: ANN401 (it has no types)
        try:
            return self._wasmer.Module.deserialize(store, entrypoint.read_code())
        except RuntimeError as error:
            raise UnusableCode(str(error)) from None

    def _run(self, store: Any, module: Any, entrypoint: Entrypoint, first: list[str], call: Call) -> int:  # noqa: ANN401 (no types)
        try:
            instance = self._wasmer.Instance(module, self._imports(store, module, entrypoint))
            for name in first:
                getattr(instance.exports, name)()
            returned = getattr(instance.exports, call.name)(*call.arguments)
        except RuntimeError as error:
            left = _EXIT.match(str(error))
            if left:
                raise GuestExit(int(left[1]) & 0xFF) from None
            raise Trap(str(error)) from None
        return call.show(returned if isinstance(returned, list | tuple) else [returned]) if call.results else 0

    def _imports(self, store: Any, module: Any, entrypoint: Entrypoint) -> Any:  # noqa: ANN401 (it has no types)
        wasi = self._wasmer.wasi
        state = wasi.StateBuilder(entrypoint.args[0]).arguments(list(entrypoint.args[1:]))
        for name, value in entrypoint.environment():
            state = state.environment(name, value)
        for name, path, _ in entrypoint.preopens():
            state = state.map_directory(name, path)
        version = wasi.get_version(module, strict=False) or wasi.Version.LATEST
        return state.finalize().generate_import_object(store, version)


def _interface(module: Any) -> Interface:  # noqa: ANN401 (it has no types)
    """The imports and exports of a module, for text, which core does not parse."""
    imports = [Import(item.module, item.name, _kind(item.type)) for item in module.imports]
    exports = [Export(item.name, _kind(item.type), _signature(item.type)) for item in module.exports]
    return Interface(tuple(imports), tuple(exports))


def _kind(of: Any) -> str:  # noqa: ANN401 (it has no types)
    return str(type(of).__name__.removesuffix("Type").lower())


def _signature(of: Any) -> str:  # noqa: ANN401 (it has no types)
    if not hasattr(of, "params"):
        return ""
    parameters, results = ([str(each.name).lower() for each in kinds] for kinds in (of.params, of.results))
    return signature(parameters, results)
