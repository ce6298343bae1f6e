"""What a spec asks for, as operations: nothing is touched."""

from dataclasses import replace

import pytest

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.config.policy import EVERYTHING, Directory, Policy
from pelagos_core.errors import InvalidArgument, Unimplemented
from pelagos_core.isolation import filesystem as fs
from pelagos_core.isolation import identity
from pelagos_core.isolation import operation as op
from pelagos_core.isolation.plan import joining_plan, plan
from pelagos_core.isolation.seccomp import Filter
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.isolation.system_calls import ConfineEngine, Filters, FilterSystemCalls
from pelagos_core.oci import (
    Capabilities,
    Device,
    IdMap,
    IdMaps,
    IoPriority,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Scheduler,
    Spec,
    TimeOffset,
    User,
)
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Kind
from pelagos_core.rootfs import device_nodes

CGROUP = Cgroup((Group("/sys/fs/cgroup/x"),))
UNBINDABLE, PRIVATE, SLAVE, SHARED = (1 << bit for bit in (17, 18, 19, 20))
OWN_NETWORK = (Namespace("network"),)
KINDS = ("pid", "mount", "ipc", "uts", "network", "cgroup")
SPEC_FILTER, EMBEDDED, PROGRAM = (Filter(bytes([number]) * 8) for number in range(3))
FILTERS = Filters(SPEC_FILTER, EMBEDDED, PROGRAM)


def planned(rootfs=(), process=None, policy=EVERYTHING, **fields):
    spec = Spec(process=process or Process(args=("/x",)), annotations={}, **fields)
    return plan(Bundle("c1", "ns", "/b", spec, rootfs, policy), CGROUP)


@pytest.mark.parametrize(("uid", "kept"), [(0, {"CAP_KILL", "CAP_CHOWN"}), (1000, {"CAP_KILL"})])
def test_a_guest_who_is_not_root_keeps_the_capabilities_that_execve_would_leave(uid, kept):
    both = frozenset({"CAP_KILL", "CAP_CHOWN"})
    ambient = frozenset({"CAP_KILL"})
    sets = Capabilities(bounding=both, effective=both, permitted=both, inheritable=ambient, ambient=ambient)
    steps = planned(process=Process(args=("/x",), user=User(uid), capabilities=sets))
    for seal, effective in ((steps.wasm.seal, kept), (steps.native.seal, both)):  # the kernel sees to the native one
        (become,) = [step for step in seal if isinstance(step, identity.BecomeUser)]
        assert (become.capabilities.effective, become.capabilities.permitted) == (effective, effective)
        assert (become.capabilities.bounding, become.capabilities.ambient) == (both, ambient)


def test_the_least_spec_still_isolates():
    steps = planned()
    assert steps.assemble == (
        op.DieWithShim(),
        op.JoinCgroup(CGROUP),
        op.EnterNamespaces((), ("mount",)),
        fs.AssembleRoot(()),
    )
    user = identity.BecomeUser(User(), Capabilities())
    assert steps.wasm.complete == (fs.LinkStreams(), fs.ForbidDevices(), fs.ShieldEngine(()))
    assert steps.wasm.seal == (op.ChangeRoot(), user, identity.ForbidNewPrivileges(), op.DieWithShim())
    assert steps.native.complete == (fs.MakeDevices(device_nodes.DEFAULT), fs.LinkDevices())
    assert steps.native.seal == (
        op.ChangeRoot(),
        identity.NewSessionKeyring(),
        identity.EnterWorkingDirectory("/"),
        user,
        op.DieWithShim(),
    )


def test_a_guest_gets_no_new_privileges_whatever_the_spec_says_and_a_native_program_what_it_says():
    for asked in (False, True):
        steps = planned(process=Process(args=("/x",), no_new_privileges=asked))
        assert identity.ForbidNewPrivileges() in steps.wasm.seal
        assert (identity.ForbidNewPrivileges() in steps.native.seal) is asked


@pytest.mark.parametrize(
    ("kind", "native"), [(Kind.ELF, True), (Kind.SCRIPT, True), (Kind.MODULE, False), (Kind.UNKNOWN, False)]
)
def test_the_kind_of_the_entry_point_decides_how_it_goes_on(kind, native):
    steps = planned()
    assert steps.of(kind) is (steps.native if native else steps.wasm)


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
def test_file_systems_through_which_a_guest_reaches_its_engine_are_for_native_programs(kind):
    mount = Mount("/x", kind, kind)
    with_it, without = planned(mounts=(mount,)), planned()
    assert (with_it.assemble, with_it.wasm) == (without.assemble, without.wasm)
    step = fs.MountCgroups(mount, CGROUP, False) if kind.startswith("cgroup") else fs.MountVolume(mount)
    assert with_it.native.complete == (step, *without.native.complete)


