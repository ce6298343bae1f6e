"""Checkouts of the public suite, in the layouts that it has had, and what is read from them."""

import json

import pytest

from pelagos_core.conformance.wasi_testsuite import cases


def program(directory, name, **said):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.wasm").touch()
    if said:
        (directory / f"{name}.json").write_text(json.dumps(said))


def test_the_layouts_of_then_and_now_and_a_part_of_either_are_found(tmp_path):
    program(tmp_path / "old/tests/rust/testsuite", "a")
    program(tmp_path / "new/tests/c/testsuite/wasm32-wasip1", "b")
    program(tmp_path / "new/tests/c/testsuite/wasm32-wasip3", "c")
    program(tmp_path / "new/target", "not_of_the_suite")
    assert [(case.name, case.needs) for case in cases(tmp_path / "old")] == [("rust/a", ("wasi-0.1",))]
    assert [(case.name, case.needs) for case in cases(tmp_path / "new")] == [
        ("c/b", ("wasi-0.1",)),
        ("c/c", ("wasi-0.3",)),
    ]
    assert [case.name for case in cases(tmp_path / "new/tests/c/testsuite/wasm32-wasip1")] == ["c/b"]
    assert [case.name for case in cases(tmp_path / "new/target")] == ["target/not_of_the_suite"]


def test_a_program_without_a_file_of_its_own_has_to_end_with_0(tmp_path):
    program(tmp_path / "testsuite", "a")
    (case,) = cases(tmp_path)
    assert (case.args, case.env, case.root, case.dirs, case.exit_code, case.outputs) == ([], {}, "", [], 0, {})


def test_what_is_said_of_a_program_is_taken(tmp_path):
    said = {"args": ["a"], "env": {"B": "c"}, "root": "d.dir", "exit_code": 3, "stdout": "e", "stderr": ""}
    program(tmp_path / "testsuite", "a", **said)
    (case,) = cases(tmp_path)
    assert (case.args, case.env, case.root, case.exit_code) == (["a"], {"B": "c"}, "d.dir", 3)
    assert case.outputs == {"stdout": "e", "stderr": ""}


def test_operations_say_the_same(tmp_path):
    operations = [
        {"type": "run", "args": ["a"], "root": "d.dir"},
        {"type": "read", "payload": "e"},
        {"type": "wait", "exit_code": 3},
    ]
    program(tmp_path / "testsuite", "a", operations=operations)
    (case,) = cases(tmp_path)
    assert (case.args, case.root, case.exit_code, case.outputs) == (["a"], "d.dir", 3, {"stdout": "e"})
    assert case.beyond == ""


@pytest.mark.parametrize(
    ("said", "beyond"),
    [
        ({"operations": [{"type": "run"}, {"type": "connect"}, {"type": "wait"}]}, "connect"),
        ({"operations": [{"type": "run"}], "proposals": ["http"]}, "http"),
    ],
)
def test_what_is_not_known_here_is_named(tmp_path, said, beyond):
    program(tmp_path / "testsuite", "a", **said)
    assert cases(tmp_path)[0].beyond == beyond


def test_a_manifest_has_the_target_if_the_directory_does_not(tmp_path):
    program(tmp_path / "testsuite", "a")
    (tmp_path / "testsuite/manifest.json").write_text(json.dumps({"name": "x", "version": "wasm32-wasip3"}))
    assert cases(tmp_path)[0].needs == ("wasi-0.3",)
