"""Checks whether a module or component can be linked and started: compares its imports with what an engine provides.

Names and versions of components: component-model, Explainer.md ("Import and Export Definitions",
"Canonical Interface Name").
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Mapping

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import values, wasi
from pelagos_core.plugin.interface import Export, Import, Interface

Imports = Mapping[str, Collection[str] | None]
"""What an engine provides: for each module, the names that may be imported, or None for any name.

A component imports from packages: `wasi:io@0.2` has the names `poll` and `streams`, and matches
every version that is compatible with 0.2. If an engine provides a WASI function with another type than
the one that WASI defines, add the name with this type, such as `sock_accept(i32, i32) -> (i32)`.
"""

COMMAND = "_start"
INITIALIZE = "_initialize"

_INTERFACE = re.compile(r"(?P<package>[^/@]+)/(?P<name>[^/@]+)(?:@(?P<version>.+))?\Z")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[^+]+)?(?:\+.*)?\Z")
_LISTED = 5  # names in a message
_SHOWN = 200  # characters of a name in a message
_HAVE = ("function", "instance")  # kinds of a component's exports that are a function or contain functions
_COMPARED = 1000  # names that are compared with a missing one
_JOINS = ("/", "#", ".")  # between the name of an interface and that of its function
_SEPARATOR = re.compile("[:/#@.]")
_RUN = "wasi:cli/run"
_HANDLERS = frozenset({"wasi:http/incoming-handler", "wasi:http/handler"})

# Why a module cannot be started: by the beginning of the name of one of its custom sections.
_UNFINISHED = {
    "dylink": "it is a shared library, to be linked into a program",
    "linking": "it is an object file, to be linked into a program",
    "component-type": "it must first be made a component, by `wasm-tools component new`",
}
# The environment for which a module was built: by a module that it imports.
_BUILT_FOR = {
    "gojs": "Go for JavaScript; build with GOOS=wasip1",
    "go": "Go for JavaScript; build with GOOS=wasip1",
    "wbg": "wasm-bindgen, for JavaScript; build for wasm32-wasip1",
    "__wbindgen_placeholder__": "wasm-bindgen, for JavaScript; build for wasm32-wasip1",
    wasi.WASI_UNSTABLE: "WASI's snapshot before 0.1; build with a newer tool chain",
    "wasi": "the proposal wasi-threads, or a draft of WASI",
    "wasix_32v1": "WASIX",
    "wasix_64v1": "WASIX",
}


def check(interface: Interface, func: str, imports: Imports, worlds: Collection[str]) -> None:
    """Check that the entry point exists, and that each import is provided with the right type.

    func: the function to call; empty for the default one.
    imports: what the engine provides.
    worlds: interfaces such as `wasi:cli/run@0.2`; a component must export one of them.
    Raises InvalidArgument; its text is a sentence without a subject, such as "exports no function 'f'".
    """
    if not interface.is_known:
        return
    if interface.is_component:
        _check_component_exports(interface, func, worlds)
        for item in interface.imports:
            _check_component_import(item, imports)
    else:
        _check_exports(interface, func)
        for item in interface.imports:
            _check_import(item, imports)


def compatible(name: str) -> tuple[str, str]:
    """Split `wasi:io/poll@0.2.3` into `wasi:io@0.2` and `poll`; any other name is returned with an empty string."""
    match = _INTERFACE.match(name)
    if match is None:
        return name, ""
    version = _track(match["version"] or "")
    return match["package"] + (f"@{version}" if version else ""), match["name"]


def exported(interface: Interface, world: str) -> str:
    """The full name of an exported interface, such as `wasi:cli/run@0.2.3`; empty if it is not exported."""
    wanted = compatible(world)
    return next((item.name for item in interface.exports if compatible(item.name) == wanted), "")


def shown(name: str) -> str:
    """A name from a file, made safe for a line on a terminal: cut, and escaped if it contains control characters."""
    name = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
    return name if name.isprintable() else repr(name)


def _track(version: str) -> str:
    """The part of a version that compatible versions share; the whole version for a pre-release."""
    match = _VERSION.match(version)
    if match is None or match[4]:
        return version
    major, minor, patch = match[1], match[2], match[3]
    return major if major != "0" else f"0.{minor}" if minor != "0" else f"0.0.{patch}"


def _check_import(item: Import, imports: Imports) -> None:
    names = imports.get(item.module, frozenset())
    if names is not None and item.name not in names:
        built_for = _BUILT_FOR.get(item.module, "")
        raise InvalidArgument(f"has an unknown import: {shown(str(item))}" + (f" ({built_for})" if built_for else ""))
    defined = wasi.SIGNATURES.get(item.module, {}).get(item.name, "")
    if defined and item.kind != "function":
        raise InvalidArgument(f"imports {item} as a {item.kind}, and it is a function")
    is_own = names is not None and f"{item.name}{item.signature}" in names
    if defined and item.signature and item.signature != defined and not is_own:
        raise InvalidArgument(f"imports {item} as {item.signature}, and its type is {defined}")


def _check_exports(interface: Interface, func: str) -> None:
    name = func or COMMAND
    if interface.function(COMMAND) and interface.function(INITIALIZE):
        raise InvalidArgument(
            f"exports both {COMMAND} and {INITIALIZE}: by WASI it is a command or a library, not both"
        )
    called = interface.function(name)
    if called is None:
        raise InvalidArgument(f"exports no function {name!r}{_instead(interface, func)}")
    for each in calls(interface, func):
        function = interface.function(each)
        if function is not None and function.parameters and (each != func or is_main(func)):
            raise InvalidArgument(f"has a function {each!r} that takes arguments, so it cannot be an entry point")
    if is_main(func):
        return
    for kind in (*(called.parameters or ()), *(called.results or ())):
        if kind not in values.NUMBERS:
            known = ", ".join(sorted(values.NUMBERS))
            text = f"values of type {kind} cannot be given or printed, but only {known}"
            raise InvalidArgument(f"has the function {values.described(called)}: {text}")


def is_main(func: str) -> bool:
    """Whether a core module's function is `_start` or `_initialize`: argv is the program's, not the function's."""
    return func in ("", COMMAND, INITIALIZE)


