"""What the daemon launches processes with: one nursery behind all of them."""

from types import SimpleNamespace

from pelagos_core.config.node_file import Config
from pelagos_core.launch.launch import Launch
from pelagos_core.launch.launcher import Launcher
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin.bundle import Bundle


def test_a_launch_uses_the_nursery_until_the_group_is_left():
    closed = []
    nursery = SimpleNamespace(close=lambda: closed.append(True))
    launcher = Launcher(nursery)
    bundle = Bundle("c1", "ns", "/b", Spec(process=Process(args=("/x",))), ())
    launch = Launch("container 'c1'", bundle, None, None, Config().cache, None, print)
    conversation = launcher.begin(launch)
    assert conversation._forker._nurseries is nursery
    assert (conversation.pid, conversation.pidfd) == (0, -1)
    launcher.leave_group()
    assert closed
