"""The tutorials, followed word for word."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pelagos_core.conformance.environment import environment_with

pytestmark = [pytest.mark.container]

ROOT = Path(__file__).parent.parent.parent
# What is not run here: `make run` and the PATH are this environment's own.
_SET_UP = ("make run", "export PATH=")


def blocks(page, language):
    text = (ROOT / "docs/tutorial" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def sessions(page):
    """The commands of a page's console blocks, each with what it is said to print."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def run(command, python=sys.executable, cwd=ROOT):
    environment = {**os.environ, "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
    return subprocess.run(command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "command",
    [line for block in blocks("container.md", "sh") for line in block.splitlines() if not line.startswith(_SET_UP)],
)
def test_a_command_of_the_first_container_works(command):
    done = run(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(("command", "output"), list(sessions("container.md")))
def test_the_first_container_prints_what_is_shown(command, output):
    done = run(command)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_the_first_backend_is_a_package_that_can_be_chosen(tmp_path):
    (source,) = blocks("backend.md", "python")
    project = next(block for block in blocks("backend.md", "toml") if "build-system" in block)
    directory = tmp_path / "echo"
    directory.mkdir()
    (directory / "echo_backend.py").write_text(source)
    (directory / "pyproject.toml").write_text(project)
    built = run(f"{sys.executable} -m build -nw -o {tmp_path} {directory}")
    assert built.returncode == 0, built.stdout + built.stderr
    python = environment_with(tmp_path / "venv")
    site = next((tmp_path / "venv/lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(site)
    pelagos = f"{python} -m pelagos_core"
    (command, output) = next(pair for pair in sessions("backend.md") if pair[1])
    done = run(command.replace("pelagos", pelagos, 1))
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")
    assert "echo" in run(f"{pelagos} backends").stdout


def test_the_backend_of_the_tutorial_is_that_of_the_readme():
    (source,) = blocks("backend.md", "python")
    assert source in (ROOT / "README.md").read_text()


def test_the_service_of_the_tutorial_is_that_of_the_page_on_serving():
    (source,) = blocks("service.md", "rust")
    assert f"```rust\n{source}```" in (ROOT / "docs/serving.md").read_text()
