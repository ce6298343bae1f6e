"""Finds and calls a component's function: converts the words to its arguments and prints its result to stdout.

Runs in the init process, after isolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import wasmtime
from wasmtime import component

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import linking, values
from pelagos_core.plugin.entrypoint import Entrypoint
from wasmtime_backend import component_values, interface, wave, wit


@dataclass(frozen=True)
class ComponentCall:
    """The call of a component's function.

    path: the names of the exported interface, if any, and of the function.
    arguments: values as in `wave`.
    is_main: whether it is the `run` of a command, which reads its arguments through WASI.
    """

    path: list[str]
    kind: component.FuncType
    arguments: list[object]
    is_main: bool

    @classmethod
    def of(cls, engine: wasmtime.Engine, program: component.Component, entrypoint: Entrypoint) -> ComponentCall:
        """Find the function of an entry point and convert its arguments. Raises InvalidArgument."""
        try:
            return cls._of(*_found(engine, program, entrypoint), entrypoint)
        except InvalidArgument as error:
            raise InvalidArgument(f"{entrypoint.path!r} {error.message}", error.reason) from None

    @classmethod
    def _of(cls, path: list[str], kind: component.FuncType, entrypoint: Entrypoint) -> ComponentCall:
        full = "/".join(path)
        is_main = [path] == linking.function_paths(entrypoint.interface, "")
        if is_main and kind.params:
            raise InvalidArgument(f"has a function {full!r} that takes arguments")
        try:
            name = values.cut(wit.signature(full, kind))
        except wit.UnsupportedType as error:
            raise InvalidArgument(f"has a function {full!r} with values that have no text: {error}") from None
        return cls(path, kind, [] if is_main else _arguments(name, kind, entrypoint.args[1:]), is_main)

    def run(self, store: wasmtime.Store, instance: component.Instance) -> int:
        """Call the function and print its result; return the exit code, 1 if it has returned an error."""
        index = None
        for name in self.path:
            index = instance.get_export_index(store, name, index)
        function = instance.get_func(store, index) if index else None
        assert function is not None  # `of` has found it
        returned = component_values.call(store, function, [each for _, each in self.kind.params], self.arguments)
        result = self.kind.result
        is_error = (
            isinstance(result, component.ResultType) and isinstance(returned, wit.Case) and returned.name == "err"
        )
        shown = 0 if self.is_main else values.show(f"{wave.write(result, returned) if result else '()'}\n")
        return shown or int(is_error)


def _found(
    engine: wasmtime.Engine, program: component.Component, entrypoint: Entrypoint
) -> tuple[list[str], component.FuncType]:
    """The path and type of the function. Raises InvalidArgument if there is none, or several have its name."""
    paths = linking.function_paths(entrypoint.interface, entrypoint.func)
    path = paths[0]
    if entrypoint.func:
        path = linking.chosen_path(entrypoint.func, paths, dict.fromkeys(interface.functions(engine, program), ""))
    kind = interface.function(engine, program, path)
    if kind is None:
        raise InvalidArgument(f"exports no function {'/'.join(path)!r}")
    return path, kind


def _arguments(name: str, kind: component.FuncType, words: Sequence[str]) -> list[object]:
    """Convert the words to values by the types of the parameters. name: the function's, with its type, for errors."""
    types = [each for _, each in kind.params]
    if len(types) != len(words):
        raise values.wrong(values.wrong_count(name, len(types), len(words)))
    found = list[object]()
    for index, (each, word) in enumerate(zip(types, words, strict=True)):
        try:
            found.append(wave.read_word(each, word))
        except ValueError as error:
            raise values.wrong(values.wrong_argument(name, index, word, str(error))) from None
    return found