def test_what_lies_below_such_a_file_system_waits_for_it():
    proc, file, other = Mount("/proc", "proc", "proc"), Mount("/proc/x", "bind", "/a"), Mount("/procs", "bind", "/b")
    steps = planned(mounts=(proc, file, other))
    assert steps.assemble[-1] == fs.MountVolume(other)
    assert steps.native.complete[:2] == (fs.MountVolume(proc), fs.MountVolume(file))
    assert steps.wasm.complete[0] == fs.MountVolume(file)


@pytest.mark.parametrize("mount", [Mount("/dev", "bind", "/dev"), Mount("/dev/", "", "/dev", ("rbind",))])
def test_a_dev_of_the_host_is_left_as_it_is(mount):
    assert planned(mounts=(mount,)).native.complete == ()


def test_a_device_of_the_spec_takes_the_place_of_a_default_one():
    mine = Device("/dev/null", "c", 1, 3, mode=0o600)
    steps = planned(devices=(mine,), namespaces=OWN_NETWORK)
    (step,) = [step for step in steps.native.complete if isinstance(step, fs.MakeDevices)]
    assert [device for device in step.devices if device.path == "/dev/null"] == [mine]
    assert steps.wasm.complete[0] == fs.MakeDevices((mine,), mounted=True)


def test_a_guest_gets_of_the_specs_devices_the_harmless_ones_alone():
    given = (Device("/dev/mem", "c", 1, 1), Device("/dev/sda", "b", 8, 0), Device("/dev/ptmx", "c", 5, 2))
    mine, pipe = Device("/dev/mine", "c", 1, 5), Device("/dev/pipe", "p", 0, 0)
    steps = planned(devices=(*given, mine, pipe))
    assert steps.wasm.complete[0] == fs.MakeDevices((mine, pipe), mounted=True)
    (made,) = [step for step in steps.native.complete if isinstance(step, fs.MakeDevices)]
    assert made.devices == (*given[:2], mine, pipe, *device_nodes.DEFAULT)  # /dev/ptmx is a link
    assert planned(devices=given).wasm.complete == (fs.LinkStreams(), fs.ForbidDevices(), fs.ShieldEngine(()))


def test_a_guest_gets_harmless_devices_in_a_dev_of_the_containers_own():
    (own,) = [
        step
        for step in planned(mounts=(Mount("/dev", "tmpfs", "tmpfs"),)).wasm.complete
        if isinstance(step, fs.MakeDevices)
    ]
    assert own == fs.MakeDevices(device_nodes.DEFAULT, mounted=True)
    for mounts in ((), (Mount("/dev", "bind", "/dev", ("rbind",)),)):
        assert not [step for step in planned(mounts=mounts).wasm.complete if isinstance(step, fs.MakeDevices)]


def test_a_plan_tells_what_its_steps_leave_to_be_known():
    dev = (Mount("/dev", "bind", "/dev"),)
    assert [planned(mounts=mounts).has_own_dev for mounts in ((), dev)] == [True, False]
    steps, _ = joining(native=True)
    assert (planned().cgroup, steps.cgroup, steps.has_own_dev) == (CGROUP, CGROUP, False)


def test_an_error_of_a_step_has_the_reason_of_what_the_step_works_on():
    steps = planned()
    reasons_of = {type(step): step.reason for step in (*steps.assemble, *steps.native.complete, *steps.native.seal)}
    assert reasons_of[fs.AssembleRoot] == reasons_of[fs.MakeDevices] == reasons.MOUNT
    assert reasons_of[op.JoinCgroup] == reasons_of[identity.BecomeUser] == reasons.ISOLATION


def test_nothing_is_made_in_a_dev_of_the_host():
    steps = planned(mounts=(Mount("/dev", "bind", "/dev", ("rbind",)),))
    assert steps.wasm.complete[:2] == (
        fs.ForbidDevices(),
        fs.ShieldEngine((Mount("/dev", "bind", "/dev", ("rbind",)),)),
    )


def test_links_on_the_way_to_what_is_mounted_are_shown_when_the_kernels_views_are_gone():
    mounts = (Mount("/proc", "proc", "proc"), Mount("/var/run/x", "bind", "/x"), Mount("/proc/y", "bind", "/y"))
    complete = planned(mounts=mounts).wasm.complete
    assert complete[-2:] == (fs.ShieldEngine(mounts[1:]), fs.ShowRelativeLinks(("/var/run/x", "/proc/y")))
    native = planned(mounts=mounts).native.complete
    assert not [step for step in native if isinstance(step, fs.ShowRelativeLinks)]


