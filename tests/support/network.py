"""Network namespaces for tests, with small servers and clients in them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_LOOPBACK = "ip link set lo up 2>/dev/null; echo ready; exec sleep 1000"

# A DNS server: answers a question for a known name with one A record (RFC 1035), other types with no record.
_DNS = """
import socket, sys
names = dict(word.split("=") for word in sys.argv[1:])
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    data, client = server.recvfrom(512)
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    question, kind = data[12 : at + 5], data[at + 1 : at + 3]
    found = names.get(".".join(labels))
    answer = b""
    if found and kind == b"\\0\\1":
        answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton(found)
    flags = b"\\x81\\x80" if found else b"\\x81\\x83"
    head = data[:2] + flags + b"\\0\\1" + (b"\\0\\1" if answer else b"\\0\\0") + b"\\0\\0\\0\\0"
    server.sendto(head + question + answer, client)
"""

_ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        while data := client.recv(4096):
            client.sendall(data)
"""

_HTTP = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"you asked {self.headers['Host']}".encode())
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(("127.0.0.1", 80), Handler)
print("ready", flush=True)
server.serve_forever()
"""

_ASK = """
import socket, sys
kind, host, port, text = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as client:
    client.settimeout(10)
    client.connect((host, int(port)))
    client.sendall(text.encode())
    print(client.recv(4096).decode(), end="")
"""


@dataclass(frozen=True)
class Network:
    """A network namespace that a process keeps open. path: its path for a spec."""

    pid: int

    @property
    def path(self) -> str:
        return f"/proc/{self.pid}/ns/net"

    @property
    def inode(self) -> int:
        return os.stat(self.path).st_ino

    @contextlib.contextmanager
    def serving_names(self, **names: str) -> Iterator[None]:
        """Run a DNS server at 127.0.0.1 with these names; `_` in a name stands for a dot."""
        words = [f"{name.replace('_', '.')}={address}" for name, address in names.items()]
        with self._serving(_DNS, *words):
            yield

    @contextlib.contextmanager
    def echoing(self, address: str = "127.0.0.1", port: int = 7) -> Iterator[None]:
        """Run a TCP echo server."""
        with self._serving(_ECHO, address, str(port)):
            yield

    @contextlib.contextmanager
    def serving_http(self) -> Iterator[None]:
        """Run an HTTP server on port 80."""
        with self._serving(_HTTP):
            yield

    def ask(self, kind: str, port: int, text: str, host: str = "127.0.0.1") -> str:
        """Send a text from this namespace and return the first answer. kind: `tcp` or `udp`."""
        words = [sys.executable, "-c", _ASK, kind, host, str(port), text]
        return subprocess.run([*self._enter, *words], check=True, capture_output=True, text=True, timeout=30).stdout

    def fetch(self, port: int) -> str:
        """Request a page from this namespace and return its body."""
        program = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}', timeout=10).read().decode())"
        words = [*self._enter, sys.executable, "-c", program]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--net={self.path}"]

    @contextlib.contextmanager
    def _serving(self, program: str, *words: str) -> Iterator[None]:
        with ready([*self._enter, sys.executable, "-c", program, *words]):
            yield


@contextlib.contextmanager
def ready(words: list[str]) -> Iterator[int]:
    """Start a process, wait until it prints `ready`, and end it after the block; yields its pid."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def new_network() -> Iterator[Network]:
    """Create a network namespace with a loopback device."""
    with ready(["unshare", "--net", "sh", "-c", _LOOPBACK]) as pid:
        yield Network(pid)