def has_values(interface: Interface, func: str) -> bool:
    """Whether a function may have parameters or results. func: as in `check`, which must have accepted it."""
    if interface.is_component:
        return function_paths(interface, func) != function_paths(interface, "")
    function = interface.function(func)
    if is_main(func) or function is None:
        return False
    return function.parameters != () or function.results != ()


def calls(interface: Interface, func: str) -> list[str]:
    """The functions of a core module to call, in order: `_initialize` of a library, then the function.

    Source: WebAssembly/WASI, legacy/application-abi.md. A command (`_start`) initializes itself.
    """
    name = func or COMMAND
    is_library = name not in (COMMAND, INITIALIZE) and interface.function(INITIALIZE) is not None
    return [INITIALIZE, name] if is_library else [name]


def function_paths(interface: Interface, func: str) -> list[list[str]]:
    """The paths at which the function of a component may be found: each is [interface, function] or [function].

    The export list does not show which functions an interface contains. An engine takes the one path at which
    there is a function.

    func: as in `check`; if empty, the function is `run` of a command of WASI 0.2. The name of an exported
    interface may precede the function's name, with or without package and version, separated by `/`, `#` or `.`.
    Returns an empty list if there is no such interface, or the component is not a command.
    """
    if not func:
        command = exported(interface, wasi.COMMAND_0_2)
        return [[command, "run"]] if command else []
    if interface.function(func):
        return [[func]]
    instances = [item.name for item in interface.exports if item.kind == "instance"]
    if not _SEPARATOR.search(func):
        return [[name, func] for name in instances]
    found = ([name, rest] for name in instances for rest in _without(func, name))
    return list(itertools.islice((path for path in found if path[1]), _LISTED))


