"""`--json` and `--format`: one declaration, two spellings."""

import json
import subprocess
import sys

import pytest


def pelagos(*words):
    return subprocess.run([sys.executable, "-m", "pelagos_core", *words], capture_output=True, text=True)


@pytest.mark.parametrize("flags", [["--json"], ["--format", "json"], ["--format=json"], ["--json", "--format", "json"]])
def test_both_spellings_print_json(flags):
    assert set(json.loads(pelagos("version", *flags).stdout)) == {"pelagos", "python", "kernel"}


def test_a_table_is_what_is_printed_without():
    assert pelagos("version", "--format", "table").stdout == pelagos("version").stdout


@pytest.mark.parametrize("flags", [["--json", "--format", "table"], ["--format=json", "--format=table"]])
def test_the_last_of_several_is_used(flags):
    assert pelagos("version", *flags).stdout == pelagos("version").stdout


def test_a_template_as_docker_has_is_refused_by_name():
    done = pelagos("version", "--format", "{{.Names}}")
    assert done.returncode == 2
    assert "'{{.Names}}' is not one of 'table', 'json'" in done.stderr
