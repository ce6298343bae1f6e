"""Control files of cgroup v2, as the message that containerd decodes."""

from pelagos_core.api import metrics_v2_pb2 as api
from pelagos_core.task.metrics_v2 import metrics
from tests.support.control_files import ControlFiles

FILES = {
    "pids.current": "3",
    "pids.max": "max",
    "cpu.stat": "usage_usec 10\nuser_usec 7\nsystem_usec 3\ncore_sched.force_idle_usec 0\nnr_throttled 4",
    "memory.stat": "anon 1\nfile 2\npgfault 18\nworkingset_refault_anon 3\nworkingset_refault_file 4\nnr_something 9",
    "memory.current": "4096",
    "memory.max": "67108864",
    "memory.swap.max": "max",
    "memory.peak": "8192",
    "memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nunknown rbytes=9",
    "hugetlb.2MB.current": "0",
    "hugetlb.2MB.max": "max",
    "rdma.max": "mlx4_0 hca_handle=2 hca_object=max",
}


def test_everything_is_where_containerd_looks_for_it():
    read = metrics(ControlFiles(FILES, ("2MB",)))
    assert read.pids == api.PidsStat(current=3, limit=2**64 - 1)
    assert read.cpu == api.CPUStat(usage_usec=10, user_usec=7, system_usec=3, nr_throttled=4)
    memory = read.memory
    assert (memory.anon, memory.file, memory.pgfault, memory.workingset_refault) == (1, 2, 18, 7)
    assert (memory.usage, memory.usage_limit, memory.swap_limit, memory.max_usage) == (4096, 64 << 20, 2**64 - 1, 8192)
    assert read.memory_events == api.MemoryEvents(high=1, max=2, oom=3, oom_kill=4)
    assert list(read.io.usage) == [api.IOEntry(major=8, minor=0, rbytes=1, wbytes=2, rios=3, wios=4)]
    assert list(read.hugetlb) == [api.HugeTlbStat(max=2**64 - 1, pagesize="2MB")]
    assert list(read.rdma.limit) == [api.RdmaEntry(device="mlx4_0", hca_handles=2, hca_objects=2**32 - 1)]


def test_no_file_is_nothing():
    assert metrics(ControlFiles({})).memory.usage == 0


def test_the_numbers_of_the_fields_are_containerds():
    numbers = {field.name: field.number for field in api.MemoryStat.DESCRIPTOR.fields}
    wanted = ("anon", "inactive_file", "pgfault", "pgmajfault", "usage", "usage_limit", "swap_usage", "swap_limit")
    assert [numbers[name] for name in wanted] == [1, 13, 18, 19, 32, 33, 34, 35]
    assert [field.number for field in api.Metrics.DESCRIPTOR.fields] == [1, 2, 4, 5, 6, 7, 8]
    assert api.Metrics.DESCRIPTOR.full_name == "io.containerd.cgroups.v2.Metrics"
