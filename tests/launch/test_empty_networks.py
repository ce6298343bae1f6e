"""Empty network namespaces are kept, up to a limit, and only those that no process can have changed."""

import os
from dataclasses import replace

import pytest

from pelagos_core.cgroups.group import Cgroup
from pelagos_core.config.policy import Policy
from pelagos_core.isolation.plan import plan
from pelagos_core.launch import empty_networks
from pelagos_core.launch.empty_networks import MOST, EmptyNetworks
from pelagos_core.linux.descriptor import Fd
from pelagos_core.oci import Capabilities, IdMap, IdMaps, Namespace, Process, Spec
from pelagos_core.plugin.bundle import Bundle

SPEC = Spec(process=Process(args=("/x",)))


def any_descriptor():
    return Fd(os.open(os.devnull, os.O_RDONLY))


def is_open(fd):
    return os.path.exists(f"/proc/self/fd/{int(fd)}")


def test_each_is_given_out_once():
    networks, kept = EmptyNetworks(), any_descriptor()
    assert networks.take() == -1
    networks.put(kept)
    with networks.take() as taken:
        assert taken == kept
        assert networks.take() == -1
    assert not is_open(kept)


def test_no_more_than_a_few_are_kept():
    networks, given = EmptyNetworks(), [any_descriptor() for _ in range(MOST + 2)]
    for each in given:
        networks.put(each)
    assert [is_open(each) for each in given] == [True] * MOST + [False] * 2
    for _ in range(MOST):
        networks.take().close()
    assert networks.take() == -1


def test_a_guest_without_one_gives_nothing_back():
    networks = EmptyNetworks()
    networks.put(Fd(-1))
    assert not networks._free


def test_a_process_that_is_gone_has_none():
    assert empty_networks.of(2**22 + 1) == -1
    with empty_networks.of(os.getpid()) as own:
        assert os.fstat(own).st_ino == os.stat("/proc/self/ns/net").st_ino


def kept(spec=SPEC, policy=Policy(network=False)):  # noqa: B008 (a value)
    bundle = Bundle("c1", "ns", "/b", spec, (), policy)
    return empty_networks.leaves_unchanged(bundle, plan(bundle, Cgroup(())))


def test_that_of_a_guest_that_can_neither_fork_nor_change_it_is_kept():
    assert kept()


@pytest.mark.parametrize("set_of", Capabilities.__slots__)
def test_that_of_a_guest_that_may_administer_it_is_not(set_of):
    def with_capability(name):
        return replace(SPEC, process=replace(SPEC.process, capabilities=Capabilities(**{set_of: frozenset({name})})))

    assert not kept(with_capability("CAP_NET_ADMIN"))
    assert kept(with_capability("CAP_NET_RAW"))


def test_that_of_an_engine_that_may_fork_is_not():
    assert not kept(policy=Policy(network=False, seccomp="spec"))


def test_a_given_network_is_not():
    assert not kept(policy=Policy())


def test_that_of_a_user_namespace_is_not():
    whole = (IdMap(0, 100000, 65536),)
    assert not kept(replace(SPEC, namespaces=(Namespace("user"),), id_maps=IdMaps(whole, whole)))
