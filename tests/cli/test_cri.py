"""What each containerd says of the runtimes that it has loaded."""

import socket
import threading

import pytest

from pelagos_core.cli import cri
from tests.support import provision
from tests.support.containerd import Containerd, until

OLD = "io.containerd.grpc.v1.cri"
pytestmark = pytest.mark.containerd


@pytest.mark.parametrize("release", provision.RELEASES)
def test_the_runtimes_of_one_that_runs(tmp_path, release):
    # containerd 1.6 and 1.7 have no CRI without the default one, and no default beside others.
    kinds = {"runc": "io.containerd.runc.v2", "mine": "io.containerd.pelagos.wasm.v1"}
    table = f'[plugins."{OLD}".containerd.runtimes'
    text = "".join(f'{table}.{name}]\n  runtime_type = "{kind}"\n' for name, kind in kinds.items())
    daemon = Containerd(tmp_path, release=release, cri=text)
    try:
        address = str(daemon.directory / "containerd.sock")
        until(lambda: not cri.runtimes(address)[1], 20, lambda: cri.runtimes(address)[1])
        assert cri.runtimes(address)[0]["mine"] == "io.containerd.pelagos.wasm.v1"
    finally:
        daemon.close()


def test_one_without_a_cri_and_none_at_all(tmp_path):
    daemon = Containerd(tmp_path, release="trixie")
    try:
        found, problem = cri.runtimes(str(daemon.directory / "containerd.sock"))
        assert found == {}
        assert problem.startswith("containerd's CRI does not answer: unknown service")
    finally:
        daemon.close()
    assert "No such file" in cri.runtimes(str(tmp_path / "none"))[1]


def test_something_that_is_no_containerd(tmp_path):
    def answer():
        with server.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        assert cri.runtimes(str(tmp_path / "s"))[1]
        thread.join()
