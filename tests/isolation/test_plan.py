"""What a spec asks for, as operations: nothing is touched."""

from dataclasses import replace

import pytest

from pelagos_core import reasons
from pelagos_core.cgroups.group import Cgroup, Group
from pelagos_core.config.policy import EVERYTHING, Directory, Policy
from pelagos_core.errors import InvalidArgument, Unimplemented
from pelagos_core.isolation import devices, engine_root, identity, streams
from pelagos_core.isolation import entering as ns
from pelagos_core.isolation import filesystem as fs
from pelagos_core.isolation import operation as op
from pelagos_core.isolation.kind_plan import Steps
from pelagos_core.isolation.plan import joining_plan, plan
from pelagos_core.isolation.seccomp import Filter
from pelagos_core.isolation.second_stage import SecondStageClone
from pelagos_core.isolation.system_calls import Filters, FilterSystemCalls
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
from pelagos_core.oci.resources import Memory, Resources
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Kind
from pelagos_core.plugin.program import Program
from pelagos_core.rootfs import device_nodes

CGROUP = Cgroup((Group("/sys/fs/cgroup/x"),))
UNBINDABLE, PRIVATE, SLAVE, SHARED = (1 << bit for bit in (17, 18, 19, 20))
OWN_NETWORK = (Namespace("network"),)
KINDS = ("pid", "mount", "ipc", "uts", "network", "cgroup")
SPEC_FILTER, EMBEDDED, PROGRAM = (Filter(bytes([number]) * 8) for number in range(3))
NAMES = ns.FixNameSources()
FILTERS = Filters(SPEC_FILTER, EMBEDDED, PROGRAM)


def planned(rootfs=(), process=None, policy=EVERYTHING, **fields):
    spec = Spec(process=process or Process(args=("/x",)), annotations={}, **fields)
    return plan(Bundle("c1", "ns", "/b", spec, rootfs, policy), CGROUP)


def without_streams(steps):
    """What is done to the root alone."""
    return tuple(step for step in steps if not isinstance(step, streams.GiveStreams))