def chosen_path(func: str, paths: list[list[str]], known: Mapping[str, str]) -> list[str]:
    """The one path of `function_paths` at which there is a function.

    known: the functions that the component exports, as `interface/function` or `function`, and their types.
    Raises InvalidArgument, like `check`, if there is no such path, or more than one.
    """
    found = [path for path in paths if "/".join(path) in known]
    if len(found) == 1:
        return found[0]
    if found:
        named = _listed(["/".join(path) for path in found])
        raise InvalidArgument(f"exports several functions {shown(func)!r}: name the interface too: {named}")
    near = similar(func, dict.fromkeys([*known, *(name.rpartition("/")[2] for name in known)]))
    described = [values.cut(f"{name}{of}") for name, of in itertools.islice(known.items(), _LISTED + 1)]
    raise InvalidArgument(f"exports no function {shown(func)!r}{near}{_called(described)}")


def similar(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the known names that are similar to a missing one; empty if none is."""
    short = [each for each in itertools.islice(known, _COMPARED) if len(each) <= _SHOWN]
    found = difflib.get_close_matches(name[:_SHOWN], short, _LISTED)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _without(func: str, instance: str) -> list[str]:
    """The rests of `func` after the interface's name, one for each form of that name with which `func` begins."""
    match = _INTERFACE.match(instance)
    package, name = (match["package"], match["name"]) if match else ("", instance)
    forms = {instance, name, f"{package}/{name}"} if match else {instance}
    return [
        func[len(form) + 1 :] for form in forms if func.startswith(form) and func[len(form) : len(form) + 1] in _JOINS
    ]


def _instead(interface: Interface, func: str) -> str:
    """The rest of the message for a module that lacks the function: what the module is, and what it exports instead."""
    other = next((item.kind for item in interface.exports if item.name == func), "")
    if other:
        return f": it is a {other}{_callable(interface)}"
    what = next((text for section, text in _UNFINISHED.items() if _has_section(interface, section)), "")
    if not what and interface.function(INITIALIZE) is not None:
        what = "it is a library (a reactor)"
    near = similar(func, (item.name for item in _functions(interface))) if func else ""
    return f"{near}{f'; {what}' if what else ''}{_callable(interface)}"


def _functions(interface: Interface) -> list[Export]:
    return [item for item in interface.exports if item.kind == "function" and not item.name.startswith("_")]


def _callable(interface: Interface) -> str:
    """The part of a message that lists functions that `path#function ARGUMENTS` can call."""
    return _called([values.described(item) for item in _functions(interface)[: _LISTED + 1]])


def _called(named: list[str]) -> str:
    return f"; path#function calls one of: {_listed(named)}" if named else ""


def _has_section(interface: Interface, beginning: str) -> bool:
    return any(name.startswith(beginning) for name in interface.custom)


def _check_component_exports(interface: Interface, func: str, worlds: Collection[str]) -> None:
    if func:
        if not function_paths(interface, func):
            raise InvalidArgument(f"exports no function {shown(func)!r} (it exports {_exports(interface)})")
    elif not any(exported(interface, world) for world in worlds):
        raise InvalidArgument(_no_command(interface, worlds))


def _no_command(interface: Interface, worlds: Collection[str]) -> str:
    """The message for a component that exports none of these worlds."""
    known = _listed(sorted(worlds))
    for item in interface.exports:
        match = _INTERFACE.match(item.name)
        name = f"{match['package']}/{match['name']}" if match else ""
        if name == _RUN:
            return f"is a command of another version of WASI: it exports {shown(item.name)}, not {known}"
        if name in _HANDLERS:
            return f"is an HTTP handler, which a server calls: it exports {shown(item.name)}, not {known}"
    inside = "/FUNCTION"
    named = [
        item.name + (inside if item.kind == "instance" else "") for item in interface.exports if item.kind in _HAVE
    ]
    return f"is not a command: it exports {_exports(interface)}, not {known}{_called(named)}"


def _exports(interface: Interface) -> str:
    return _listed([item.name for item in interface.exports]) or "nothing"


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names[:_LISTED])) + (", …" if len(names) > _LISTED else "")


def _check_component_import(item: Import, imports: Imports) -> None:
    if item.kind == "type":  # a type that equals another one: the engine need not provide it
        return
    package, name = compatible(item.name)
    names = imports.get(package, frozenset())
    if item.kind != "instance" or (names is not None and name not in names):
        raise InvalidArgument(f"has an unknown import: {shown(str(item))}")
