"""The committed protobuf code is what protos/ gives today."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROTOS = sorted(path.relative_to(ROOT / "protos") for path in (ROOT / "protos").rglob("*.proto"))


def test_the_generated_code_is_fresh(tmp_path):
    pytest.importorskip("grpc_tools", reason="make protos has the compiler")
    words = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        "protos",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    subprocess.run([*words, *(f"protos/{path}" for path in PROTOS)], cwd=ROOT, check=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    kept = {path.relative_to(ROOT): path.read_text() for path in (ROOT / "pelagos_core/api").glob("*_pb2.py*")}
    assert made == kept, "run `make protos`"