@pytest.mark.parametrize(("uid", "kept"), [(0, {"CAP_KILL", "CAP_CHOWN"}), (1000, {"CAP_KILL"})])
def test_a_guest_without_root_keeps_the_capabilities_that_execve_would_leave(uid, kept):
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
        identity.DieWithShim(),
        ns.JoinCgroup(CGROUP),
        ns.EnterNamespaces((), ("mount",)),
        fs.AssembleRoot(()),
    )
    user = identity.BecomeUser(User(), Capabilities())
    assert steps.begin == (
        fs.NameRoot("/b/rootfs"),
        identity.TakeName("x", ("/x",)),
        identity.RestoreSignals(),
        identity.NewSession(),
        identity.SetUmask(0),
        streams.MoveDescriptors(("control", "stdin", "stdout", "stderr")),
    )
    assert (steps.ready, steps.start, steps.end) == ((), (streams.UseStreams(), op.Close("control")), ())
    assert steps.wasm.complete == (devices.LinkStreams(), devices.ForbidDevices(), fs.ShieldEngine(()))
    assert steps.program == Steps((), steps.wasm.seal[1:])
    assert steps.wasm.seal == (NAMES, fs.ChangeRoot(), user, identity.ForbidNewPrivileges(), identity.DieWithShim())
    assert steps.native.complete == (
        devices.MakeDevices(device_nodes.DEFAULT),
        devices.LinkDevices(),
        streams.GiveStreams(0),
    )
    assert steps.native.seal == (
        fs.ChangeRoot(),
        identity.NewSessionKeyring(),
        identity.EnterWorkingDirectory("/"),
        user,
        identity.DieWithShim(),
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
    (step,) = [step for step in planned(namespaces=namespaces).assemble if isinstance(step, ns.EnterNamespaces)]
    # the pid namespace is the one in which the process was forked
    assert step == ns.EnterNamespaces((given,), ("mount", "cgroup", "ipc", "uts"), frozenset({"network"}))


def test_a_given_network_may_be_the_hosts_for_what_does_not_use_it_and_where_the_node_allows_it():
    given = (Namespace("mount"), Namespace("network", "/proc/1/ns/net"))
    for policy in (Policy(network=False), Policy(host_network=True)):
        steps = planned(namespaces=given, policy=policy)
        assert ns.EnterNamespaces((given[1],), ("mount",)) in steps.assemble


def test_a_guest_that_may_not_listen_has_a_filter_for_that():
    steps = plan(Bundle("c1", "ns", "/b", Spec(process=Process(args=("/x",)))), CGROUP, Filters(outbound=EMBEDDED))
    step = FilterSystemCalls("policy", EMBEDDED)
    assert (step in steps.wasm.seal, step in steps.program.seal, step in steps.native.seal) == (True, True, False)


def test_the_cgroup_is_joined_before_a_cgroup_namespace_is_made_of_it():
    kinds = [type(step) for step in planned(namespaces=(Namespace("cgroup"),)).assemble]
    assert kinds.index(ns.JoinCgroup) < kinds.index(ns.EnterNamespaces)


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
    assert planned(mounts=(mount,)).native.complete == (streams.GiveStreams(0),)


def test_a_device_of_the_spec_takes_the_place_of_a_default_one():
    mine = Device("/dev/null", "c", 1, 3, mode=0o600)
    steps = planned(devices=(mine,), namespaces=OWN_NETWORK)
    (step,) = [step for step in steps.native.complete if isinstance(step, devices.MakeDevices)]
    assert [device for device in step.devices if device.path == "/dev/null"] == [mine]
    assert steps.wasm.complete[0] == devices.MakeDevices((mine,), mounted=True)


def test_a_guest_gets_of_the_specs_devices_the_harmless_ones_alone():
    given = (Device("/dev/mem", "c", 1, 1), Device("/dev/sda", "b", 8, 0), Device("/dev/ptmx", "c", 5, 2))
    mine, pipe = Device("/dev/mine", "c", 1, 5), Device("/dev/pipe", "p", 0, 0)
    steps = planned(devices=(*given, mine, pipe))
    assert steps.wasm.complete[0] == devices.MakeDevices((mine, pipe), mounted=True)
    (made,) = [step for step in steps.native.complete if isinstance(step, devices.MakeDevices)]
    assert made.devices == (*given[:2], mine, pipe, *device_nodes.DEFAULT)  # /dev/ptmx is a link
    assert planned(devices=given).wasm.complete == (devices.LinkStreams(), devices.ForbidDevices(), fs.ShieldEngine(()))


def test_a_guest_gets_harmless_devices_in_a_dev_of_the_containers_own():
    (own,) = [
        step
        for step in planned(mounts=(Mount("/dev", "tmpfs", "tmpfs"),)).wasm.complete
        if isinstance(step, devices.MakeDevices)
    ]
    assert own == devices.MakeDevices(device_nodes.DEFAULT, mounted=True)
    for mounts in ((), (Mount("/dev", "bind", "/dev", ("rbind",)),)):
        assert not [step for step in planned(mounts=mounts).wasm.complete if isinstance(step, devices.MakeDevices)]


def test_a_process_with_a_terminal_takes_it_and_leaves_it():
    dev = (Mount("/dev", "bind", "/dev"),)
    process = Process(args=("/x",), terminal=True, user=User(7))
    for mounts, console in (((), True), (dev, False)):
        steps = planned(process=process, mounts=mounts)
        own = (streams.UseOwnTerminal(7, console), streams.GiveStreams(7))
        assert steps.native.complete[-2:] == own  # /dev/console is shown in a /dev of the container's own
        assert not set(own) & set(steps.wasm.complete)
        for seal in (steps.wasm.seal[1:], steps.program.seal, steps.native.seal):
            assert seal[0] == streams.TakeTerminal()
        assert (steps.ready, steps.end) == ((streams.ReportSignals(),), (streams.LeaveTerminal(),))
        assert steps.start == (streams.UseStreams(),)  # the daemon listens to its keys


def test_the_daemon_listens_to_a_guest_with_a_limit_of_memory():
    limited = planned(resources=Resources(memory=Memory(limit=1 << 20)))
    assert limited.start == (streams.UseStreams(),)


def test_a_guest_without_an_input_reads_nothing():
    steps = planned(policy=Policy(stdin=False))
    assert steps.wasm.complete[-1] == streams.NoInput()
    assert streams.NoInput() not in steps.native.complete


def test_an_error_of_a_step_has_the_reason_of_what_the_step_works_on():
    steps = planned()
    reasons_of = {type(step): step.reason for step in (*steps.assemble, *steps.native.complete, *steps.native.seal)}
    assert reasons_of[fs.AssembleRoot] == reasons_of[devices.MakeDevices] == reasons.MOUNT
    assert reasons_of[ns.JoinCgroup] == reasons_of[identity.BecomeUser] == reasons.ISOLATION


def test_nothing_is_made_in_a_dev_of_the_host():
    steps = planned(mounts=(Mount("/dev", "bind", "/dev", ("rbind",)),))
    assert steps.wasm.complete[:2] == (
        devices.ForbidDevices(),
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
        assert without_streams(complete)[-2:] == (fs.ProtectPaths(("/proc/sys",)), fs.MaskPaths(("/proc/kcore",)))


def test_volumes_come_after_the_root_and_before_it_is_made_read_only():
    volume = Mount("/data", "bind", "/host", ("rbind",))
    steps = planned(
        rootfs=(Mount("/", "overlay", "overlay"),),
        namespaces=OWN_NETWORK,
        mounts=(Mount("/proc", "proc", "proc"), volume),
        root=Root(readonly=True),
        process=Process(args=("/x",), cwd="/work"),
    )
    assert steps.assemble[4:] == (fs.AssembleRoot((Mount("/", "overlay", "overlay"),)), fs.MountVolume(volume))
    for complete in (steps.native.complete, steps.wasm.complete):
        assert without_streams(complete)[-2:] == (fs.MakeWorkingDirectory("/work"), fs.MakeRootReadonly())


def test_a_guest_without_a_network_gets_an_empty_one():
    steps = planned(policy=Policy(network=False), namespaces=OWN_NETWORK)
    assert steps.wasm.complete[-1] == ns.LeaveNetwork()
    assert ns.LeaveNetwork() not in (*steps.native.complete, *planned(namespaces=OWN_NETWORK).wasm.complete)


def test_a_guests_root_is_narrowed_in_the_end_and_a_native_programs_never():
    narrowings = ((Directory("/data"),), (Directory("/data/in", True),))
    steps = planned(policy=Policy(directories=narrowings), root=Root(readonly=True))
    assert steps.wasm.complete[-2:] == tuple(map(fs.NarrowRoot, narrowings))
    assert not [step for step in steps.native.complete if isinstance(step, fs.NarrowRoot)]


def test_a_host_name_needs_a_uts_namespace():
    assert ns.SetHostname("box") in planned(hostname="box", namespaces=(Namespace("uts"),)).assemble
    assert ns.SetDomainName("d") in planned(domainname="d", namespaces=(Namespace("uts"),)).assemble
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
        ns.EnterNamespaces((given,), ("mount",), frozenset({"ipc"})),
        ns.SetSysctls((("kernel.sem", "1 2 3 4"),)),
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
    for seal, executed in ((steps.wasm.seal[1:], False), (steps.native.seal, True)):
        assert seal[:2] == (
            identity.OpenLabel("process.apparmorProfile", "p", executed),
            identity.OpenLabel("process.selinuxLabel", "l", executed),
        )
        assert seal[-4:] == (
            identity.ApplyLabel("process.selinuxLabel", "l", executed),
            identity.ApplyLabel("process.apparmorProfile", "p", executed),
            identity.ForbidNewPrivileges(),
            identity.DieWithShim(),
        )
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
        mounts=(Mount("/tmp", "tmpfs", "tmpfs", ("nosuid", "size=1m")),),
        root=Root(readonly=True),
        process=Process(args=("/x",), cwd="/work"),
    )
    assert steps.describe() == [
        "begin: root directory /b/rootfs",
        "begin: set the process name to x (with 1 words)",
        "begin: restore signals",
        "begin: new session",
        "begin: umask 000",
        "begin: move own descriptors to 3 to 6, close all others "
        "[from control, stdin, stdout, stderr; to control, stdin, stdout, stderr]",
        "assemble: end with the shim",
        "assemble: join the cgroup /sys/fs/cgroup/x",
        "assemble: namespaces: new mount, cgroup, ipc, network, uts; joined none "
        "(not the host's: uts; propagation 0x80000)",
        "assemble: bring the loopback device up",
        "assemble: set the host name box",
        "assemble: root file system of 0 mounts [to root]",
        "assemble: mount tmpfs on /tmp (nosuid, size=1m) [from root]",
        "if wasm: complete: links of the standard streams [from root]",
        "if wasm: complete: no devices but mounted ones [from root, device mounts]",
        "if wasm: complete: remove views of the kernel (refused if a view itself: /tmp) [from root]",
        "if wasm: complete: relative links to /tmp [from root]",
        "if wasm: complete: working directory /work [from root]",
        "if wasm: complete: read-only root [from root]",
        "if wasm: seal: host names from /etc/hosts and DNS only",
        "if wasm: seal: change the root [from root]",
        "if wasm: seal: become user 0:0 (no capabilities)",
        "if wasm: seal: no new privileges",
        "if wasm: seal: end with the shim",
        "if wasm by a program: seal: change the root [from root]",
        "if wasm by a program: seal: become user 0:0 (no capabilities)",
        "if wasm by a program: seal: no new privileges",
        "if wasm by a program: seal: end with the shim",
        "if native: complete: devices /dev/null, /dev/zero, /dev/full, /dev/random, /dev/urandom, /dev/tty "
        "[from root; to device mounts]",
        "if native: complete: links in /dev [from root]",
        "if native: complete: working directory /work [from root]",
        "if native: complete: read-only root [from root]",
        "if native: complete: give the streams to user 0 [from stdin, stdout, stderr]",
        "if native: seal: change the root [from root]",
        "if native: seal: new session keyring",
        "if native: seal: enter /work",
        "if native: seal: become user 0:0 (no capabilities)",
        "if native: seal: end with the shim",
        "start: streams to descriptors 0 to 2 [from stdin, stdout, stderr]",
        "start: close the control [from control]",
    ]


THERE = ns.CheckWorkingDirectory("/work")
JOINED = (identity.DieWithShim(), ns.JoinCgroup(CGROUP), ns.JoinContainer(), ns.FindContainerRoot())
AS_IT_IS = (ns.EnterContainerRoot(), op.Close("container"))
IN_COPY = (fs.ChangeRoot(), op.Close("container"))


def joining(namespaces=(), **kind):
    process = Process(args=("/y",), cwd="/work", user=User(uid=7))
    mounts = (Mount("/data", "bind", "/host"), Mount("/proc", "proc", "proc"))
    bundle = Bundle("c1", "ns", "/b", Spec(process=process, mounts=mounts, namespaces=namespaces))
    return joining_plan(bundle, CGROUP, **kind), plan(bundle, CGROUP) if not namespaces else None


@pytest.mark.parametrize("native", [True, False])
def test_a_further_process_joins_what_is_there_and_is_sealed_like_the_first(native):
    steps, first = joining(native=native)
    assert steps.begin[-1] == streams.MoveDescriptors(("control", "stdin", "stdout", "stderr", "container"))
    assert steps.assemble == JOINED
    same = steps.native if native else steps.wasm
    assert same.complete == ((THERE, streams.GiveStreams(7)) if native else (THERE,))
    enter = (AS_IT_IS, IN_COPY) if native else (IN_COPY, AS_IT_IS)
    assert (steps.native.seal[:2], steps.wasm.seal[:3]) == (enter[0], (NAMES, *enter[1]))
    assert (steps.wasm.seal[3:], steps.native.seal[2:]) == (first.wasm.seal[2:], first.native.seal[1:])


@pytest.mark.parametrize(("native", "copies"), [(True, ()), (False, (ns.CopyContainer(),))])
def test_an_engine_that_is_a_program_goes_around_a_copy(native, copies):
    steps, _ = joining(native=native)
    assert steps.program == Steps(copies, (*IN_COPY, *steps.wasm.seal[3:]))


def test_of_a_container_below_an_engine_root_all_get_a_copy():
    steps, _ = joining(native=False, enclosed=True)
    assert steps.assemble == (*JOINED[:-1], ns.CopyContainer("/guest"))
    assert ns.CopyContainer() not in (*steps.wasm.complete, *steps.program.complete, *steps.native.complete)
    for seal in (steps.wasm.seal[1:], steps.program.seal, steps.native.seal):
        assert seal[:2] == IN_COPY


def test_a_containers_user_namespace_is_entered_last():
    steps, _ = joining(namespaces=(Namespace("user", "/proc/1/ns/user"),), native=False)
    assert steps.wasm.seal[1:4] == (ns.EnterContainerRoot(), ns.EnterContainerUser(), op.Close("container"))
    assert steps.program.seal[:3] == (fs.ChangeRoot(), ns.EnterContainerUser(), op.Close("container"))


def test_a_guest_in_a_native_container_does_without_the_kernels_files():
    steps, _ = joining(native=True)
    links = fs.ShowRelativeLinks(("/data",))
    assert steps.wasm.complete == (ns.CopyContainer(), devices.ForbidDevices(), fs.ShieldEngine(()), links, THERE)


def test_a_native_program_in_a_container_of_a_guest_gets_them_for_itself():
    steps, first = joining(native=False)
    assert steps.native.complete[:2] == (ns.CopyContainer(), THERE)
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
        assert without_streams(complete)[-2:] == (fs.MakeMountReadonly("/run"), fs.MakeRootReadonly())


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
    assert ns.EnterNamespaces((), ("mount",), frozenset(), before) in steps.assemble
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
        identity.DieWithShim(),
        ns.JoinCgroup(CGROUP),
        identity.AllowRlimits((Rlimit("RLIMIT_CORE", 0, 0),)),
        ns.EnterNamespaces((net,), ("mount",), frozenset({"network", "uts"})),
        fs.AssembleRoot(()),
        fs.OpenSource(volume, "source 1"),
        fs.ChdirToRoot(),
    )
    assert steps.second_stage == SecondStageClone(Namespace("user"), MAPS, Namespace("pid"))
    assert steps.assemble == (
        identity.NewSession(),
        identity.DieWithShim(),
        identity.BecomeRoot(),
        ns.EnterNamespaces((), ("mount", "uts"), frozenset({"network", "uts"})),
        ns.SetHostname("box"),
        fs.RebindRoot(),
        fs.MountVolume(tmpfs),
        fs.MountVolume(volume, "source 1"),
    )
    maps = "(user 0 is 100000, 65536 ids; group 0 is 100000, 65536 ids)"
    made = f"second process: a new user namespace, a new pid namespace {maps} [from control]"
    assert f"second stage: {made}" in steps.describe()


