"""Whether it can be linked and started: imports, their types and versions, exports, and what is said if not."""

import re

import pytest
import wasmtime

from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin import linking, wasi
from pelagos_core.plugin.interface import UNKNOWN, Export, Import, Interface

KNOWN = {wasi.WASI_0_1: wasi.WASI_0_1_FUNCTIONS, **wasi.WASI_0_2_INTERFACES, "any": None, "some:any": None}
START = (Export("_start", "function", "() -> ()"),)
RUN = (Export("wasi:cli/run@0.2.3", "instance"),)


def check(interface, func=""):
    linking.check(interface, func, KNOWN, (wasi.COMMAND_0_2,))


def fault(interface, func=""):
    with pytest.raises(InvalidArgument) as raised:
        check(interface, func)
    return str(raised.value)


def module(*imports, exports=START, custom=()):
    return Interface(tuple(Import(*item) for item in imports), exports, custom)


def component(*imports, exports=RUN):
    return Interface(tuple(Import("", *item) for item in imports), exports, is_component=True)


def test_the_types_of_wasi_are_those_of_an_engine():
    engine = wasmtime.Engine()
    linker, store = wasmtime.Linker(engine), wasmtime.Store(engine)
    linker.define_wasi()
    assert len(wasi.WASI_0_1_FUNCTIONS) == 46
    for name, signature in wasi.SIGNATURES[wasi.WASI_0_1].items():
        kind = linker.get(store, wasi.WASI_0_1, name).type(store)
        words = [", ".join(map(str, each)) for each in (kind.params, kind.results)]
        assert f"({words[0]}) -> ({words[1]})" == signature, name


@pytest.mark.parametrize(
    "interface",
    [
        module(),
        module(("any", "thing", "memory")),
        module((wasi.WASI_0_1, "proc_exit", "function", "(i32) -> ()")),
        module((wasi.WASI_0_1, "proc_exit", "function")),
        component(("wasi:io/poll@0.2.0", "instance"), ("wasi:io/streams@0.2.99", "instance"), ("t", "type")),
        component(("some:any/thing", "instance")),
        UNKNOWN,
    ],
)
def test_what_is_provided_can_be_linked(interface):
    check(interface)


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (module(("env", "f", "function")), "has an unknown import: env::f"),
        (module((wasi.WASI_0_1, "no_such", "function")), f"has an unknown import: {wasi.WASI_0_1}::no_such"),
        (module(("gojs", "x", "function")), "unknown import: gojs::x (Go for JavaScript; build with GOOS=wasip1)"),
        (module((wasi.WASI_UNSTABLE, "fd_seek", "function")), "snapshot before 0.1"),
        (module((wasi.WASI_0_1, "fd_write", "memory")), f"imports {wasi.WASI_0_1}::fd_write as a memory"),
        (module((wasi.WASI_0_1, "fd_close", "function", "() -> (i32)")),
         "as () -> (i32), and its type is (i32) -> (i32)"),
        (component(("wasi:http/types@0.2.0", "instance")), "has an unknown import: wasi:http/types@0.2.0"),
        (component(("wasi:io/poll@0.3.0", "instance")), "has an unknown import: wasi:io/poll@0.3.0"),
        (component(("wasi:io/poll@0.2.0-rc-1", "instance")), "has an unknown import: wasi:io/poll@0.2.0-rc-1"),
        (component(("wasi:io/nothing@0.2.0", "instance")), "has an unknown import: wasi:io/nothing@0.2.0"),
        (component(("plain", "function")), "has an unknown import: plain"),
        (component(("r", "resource")), "has an unknown import: r"),
    ],
)  # fmt: skip
def test_an_import_that_is_not_provided_as_it_is_asked_for_is_named(interface, message):
    assert message in fault(interface)


LIBRARY = (
    Export("_initialize", "function", "() -> ()"),
    Export("add", "function", "(i32, i32) -> (i32)"),
    Export("go", "function", "() -> ()"),
)


