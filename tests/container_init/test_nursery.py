"""What a spare is told: all of an order but what it has, or is given, itself."""

import pickle
import socket

from pelagos_core.backends import Backends
from pelagos_core.bundle import Bundle
from pelagos_core.container_init import nursery
from pelagos_core.container_init.child import Order
from pelagos_core.container_init.plan import plan
from pelagos_core.limits import Limits
from pelagos_core.linux.cgroups import Cgroup
from pelagos_core.selection import Preference, Selection
from pelagos_core.spec import Mount, Namespace, Process, Spec


def order(control=None, **fields):
    spec = Spec(process=Process(args=("/x",), **fields), annotations={"a": "b"}, namespaces=(Namespace("pid"),))
    bundle = Bundle("c1", "ns", "/b", spec, (Mount("/", "bind", "/image", ("ro",)),))
    selection = Selection(Backends(()), Preference("some", "somebody"))
    return Order(bundle, plan(bundle, Cgroup(())), control, (4, 5, 6), selection, Limits(memory=1 << 20))


def test_an_order_arrives_with_the_backends_of_the_receiver(monkeypatch):
    ours, theirs = socket.socketpair()
    sent = order(ours)
    theirs.close()
    own = Backends(())
    monkeypatch.setattr(nursery, "_own", [own])
    got = pickle.loads(nursery.encode(sent))
    ours.close()
    assert got.control is None
    assert got.selection.backends is own
    assert (got.bundle, got.plan, got.limits) == (sent.bundle, sent.plan, sent.limits)
    assert got.selection.preference == sent.selection.preference


def test_an_order_is_short():
    assert len(nursery.encode(order())) < 4096
    assert len(nursery.encode(order(env=("X=" + "y" * (1 << 20),)))) > nursery.MAX_ORDER