def test_an_id_map_without_ranges_is_the_containers_own():
    volume = Mount("/data", "bind", "/host", ("rbind", "idmap"))
    steps = planned(namespaces=(Namespace("user"),), id_maps=MAPS, mounts=(volume,))
    assert steps.outside[-2] == fs.OpenSource(replace(volume, id_maps=MAPS), "source 0")


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
    by_spec = FilterSystemCalls("spec", SPEC_FILTER)
    embedded, program = FilterSystemCalls("engine", EMBEDDED), FilterSystemCalls("engine", PROGRAM)
    joined = joining_plan(Bundle("c1", "ns", "/b", Spec(Process(args=("/x",)))), CGROUP, FILTERS, native=False)
    for steps in (filtered(no_new_privileges=True), joined):
        assert steps.wasm.seal[-2:] == (embedded, by_spec)
        assert steps.program.seal[-2:] == (program, by_spec)
        assert not {embedded, program} & set(steps.native.seal)
    assert filtered(no_new_privileges=True).native.seal[-1] == by_spec


def test_a_program_that_may_gain_privileges_is_filtered_while_it_has_the_capability():
    kinds = [type(step) for step in filtered(no_new_privileges=False).native.seal]
    assert kinds.index(FilterSystemCalls) < kinds.index(identity.BecomeUser)