def test_read_only_paths_come_before_masks():
    steps = planned(masked_paths=("/proc/kcore",), readonly_paths=("/proc/sys",), namespaces=OWN_NETWORK)
    for complete in (steps.native.complete, steps.wasm.complete):
        assert complete[-2:] == (fs.ProtectPaths(("/proc/sys",)), fs.MaskPaths(("/proc/kcore",)))


def test_volumes_come_after_the_root_and_before_it_is_made_read_only():
    volume = Mount("/data", "bind", "/host", ("rbind",))
    steps = planned(
        rootfs=(Mount("/", "overlay", "overlay"),),
        namespaces=OWN_NETWORK,
        mounts=(Mount("/proc", "proc", "proc"), volume),
        root=Root(readonly=True),
        process=Process(args=("/x",), cwd="/work"),
    )
    assert steps.assemble[3:] == (fs.AssembleRoot((Mount("/", "overlay", "overlay"),)), fs.MountVolume(volume))
    for complete in (steps.native.complete, steps.wasm.complete):
        assert complete[-2:] == (fs.MakeWorkingDirectory("/work"), fs.MakeRootReadonly())


def test_a_guest_without_a_network_gets_an_empty_one():
    steps = planned(policy=Policy(network=False), namespaces=OWN_NETWORK)
    assert steps.wasm.complete[-1] == op.LeaveNetwork()
    assert op.LeaveNetwork() not in (*steps.native.complete, *planned(namespaces=OWN_NETWORK).wasm.complete)


def test_a_guests_root_is_narrowed_in_the_end_and_a_native_programs_never():
    narrowings = ((Directory("/data"),), (Directory("/data/in", True),))
    steps = planned(policy=Policy(directories=narrowings), root=Root(readonly=True))
    assert steps.wasm.complete[-2:] == tuple(map(fs.NarrowRoot, narrowings))
    assert not [step for step in steps.native.complete if isinstance(step, fs.NarrowRoot)]


def test_a_host_name_needs_a_uts_namespace():
    assert op.SetHostname("box") in planned(hostname="box", namespaces=(Namespace("uts"),)).assemble
    assert op.SetDomainName("d") in planned(domainname="d", namespaces=(Namespace("uts"),)).assemble
    for setting in ({"hostname": "box"}, {"domainname": "d"}):
        with pytest.raises(InvalidArgument, match="hostname, domainname: the spec has no uts namespace"):
            planned(**setting)


def test_a_sysctl_needs_its_namespace_and_a_given_one_may_not_be_the_hosts():
    setting = {"kernel.sem": "1 2 3 4"}
    with pytest.raises(InvalidArgument, match=r"kernel\.sem: the spec has no ipc namespace"):
        planned(sysctl=setting)
    given = Namespace("ipc", "/proc/1/ns/ipc")
    steps = planned(sysctl=setting, namespaces=(given,))
    assert steps.assemble[2:4] == (
        op.EnterNamespaces((given,), ("mount",), frozenset({"ipc"})),
        op.SetSysctls((("kernel.sem", "1 2 3 4"),)),
    )
    with pytest.raises(InvalidArgument, match=r"kernel\.panic"):
        planned(sysctl={"kernel.panic": "1"}, namespaces=(given,))


def test_limits_are_set_before_the_privileges_for_it_are_lost():
    process = Process(
        args=("/x",),
        rlimits=(Rlimit("RLIMIT_NOFILE", 1, 1),),
        scheduler=Scheduler("SCHED_BATCH"),
        io_priority=IoPriority("IOPRIO_CLASS_BE", 1),
        oom_score_adj=5,
    )
    steps = planned(process=process, personality="LINUX32")
    assert steps.assemble[2] == identity.SetOomScore(5)
    for seal in (steps.wasm.seal, steps.native.seal):
        kinds = [type(step) for step in seal]
        first = kinds.index(identity.SetScheduler)
        assert kinds[first : first + 5] == [
            identity.SetScheduler,
            identity.SetIoPriority,
            identity.SetPersonality,
            identity.SetRlimits,
            identity.BecomeUser,
        ]


