"""A guest's limit of memory in its own process: where it is read, and a refusal that is reported twice."""

import os
import socket
from types import SimpleNamespace

from pelagos_core.launch import memory, messages
from pelagos_core.launch.messages import Refused


def test_a_group_without_the_file_has_no_limit():
    assert memory.live(SimpleNamespace(open_memory_limit=lambda: None), 0, print) is None


def test_a_refusal_is_reported_to_the_guest_and_to_the_daemon(tmp_path):
    (tmp_path / "limit").write_text(f"{8 << 20}\n")
    said = []
    file = os.open(tmp_path / "limit", os.O_RDONLY)
    daemon, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with daemon:
        with ours:
            live = memory.live(SimpleNamespace(open_memory_limit=lambda: file), ours.fileno(), said.append)
            assert live.allows(1 << 20)
            assert not live.allows(9 << 20)
            assert not live.allows(10 << 20)
        assert messages.decode(daemon.recv(messages.MAX_BYTES)) == Refused(9 << 20, 8 << 20)
    (line,) = said
    assert line.startswith("pelagos: the guest asked for 9 MiB of memory")
    assert line.endswith("[PLG-MEMORY]")
    os.close(file)
