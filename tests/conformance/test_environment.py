"""The environments in which the kit puts other backends beside the one that is tried."""

import subprocess
import sysconfig
from pathlib import Path

from pelagos_core.conformance.environment import environment_with


def test_a_program_that_pip_has_brought_is_there_too(tmp_path):
    """An engine's program is in its environment's own directory, and its backend looks for it there."""
    python = Path(environment_with(tmp_path / "venv"))
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('scripts'))"], capture_output=True, text=True
    )
    scripts = Path(found.stdout.strip())
    assert scripts == python.parent
    assert (scripts / "pytest").resolve() == (Path(sysconfig.get_path("scripts")) / "pytest").resolve()
    assert (scripts / "python").exists()
