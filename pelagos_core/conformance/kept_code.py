"""The cache of compiled code as a test sees it: what is in it, and how to spoil that."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


class KeptCode:
    """The cache of compiled code of one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def code(self) -> Path:
        """The one file of code that is there."""
        (found,) = self.directory.glob("*/code")
        return found

    def replace(self, data: bytes, *, sealed: bool = False) -> None:
        """Put other bytes in its place. sealed: with a digest that fits."""
        code = self.code()
        files = {code: data}
        if sealed:
            about = json.loads((code.parent / "about").read_bytes())
            about |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            files[code.parent / "about"] = json.dumps(about).encode()
            (code.parent / "seen").unlink()
        for path, content in files.items():
            path.chmod(0o600)
            path.write_bytes(content)
            path.chmod(0o444)
