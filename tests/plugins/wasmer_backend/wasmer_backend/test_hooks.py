"""What Wasmer's answers depend on."""

from dataclasses import replace

import pytest

from pelagos_core.oci import Mount, Process, Spec
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind
from pelagos_core.plugin.program import Program
from wasmer_backend.hooks import Wasmer

ENTRYPOINT = Entrypoint(Kind.MODULE, "/x.wasm", "", ("/x.wasm",), (), "/", -1)
OTHER_WORDS = {"path": "/y", "args": ("/y", "z"), "env": ("A=1",), "cwd": "/data"}


@pytest.fixture
def program():
    made = Wasmer()
    made.program, made.problem = Program("/usr/bin/wasmer", "/usr/bin/wasmer", (), ("/usr/bin/wasmer",)), ""
    return made


def bundle(*mounts):
    return Bundle("c1", "ns", "/", Spec(process=Process(args=("/x",)), mounts=mounts))


def test_an_answer_that_is_kept_depends_on_no_word_of_the_container(program):
    said = program.pelagos_detect(bundle(), ENTRYPOINT)
    assert (said.score, said.kept) == (92, True)
    assert program.pelagos_detect(bundle(), replace(ENTRYPOINT, **OTHER_WORDS)) == said
    readonly = program.pelagos_detect(bundle(Mount("/data", "bind", "/x", ("ro",))), ENTRYPOINT)
    assert (readonly.score, readonly.kept) == (50, True)  # of which the key has a field


def test_the_answer_for_text_depends_on_the_file_s_name_and_is_not_kept(program):
    text = replace(ENTRYPOINT, kind=Kind.WAT)
    said = [program.pelagos_detect(bundle(), each) for each in (text, replace(text, path="/y"))]
    assert [(answer.score, answer.kept) for answer in said] == [(92, False), (0, False)]
    assert said[1].reason == "Wasmer's program takes text only from a file *.wat or *.wasm"
