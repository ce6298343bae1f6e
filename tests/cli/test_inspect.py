"""`pelagos inspect`: what is said of modules, components, text and files that are none; and how it looks."""

import json
import subprocess
import sys

import pytest

from pelagos_core.cli import inspection
from pelagos_core.conformance import modules
from pelagos_core.plugin.interface import Export, Import, Interface
from tests.integration.test_functions import NUMBERS, TEXTS
from tests.support.screen import at_terminal

PELAGOS = [sys.executable, "-m", "pelagos_core"]


def inspect(directory, source, *options, func=""):
    path = directory / "app.wasm"
    path.write_bytes(source if isinstance(source, bytes) else modules.binary(source))
    words = [*PELAGOS, "inspect", *options, f"{path}#{func}" if func else str(path)]
    return subprocess.run(words, capture_output=True, text=True)


def as_json(directory, source, func=""):
    done = inspect(directory, source, "--json", func=func)
    return done.returncode, json.loads(done.stdout)


def test_a_library_is_reported_with_the_types_of_its_functions(tmp_path):
    code, said = as_json(tmp_path, NUMBERS)
    assert (code, said["kind"], said["role"], said["worlds"], said["chosen"]) == (
        1,
        "core module",
        "library",
        ["WASI 0.1"],
        "",
    )
    imports = {"module": "wasi_snapshot_preview1", "name": "proc_exit", "kind": "function", "type": "(i32) -> ()"}
    assert imports in said["imports"]
    exports = {each["name"]: (each["kind"], each["type"]) for each in said["exports"]}
    assert exports["add"] == ("function", "(i32, i32) -> (i32)")
    assert exports["pi"] == ("global", "")
    assert said["memories"] == [{"minimum": 65536, "maximum": None, "is_shared": False, "is_64": False}]
    assert {"multi-value", "simd"} <= set(said["proposals"])
    why = next(each["reason"] for each in said["answers"] if each["backend"] == "wasmtime")
    assert "it is a library (a reactor); path#function calls one of: ready() -> i32, add(i32, i32) -> i32" in why
    assert as_json(tmp_path, NUMBERS, func="add")[0] == 0


def test_a_component_is_reported_with_the_functions_of_its_interfaces(tmp_path):
    code, said = as_json(tmp_path, modules.COMPONENT)
    assert (code, said["kind"], said["role"], said["worlds"]) == (0, "component", "command", ["wasi:cli/command@0.2.0"])
    assert said["chosen"] == "wasmtime"
    _, said = as_json(tmp_path, TEXTS)
    exports = {each["name"]: each["type"] for each in said["exports"]}
    assert exports["my:own/numbers@1.2.0/add"] == "(x: u32, y: u32) -> u32"
    assert exports["echo-text"] == "(s: string) -> string"
    assert [as_json(tmp_path, TEXTS, func=func)[0] for func in ("do-nothing", "more/add", "add", "none")] == [
        0,
        0,
        1,
        1,
    ]


def test_memories_and_proposals_are_reported(tmp_path):
    source = """(module (memory 1 2 shared) (memory i64 1) (tag) (type (func (param externref) (result v128 i32)))
      (data "x") (func (export "_start") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0))))"""
    _, said = as_json(tmp_path, source)
    assert said["memories"][0] == {"minimum": 65536, "maximum": 131072, "is_shared": True, "is_64": False}
    assert said["proposals"] == sorted(
        {"threads", "memory64", "multi-memory", "exceptions", "reference-types", "simd", "multi-value", "bulk-memory"}
    )


def test_what_a_tool_chain_has_compiled_with_is_reported(tmp_path):
    features = b"\2+\7simd128-\7atomics"
    text = '(module (@custom "target_features" "%s") (func (export "_start")))'
    source = text % "".join(f"\\{byte:02x}" for byte in features)
    assert as_json(tmp_path, source)[1]["proposals"] == ["simd"]


@pytest.mark.parametrize(
    ("source", "kind", "code", "problem"),
    [
        (b"", "file of unknown kind", 1, ""),
        (modules.BAD["cut in the middle"], "core module", 1, "is not valid WebAssembly"),
        (b'(module (func (export "_start")))', "WebAssembly text", 0, ""),
        (b"#!/bin/sh\n", "script", 0, ""),
    ],
)
def test_whatever_the_file_something_is_reported(tmp_path, source, kind, code, problem):
    told, said = as_json(tmp_path, source)
    assert (told, said["kind"], problem in said["problem"]) == (code, kind, True)
    done = inspect(tmp_path, source)
    assert (done.returncode, done.stderr, kind in done.stdout) == (code, "", True)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    done = subprocess.run([*PELAGOS, "inspect", str(tmp_path / "none")], capture_output=True, text=True)
    assert (done.returncode, "is neither a file nor a container" in done.stderr) == (1, True)


def test_a_row_is_a_line_in_a_pipe(tmp_path):
    lines = inspect(tmp_path, NUMBERS, func="add").stdout.splitlines()
    assert next(line for line in lines if line.startswith("same ")).endswith(
        "(i32, i64, f32, f64) -> (i32, i64, f32, f64)"
    )
    assert lines[-1].startswith("wasmtime would run it: ")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_a_terminal(tmp_path, width):
    (tmp_path / "app.wasm").write_bytes(modules.binary(TEXTS))
    code, screen = at_terminal([*PELAGOS, "inspect", str(tmp_path / "app.wasm#echo-text")], {}, (width, 50))
    assert code == 0
    assert max(map(len, screen.splitlines())) <= width
    assert "\x1b" not in screen.replace("\x1b[K", "")


@pytest.mark.parametrize(
    ("interface", "role"),
    [
        (Interface(exports=(Export("_start", "function"),)), "command"),
        (Interface(exports=(Export("_start", "function"),), custom=("linking",)), "command"),
        (Interface(exports=(Export("f", "function"),), custom=("linking",)), "object file"),
        (Interface(custom=("dylink.0",)), "shared library"),
        (Interface(custom=("component-type:x",)), "to become a component"),
        (
            Interface(exports=(Export("wasi:http/incoming-handler@0.2.0", "instance"),), is_component=True),
            "HTTP handler",
        ),
        (Interface(exports=(Export("a:b/c@0.2.0", "instance"),), is_component=True), "library"),
        (Interface(is_known=False), ""),
    ],
)
def test_a_module_is_for_something(interface, role):
    assert inspection._role(interface) == role


def test_the_worlds_of_a_module_are_those_of_its_imports():
    interface = Interface((Import("wasi_unstable", "f", "function"), Import("wasix_32v1", "g", "function")))
    assert inspection._worlds(interface) == ("WASI's snapshot before 0.1", "WASIX")