def test_labels_are_applied_last_and_unconfined_is_none():
    steps = planned(process=Process(args=("/x",), apparmor_profile="p", selinux_label="l", no_new_privileges=True))
    for seal, executed in ((steps.wasm.seal, False), (steps.native.seal, True)):
        assert seal[:2] == (
            identity.PrepareLabel("process.apparmorProfile", "p", executed),
            identity.PrepareLabel("process.selinuxLabel", "l", executed),
        )
        assert seal[-3:] == (identity.ApplyLabels(), identity.ForbidNewPrivileges(), op.DieWithShim())
    assert planned(process=Process(args=("/x",), apparmor_profile="unconfined")) == planned()


@pytest.mark.parametrize(
    ("namespace", "message"),
    [
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
        "if wasm: links of the standard streams",
        "if wasm: no devices but mounted ones",
        "if wasm: keep the guest from its engine",
        "if wasm: relative links to 1 mounts",
        "if wasm: working directory /work",
        "if wasm: read-only root",
        "if wasm: change the root",
        "if wasm: become user 0:0",
        "if wasm: no new privileges",
        "if wasm: die with the shim",
        "if native: devices /dev/null, /dev/zero, /dev/full, /dev/random, /dev/urandom, /dev/tty",
        "if native: links in /dev",
        "if native: working directory /work",
        "if native: read-only root",
        "if native: change the root",
        "if native: new session keyring",
        "if native: enter /work",
        "if native: become user 0:0",
        "if native: die with the shim",
    ]


THERE = op.CheckWorkingDirectory("/work")
JOINED = (op.DieWithShim(), op.JoinCgroup(CGROUP), op.JoinContainer())


def joining(**kind):
    process = Process(args=("/y",), cwd="/work", user=User(uid=7))
    mounts = (Mount("/data", "bind", "/host"), Mount("/proc", "proc", "proc"))
    bundle = Bundle("c1", "ns", "/b", Spec(process=process, mounts=mounts))
    return joining_plan(bundle, CGROUP, **kind), plan(bundle, CGROUP)


@pytest.mark.parametrize("native", [True, False])
def test_a_further_process_joins_what_is_there_and_is_sealed_like_the_first(native):
    steps, first = joining(native=native)
    assert steps.assemble == JOINED
    assert (steps.wasm.seal, steps.native.seal) == (first.wasm.seal, first.native.seal)
    same = steps.native if native else steps.wasm
    assert same.complete == (THERE,)


def test_a_guest_in_a_native_container_does_without_the_kernels_files():
    steps, _ = joining(native=True)
    links = fs.ShowRelativeLinks(("/data",))
    assert steps.wasm.complete == (op.CopyContainer(), fs.ForbidDevices(), fs.ShieldEngine(()), links, THERE)


def test_a_native_program_in_a_container_of_a_guest_gets_them_for_itself():
    steps, first = joining(native=False)
    assert steps.native.complete[:2] == (op.CopyContainer(), THERE)
    assert fs.MountVolume(Mount("/proc", "proc", "proc")) in steps.native.complete
    assert fs.MountVolume(Mount("/data", "bind", "/host")) not in steps.native.complete
    assert {type(step) for step in steps.native.complete[2:]} == {type(step) for step in first.native.complete}


def test_a_bind_may_be_relative_to_the_bundle():
    mount = Mount("/data", "bind", "volumes/data", ("rbind",))
    (step,) = [step for step in planned(mounts=(mount,)).assemble if isinstance(step, fs.MountVolume)]
    assert step.mount.source == "/b/volumes/data"


def test_a_tmpfs_becomes_read_only_when_all_is_mounted_in_it():
    tmpfs, inner = Mount("/run", "tmpfs", "tmpfs", ("ro", "mode=755")), Mount("/run/x", "bind", "/x", ("ro",))
    steps = planned(mounts=(tmpfs, inner), root=Root(readonly=True), namespaces=OWN_NETWORK)
    assert steps.assemble[-2:] == (
        fs.MountVolume(Mount("/run", "tmpfs", "tmpfs", ("mode=755",))),
        fs.MountVolume(inner),
    )
    for complete in (steps.wasm.complete, steps.native.complete):
        assert complete[-2:] == (fs.MakeMountReadonly("/run"), fs.MakeRootReadonly())


def test_a_mount_label_is_an_option_of_file_systems_that_hold_files():
    mounts = (Mount("/tmp", "tmpfs", "tmpfs"), Mount("/data", "bind", "/x"), Mount("/proc", "proc", "proc"))
    steps = planned(mounts=mounts, mount_label="l:c1,c2")
    assert identity.CheckMountLabel("l:c1,c2") in steps.assemble
    made = [step.mount for step in (*steps.assemble, *steps.native.complete) if isinstance(step, fs.MountVolume)]
    assert [mount.options for mount in made] == [('context="l:c1,c2"',), (), ()]


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [
        ("", SLAVE, []),
        ("rslave", SLAVE, [(SLAVE, True)]),
        ("private", PRIVATE, [(PRIVATE, False)]),
        ("rshared", SHARED, [(SHARED, True)]),
        ("unbindable", PRIVATE, [(UNBINDABLE, False)]),
    ],
)
def test_the_roots_propagation_is_the_hosts_until_it_is_in_place(word, before, after):
    steps = planned(rootfs_propagation=word)
    assert op.EnterNamespaces((), ("mount",), frozenset(), before) in steps.assemble
    assert fs.AssembleRoot((), before == SHARED) in steps.assemble
    for seal in (steps.wasm.seal, steps.native.seal):
        made = [(step.flag, step.recursive) for step in seal if isinstance(step, fs.SetRootPropagation)]
        assert made == after


