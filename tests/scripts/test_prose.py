"""The checker of the project's English: what is prose, which line a fault is in, and what is no fault."""

import pytest

from scripts import prose


@pytest.fixture(scope="module")
def rules():
    return prose.Rules.load()


def found(rules, kind, text):
    """Rule, words and line of each fault."""
    return [
        (rule, words, block.line_of(offset))
        for block in prose.BLOCKS[kind](text)
        for offset, rule, words, _ in rules.faults(block)
    ]


LONG = " ".join(["Word"] + ["and so on"] * 11)


@pytest.mark.parametrize(
    ("kind", "text", "faults"),
    [
        ("markdown", "# A\n\nA process\nwhose client, nobody, waits.\n", [("person", "nobody", 4)]),
        ("markdown", "| a | b |\n|---|---|\n| x | the kernel wants it |\n", [("person", "wants", 3)]),
        ("markdown", "1. One.\n2. It is [made\n   anew](x.md).\n", [("inversion", "anew", 3)]),
        ("markdown", "```sh\nwho\n```\n\nIt is the the end.\n", [("repeated", "the the", 5)]),
        ("markdown", f"Short.\n{LONG}.\n", [("length", LONG[:40], 2)]),
        ("markdown", "`who` and <!-- who --> are no prose: [a](who.md).\n", []),
        ("markdown", "Users who read this are people.\n", []),
        ("docstrings", 'def f():\n    """One.\n\n    :param a: nobody\'s.\n    """\n', [("person", "nobody", 4)]),
        ("docstrings", 'TEXT = """nobody"""\n', []),
        ("comments", "x = 1  # of nobody\n# It\n# lives.\n", [("person", "nobody", 1), ("person", "lives", 3)]),
        ("comments", "x = '# nobody'  # noqa: S101\n", []),
        ("messages", "raise Fault(f'{name}: nobody has it')\n", [("person", "nobody", 1)]),
        ("messages", '"""A docstring for nobody at all."""\nx = "nobody"\n', []),
        ("c", "/* One.\n * It dies. */\nint x; // for nobody\n", [("person", "dies", 2), ("person", "nobody", 3)]),
        ("hash", "a: 1 # it\n# One.\n# It dies.\n", [("person", "dies", 3)]),
        ("c", 'char *a = "nobody is told";\n', []),
    ],
)
def test_faults_are_found_in_prose_alone(rules, kind, text, faults):
    assert found(rules, kind, text) == faults


def test_a_colon_or_semicolon_ends_a_sentence():
    parts = [text for _, text in prose.sentences('It is so: one; two. "Three" is next, e.g. this.')]
    assert parts == ["It is so", "one", "two", '"Three" is next, e.g. this.']


def test_a_fault_names_the_place_the_words_and_a_better_wording(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("# A\n\nNobody is here.\n")
    assert prose.main([]) == 1
    assert capsys.readouterr().out == ('README.md:3: person: "Nobody": write "no process", "no client", "no user"\n')
    (tmp_path / "README.md").write_text("# A\n")
    assert prose.main([]) == 0


def test_every_pattern_of_the_rules_names_files(rules):
    for kind, globs in rules.files.items():
        assert kind in prose.BLOCKS
        for glob in globs:
            assert list(prose.ROOT.glob(glob)), glob
