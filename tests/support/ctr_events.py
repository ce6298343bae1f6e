"""Collects the output of `ctr events`."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from typing import Any

from tests.support.containerd import Containerd, until


class CtrEvents:
    """A running `ctr events`; a context manager that ends it."""

    def __init__(self, containerd: Containerd) -> None:
        self._containerd = containerd
        self._lines: list[str] = []

    def __enter__(self) -> CtrEvents:
        self._process = subprocess.Popen(self._containerd.command("events"), stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        # Create events until one is printed: only then `ctr` is known to listen.
        until(lambda: self._containerd.ctr("namespace", "label", "default", "listening=yes") and self._lines)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()

    def of(self, container: str) -> list[tuple[str, dict[str, Any]]]:
        """The task events of a container: the last word of each topic, and the fields."""
        found = []
        for line in list(self._lines):
            topic, fields = re.search(r"/tasks/(\S+)", line), json.loads(line[line.index("{") :])
            if topic and fields.get("container_id") == container:
                found.append((topic[1], fields))
        return found

    def topics(self, container: str) -> list[str]:
        """The last words of a container's topics, in order."""
        return [topic for topic, _ in self.of(container)]

    def until(self, container: str, *topics: str) -> None:
        """Wait until exactly these topics were published for a container."""
        until(lambda: self.topics(container) == list(topics), 20, lambda: str(self.topics(container)))

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if "{" in line:
                self._lines.append(line)