def given_and_filled(steps, begin, given):
    """Follow the slots of one way through a plan; each that is read has been filled."""
    filled = {*given, "device mounts"}
    for step in (*begin, *steps):
        assert set(step.reads()) <= filled, step
        filled |= set(step.writes())


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("joins", [None, (True, False), (False, False), (False, True)])
def test_each_slot_that_a_step_reads_is_filled_by_an_earlier_one(user, joins):
    process = Process(args=("/x",), terminal=True, apparmor_profile="p", selinux_label="l")
    mounts = (Mount("/data", "bind", "/host"), Mount("/proc", "proc", "proc"), Mount("/proc/x", "bind", "/y"))
    namespaces = (Namespace("user"),) if user else ()
    spec = Spec(process=process, mounts=mounts, namespaces=namespaces, id_maps=MAPS if user else IdMaps())
    bundle = Bundle("c1", "ns", "/b", spec, policy=Policy(stdin=False))
    given = {"control", "stdin", "stdout", "stderr"}
    if joins is None:
        steps = plan(bundle, CGROUP, FILTERS)
    else:
        steps = joining_plan(bundle, CGROUP, FILTERS, native=joins[0], enclosed=joins[1])
        given.add("container")
    enclosing = engine_root.assembling(Program("/e", "/e", (), ()), "/x", 0, compiled=True)
    first = (*steps.begin, *steps.outside, *steps.assemble)
    last = (*steps.ready, *steps.start, *steps.end)
    given |= {"entry point", "code directory"}
    for way in (
        (*steps.wasm.complete, *steps.wasm.seal),
        (*steps.wasm.complete, *steps.program.complete, *enclosing, *steps.program.seal),
        (*steps.native.complete, *steps.native.seal),
    ):
        given_and_filled((*way, *last), first, given)