MAPS = IdMaps((IdMap(0, 100000, 65536),), (IdMap(0, 100000, 65536),))


def test_a_user_namespace_is_born_into_once_the_hosts_part_is_done():
    net, volume = Namespace("network", "/proc/1/ns/net"), Mount("/data", "bind", "/host", ("rbind",))
    namespaces = (Namespace("user"), Namespace("pid"), Namespace("mount"), Namespace("uts"), net)
    tmpfs = Mount("/tmp", "tmpfs", "tmpfs")
    steps = planned(
        namespaces=namespaces,
        id_maps=MAPS,
        hostname="box",
        mounts=(tmpfs, volume),
        process=Process(args=("/x",), rlimits=(Rlimit("RLIMIT_CORE", 0, 0),)),
    )
    assert steps.outside == (
        op.DieWithShim(),
        op.JoinCgroup(CGROUP),
        identity.AllowRlimits((Rlimit("RLIMIT_CORE", 0, 0),)),
        op.EnterNamespaces((net,), ("mount",), frozenset({"uts"})),
        fs.AssembleRoot(()),
        fs.OpenSources((volume,)),
    )
    assert steps.birth == SecondStageClone(Namespace("user"), MAPS, Namespace("pid"))
    assert steps.assemble == (
        op.DieWithShim(),
        identity.BecomeRoot(),
        op.EnterNamespaces((), ("mount", "uts"), frozenset({"uts"})),
        op.SetHostname("box"),
        fs.FollowRoot(),
        fs.MountVolume(tmpfs),
        fs.MountVolume(volume),
    )
    assert "be born again: a new user namespace, a new pid namespace" in steps.describe()


def test_an_id_map_without_ranges_is_the_containers_own():
    volume = Mount("/data", "bind", "/host", ("rbind", "idmap"))
    steps = planned(namespaces=(Namespace("user"),), id_maps=MAPS, mounts=(volume,))
    assert steps.outside[-1] == fs.OpenSources((replace(volume, id_maps=MAPS),))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id_maps": MAPS}, "the spec has no user namespace"),
        ({"namespaces": (Namespace("user"),)}, r"linux.uidMappings: .* needs a map of id 0"),
        ({"namespaces": (Namespace("user"),), "id_maps": IdMaps(MAPS.users, (IdMap(1, 1, 1),))}, r"linux.gidMappings"),
        ({"time_offsets": (TimeOffset("boottime", 1),)}, "the spec has no new time namespace"),
    ],
)
def test_maps_and_offsets_need_their_namespace(fields, message):
    with pytest.raises(InvalidArgument, match=message):
        planned(**fields)


def filtered(no_new_privileges):
    spec = Spec(process=Process(args=("/x",), no_new_privileges=no_new_privileges))
    return plan(Bundle("c1", "ns", "/b", spec), CGROUP, FILTERS)


def test_system_calls_are_taken_away_last_and_a_guests_engine_loses_more():
    confine, by_spec = ConfineEngine(EMBEDDED, PROGRAM), FilterSystemCalls(SPEC_FILTER)
    steps = filtered(no_new_privileges=True)
    assert steps.wasm.seal[-2:] == (confine, by_spec)
    assert steps.native.seal[-1] == by_spec
    assert confine not in steps.native.seal
    joining = joining_plan(Bundle("c1", "ns", "/b", Spec(Process(args=("/x",)))), CGROUP, FILTERS, native=False)
    assert joining.wasm.seal[-2:] == (confine, by_spec)


def test_a_program_that_may_gain_privileges_is_filtered_while_it_has_the_capability():
    kinds = [type(step) for step in filtered(no_new_privileges=False).native.seal]
    assert kinds.index(FilterSystemCalls) < kinds.index(identity.BecomeUser)
