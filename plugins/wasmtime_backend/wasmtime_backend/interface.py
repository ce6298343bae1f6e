"""Reads the interface of a compiled module or component from Wasmtime: imports, exports and types of functions."""

from __future__ import annotations

from collections.abc import Sequence

import wasmtime
from wasmtime import component

from pelagos_core.plugin.interface import Export, Import, Interface, signature

_KINDS: dict[type, str] = {
    wasmtime.FuncType: "function",
    wasmtime.TableType: "table",
    wasmtime.MemoryType: "memory",
    wasmtime.GlobalType: "global",
    component.FuncType: "function",
    component.ComponentInstanceType: "instance",
    component.ResourceType: "resource",
    component.ModuleType: "core",
    component.ComponentType: "component",
}


def of_module(module: wasmtime.Module) -> Interface:
    """The interface of a core module, for text, which core does not parse. The linker compares types of imports."""
    imports = [Import(item.module, item.name or "", _kind(item.type)) for item in module.imports]
    exports = [Export(item.name, _kind(item.type), _signature(item.type)) for item in module.exports]
    return Interface(tuple(imports), tuple(exports))


def of_component(engine: wasmtime.Engine, program: component.Component) -> Interface:
    """The interface of a component."""
    imports = [Import("", name, _kind(item.ty)) for name, item in program.type.imports(engine).items()]
    exports = [Export(name, _kind(item.ty)) for name, item in program.type.exports(engine).items()]
    return Interface(tuple(imports), tuple(exports), is_component=True)


def function(engine: wasmtime.Engine, program: component.Component, path: Sequence[str]) -> component.FuncType | None:
    """The type of an exported function of a component, or of an instance that it exports; None if there is none."""
    found: object = program.type
    for name in path:
        if not isinstance(found, component.ComponentType | component.ComponentInstanceType):
            return None
        item = found.exports(engine).get(name)
        found = item.ty if item else None
    return found if isinstance(found, component.FuncType) else None


def functions(engine: wasmtime.Engine, program: component.Component) -> dict[str, component.FuncType]:
    """The exported functions and their types, as `function` or `interface/function`."""
    found = dict[str, component.FuncType]()
    for name, item in program.type.exports(engine).items():
        kind = item.ty
        if isinstance(kind, component.FuncType):
            found[name] = kind
        elif isinstance(kind, component.ComponentInstanceType):
            inner = {f"{name}/{each}": of.ty for each, of in kind.exports(engine).items()}
            found |= {each: of for each, of in inner.items() if isinstance(of, component.FuncType)}
    return found


def _kind(kind: object) -> str:
    return _KINDS.get(type(kind), "type")


def _signature(kind: object) -> str:
    return signature([*map(str, kind.params)], [*map(str, kind.results)]) if isinstance(kind, wasmtime.FuncType) else ""
