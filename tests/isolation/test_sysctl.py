"""Kernel parameters: whose they are, and where they are set."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.isolation import sysctl


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/rp_filter", "network"),
        ("net.ipv4.conf.eth0/1.rp_filter", "network"),
        ("kernel.shmmax", "ipc"),
        ("kernel/sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_a_parameter_belongs_to_a_namespace(name, kind):
    assert sysctl.namespace_of(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        "kernel.panic",
        "vm.swappiness",
        "fs.file-max",
        "kernel.core_pattern",
        "kernel.hostname",
        "net",
        "netx.y",
        "kernel.semx",
    ],
)
def test_a_parameter_of_the_host_is_refused_by_name(name):
    with pytest.raises(InvalidArgument, match=f"linux.sysctl: '?{name}"):
        sysctl.namespace_of(name)


@pytest.mark.parametrize("name", ["", "/net/x", "net..x", "net/../kernel/panic", "net.//.kernel.panic", "net.x."])
def test_a_name_that_climbs_is_no_parameters(name):
    with pytest.raises(InvalidArgument, match="is not the name of a parameter"):
        sysctl.namespace_of(name)


@pytest.mark.parametrize("name", ["net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"])
def test_the_separator_that_comes_first_separates(name):
    assert sysctl.file_of(name) == "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"
