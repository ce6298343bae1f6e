"""What a spec asks for, as operations: nothing is touched."""

import pytest

from pelagos_core.bundle import Bundle
from pelagos_core.container_init import operation as op
from pelagos_core.container_init.plan import plan
from pelagos_core.errors import Unimplemented
from pelagos_core.linux.cgroups import Cgroup
from pelagos_core.spec import Capabilities, Mount, Namespace, Process, Root, Spec, User

CGROUP = Cgroup(("/sys/fs/cgroup/x",))
KINDS = ("pid", "mount", "ipc", "uts", "network", "cgroup")


def planned(rootfs=(), process=None, **fields):
    spec = Spec(process=process or Process(args=("/x",)), annotations={}, **fields)
    return plan(Bundle("c1", "ns", "/b", spec, rootfs), CGROUP)


def test_the_least_spec_still_isolates():
    steps = planned()
    assert steps.assemble == (
        op.DieWithShim(),
        op.JoinCgroup(CGROUP),
        op.EnterNamespaces((), ("mount",)),
        op.AssembleRoot(()),
    )
    assert steps.seal == (op.ChangeRoot(User(), Capabilities()), op.ForbidNewPrivileges(), op.DieWithShim())


def test_new_namespaces_are_made_and_given_ones_joined_first():
    given = Namespace("network", "/proc/1/ns/net")
    namespaces = (*(Namespace(kind) for kind in KINDS if kind != "network"), given)
    (step,) = [step for step in planned(namespaces=namespaces).assemble if isinstance(step, op.EnterNamespaces)]
    # the pid namespace is the one that the process was born in
    assert step == op.EnterNamespaces((given,), ("mount", "cgroup", "ipc", "uts"))


def test_the_cgroup_is_joined_before_a_cgroup_namespace_is_made_of_it():
    kinds = [type(step) for step in planned(namespaces=(Namespace("cgroup"),)).assemble]
    assert kinds.index(op.JoinCgroup) < kinds.index(op.EnterNamespaces)


@pytest.mark.parametrize("kind", ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"])
def test_file_systems_through_which_a_guest_reaches_its_engine_are_left_out(kind):
    assert planned(mounts=(Mount("/x", kind, kind),)) == planned()


def test_volumes_come_after_the_root_and_before_it_is_made_read_only():
    volume = Mount("/data", "bind", "/host", ("rbind",))
    steps = planned(
        rootfs=(Mount("/", "overlay", "overlay"),),
        mounts=(Mount("/proc", "proc", "proc"), volume),
        root=Root(readonly=True),
        process=Process(args=("/x",), cwd="/work"),
    )
    assert steps.assemble[3:] == (
        op.AssembleRoot((Mount("/", "overlay", "overlay"),)),
        op.MountVolume(volume),
        op.MakeWorkingDirectory("/work"),
        op.MakeRootReadonly(),
    )


def test_a_host_name_needs_a_uts_namespace():
    assert op.SetHostname("box") in planned(hostname="box", namespaces=(Namespace("uts"),)).assemble
    with pytest.raises(Unimplemented, match="no uts namespace"):
        planned(hostname="box")


@pytest.mark.parametrize(
    ("namespace", "message"),
    [
        (Namespace("user"), "user is not supported"),
        (Namespace("time"), "time is not"),
        (Namespace("mount", "/x"), "by path"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(namespace, message):
    with pytest.raises(Unimplemented, match=message):
        planned(namespaces=(namespace,))


def test_each_step_says_what_it_does():
    steps = planned(
        hostname="box",
        namespaces=tuple(map(Namespace, KINDS)),
        mounts=(Mount("/tmp", "tmpfs", "tmpfs"),),
        root=Root(readonly=True),
        process=Process(args=("/x",), cwd="/work"),
    )
    assert steps.describe() == [
        "die with the shim",
        "join the cgroup /sys/fs/cgroup/x",
        "namespaces: new mount, cgroup, ipc, network, uts; joined none",
        "set the host name box",
        "root file system of 0 mounts",
        "mount tmpfs on /tmp",
        "working directory /work",
        "read-only root",
        "change the root, become user 0:0",
        "no new privileges",
        "die with the shim",
    ]