@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (module(exports=()), "exports no function '_start'"),
        (module(exports=(Export("_start", "memory"),)), "exports no function '_start'"),
        (module(exports=(Export("_start", "function", "(i32) -> ()"),)),
         "has a function '_start' that takes arguments"),
        (module(exports=LIBRARY),
         "no function '_start'; it is a library (a reactor); path#function calls one of: add(i32, i32) -> i32, go()"),
        (module(exports=(), custom=("dylink.0",)), "it is a shared library"),
        (module(exports=(), custom=("linking", "reloc.CODE")), "it is an object file"),
        (module(exports=(), custom=("component-type:x",)), "it must first be made a component"),
        (component(exports=(Export("wasi:cli/run@0.3.0", "instance"),)),
         "is a command of another version of WASI: it exports wasi:cli/run@0.3.0, not wasi:cli/run@0.2"),
        (component(exports=(Export("wasi:cli/run@0.3.0-rc-2025-09-16", "instance"),)), "another version of WASI"),
        (component(("wasi:http/types@0.2.0", "instance"),
                   exports=(Export("wasi:http/incoming-handler@0.2.0", "instance"),)),
         "is an HTTP handler, which a server calls: it exports wasi:http/incoming-handler@0.2.0, not wasi:cli/run@0.2"),
        (component(exports=(Export("a:b/c@1.0.0", "instance"), Export("f", "function"))),
         "is not a command: it exports a:b/c@1.0.0, f, not wasi:cli/run@0.2;"
         " path#function calls one of: a:b/c@1.0.0/FUNCTION, f"),
        (module(exports=(*START, Export("_initialize", "function", "() -> ()"))),
         "exports both _start and _initialize: by WASI it is a command or a library, not both"),
        (component(exports=()), "is not a command: it exports nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_reported_for_what_it_is(interface, message):
    assert message in fault(interface)


def test_objects_that_were_linked_with_their_relocations_run():
    check(module(custom=("linking", "reloc.CODE")))


@pytest.mark.parametrize(
    ("exports", "func", "calls"),
    [
        (LIBRARY, "go", ["_initialize", "go"]),
        (LIBRARY, "_initialize", ["_initialize"]),
        (START, "", ["_start"]),
        (LIBRARY, "add", ["_initialize", "add"]),
        ((*START, Export("go", "function", "() -> ()")), "go", ["go"]),
        ((Export("_initialize", "memory"), Export("go", "function", "() -> ()")), "go", ["go"]),
    ],
)
def test_a_library_is_initialized_before_a_function_of_it_is_called(exports, func, calls):
    assert linking.calls(module(exports=exports), func) == calls
    check(module(exports=exports), func)


FACES = (Export("my:own/face@1.0.0", "instance"), Export("my:own/other", "instance"), Export("mine", "function"))


@pytest.mark.parametrize(
    ("func", "paths"),
    [
        ("mine", [["mine"]]),
        *((f"{name}{join}go", [["my:own/face@1.0.0", "go"]])
          for name in ("my:own/face@1.0.0", "my:own/face", "face") for join in "/#."),
        ("my:own/other/go", [["my:own/other", "go"]]),
        ("my:own/face@1.0.0/[method]thing.go", [["my:own/face@1.0.0", "[method]thing.go"]]),
        ("go", [["my:own/face@1.0.0", "go"], ["my:own/other", "go"]]),
        ("my:own/none/go", []),
        ("my:own/face@2.0.0/go", []),
        ("my:own/face@1.0.0/", []),
        ("my:own/face@1.0.0", []),
        ("", []),
    ],
)  # fmt: skip
def test_names_lead_to_the_functions_that_may_be_meant(func, paths):
    assert linking.function_paths(component(exports=FACES), func) == paths


KNOWN_FUNCTIONS = {"mine": "()", "my:own/face@1.0.0/go": "(x: u32)", "my:own/other/go": "()", "my:own/other/walk": "()"}


def test_the_path_that_leads_to_a_function_is_chosen():
    for func, path in (
        ("walk", ["my:own/other", "walk"]),
        ("face/go", ["my:own/face@1.0.0", "go"]),
        ("mine", ["mine"]),
    ):
        paths = linking.function_paths(component(exports=FACES), func)
        assert linking.chosen_path(func, paths, KNOWN_FUNCTIONS) == path


@pytest.mark.parametrize(
    ("func", "message"),
    [
        ("go", "exports several functions 'go': name the interface too: my:own/face@1.0.0/go, my:own/other/go"),
        ("wolk", "exports no function 'wolk'; did you mean 'walk'?; path#function calls one of: mine(), "
         "my:own/face@1.0.0/go(x: u32), my:own/other/go(), my:own/other/walk()"),
        ("other/none", "exports no function 'other/none'"),
    ],
)  # fmt: skip
def test_a_name_that_leads_to_none_or_several_is_refused(func, message):
    paths = linking.function_paths(component(exports=FACES), func)
    with pytest.raises(InvalidArgument, match=f"^{re.escape(message)}"):
        linking.chosen_path(func, paths, KNOWN_FUNCTIONS)


def test_without_a_name_it_is_the_function_of_a_command():
    assert linking.function_paths(component(), "") == [["wasi:cli/run@0.2.3", "run"]]


def test_many_interfaces_that_may_be_meant_are_few_in_the_end():
    exports = tuple(Export(f"a{number}:b/face", "instance") for number in range(10_000))
    assert len(linking.function_paths(component(exports=exports), "face/go")) < 10


@pytest.mark.parametrize(
    ("interface", "func", "message"),
    [
        (module(exports=LIBRARY), "ad", "exports no function 'ad'; did you mean 'add'?; it is a library"),
        (module(exports=(*START, Export("m", "memory"))), "m", "exports no function 'm': it is a memory"),
        (module(exports=(Export("_initialize", "function", "(i32) -> ()"), Export("go", "function", "() -> ()"))),
         "go", "'_initialize' that takes arguments"),
        (module(exports=(Export("f", "function", "(v128) -> ()"),)), "f",
         "has the function f(v128): values of type v128 cannot be given or printed"),
        (module(exports=(Export("f", "function", "() -> (i32, externref)"),)), "f",
         "has the function f() -> (i32, externref): values of type externref cannot be given"),
        (component(exports=(Export("go", "function"), Export("a:b/c@1.0.0", "instance"))), "a:b/d/f",
         "exports no function 'a:b/d/f' (it exports go, a:b/c@1.0.0)"),
        (component(exports=(Export("go", "function"),)), "f", "exports no function 'f' (it exports go)"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_called_is_refused(interface, func, message):
    assert message in fault(interface, func)


@pytest.mark.parametrize(
    ("interface", "func", "has_values"),
    [
        (module(exports=LIBRARY), "go", False),
        (module(exports=LIBRARY), "add", True),
        (module(exports=LIBRARY), "_initialize", False),
        (module(exports=(Export("f", "function", "() -> (i32)"),)), "f", True),
        (module(exports=(Export("f", "function"),)), "f", True),  # its type is not known
        (module(exports=(Export("_start", "function", "() -> (i32)"),)), "", False),
        (component(), "", False),
        (component(), "wasi:cli/run@0.2.3/run", False),
        (component(exports=FACES), "mine", True),
    ],
)
def test_a_function_has_values_unless_it_takes_and_returns_nothing(interface, func, has_values):
    assert linking.has_values(interface, func) == has_values


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("wasi:io/poll@0.2.3", ("wasi:io@0.2", "poll")),
        ("a:b/c@1.4.2", ("a:b@1", "c")),
        ("a:b/c@0.0.7", ("a:b@0.0.7", "c")),
        ("a:b/c@0.2.0+build", ("a:b@0.2", "c")),
        ("a:b/c@2.0.0-alpha", ("a:b@2.0.0-alpha", "c")),
        ("a:b/c", ("a:b", "c")),
        ("plain", ("plain", "")),
    ],
)
def test_versions_that_are_compatible_are_one(name, parts):
    assert linking.compatible(name) == parts


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "a\nb", "x" * 5_000_000])
def test_a_hostile_name_is_reported_in_one_short_line(name):
    for interface in (
        module((name, name, "function")),
        module(exports=(Export(name, "function", "() -> ()"),)),
        component((name, "instance")),
        component(exports=(Export(name, "instance"),)),
    ):
        text = fault(interface)
        assert text.isprintable()
        assert len(text) < 1000
