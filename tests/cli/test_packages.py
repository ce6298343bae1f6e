"""Commands in messages are those that work where they are read."""

import os
import sys

import pytest

from pelagos_core.cli import packages


@pytest.mark.parametrize(
    ("prefix", "pip", "command"),
    [
        ("{0}/opt/pelagos", True, "{0}/opt/pelagos/bin/pip install a"),
        ("{0}/opt/pelagos", False, "{0}/opt/pelagos/bin/python -m pip install a"),
        ("{0}/pipx/venvs/pelagos-core", True, "pipx inject pelagos-core a"),
    ],
)
def test_a_package_is_added_by_the_environments_own_means(monkeypatch, tmp_path, prefix, pip, command):
    place = prefix.format(tmp_path)
    os.makedirs(f"{place}/bin")
    if pip:
        open(f"{place}/bin/pip", "w").close()
    monkeypatch.setattr(sys, "prefix", place)
    monkeypatch.setattr(sys, "executable", f"{place}/bin/python")
    assert packages.adding("a") == command.format(tmp_path)
