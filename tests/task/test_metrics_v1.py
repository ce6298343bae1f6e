"""Control files of cgroup v1, as the message that containerd decodes."""

from pelagos_core.api import metrics_v1_pb2 as api
from pelagos_core.task.metrics_v1 import metrics
from tests.support.control_files import ControlFiles

FILES = {
    "pids.current": "3",
    "pids.max": "100",
    "cpuacct.usage": "123456789",
    "cpuacct.usage_percpu": "100000000 23456789",
    "cpuacct.stat": "user 10\nsystem 2",
    "cpu.stat": "nr_periods 5\nnr_throttled 4\nthrottled_time 3",
    "memory.stat": "cache 1\nrss 2\npgpgin 7\npgfault 9\nhierarchical_memsw_limit 17\ntotal_rss 19\n"
    "swap 3\ntotal_pgmajfault 27\ntotal_inactive_file 30\nunheard_of 5",
    "memory.limit_in_bytes": "9223372036854771712",
    "memory.usage_in_bytes": "4096",
    "memory.max_usage_in_bytes": "8192",
    "memory.failcnt": "6",
    "memory.memsw.usage_in_bytes": "5000",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
    "blkio.throttle.io_service_bytes_recursive": "0:1 Read 4096\n0:1 Write 1\nTotal 4097",
    "hugetlb.2MB.usage_in_bytes": "2097152",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000",
    "rdma.max": "mlx4_0 hca_handle=max hca_object=5",
}


def test_everything_is_where_containerd_looks_for_it():
    read = metrics(ControlFiles(FILES, ("2MB",)))
    assert (read.pids.current, read.pids.limit) == (3, 100)
    assert (read.cpu.usage.total, list(read.cpu.usage.per_cpu)) == (123456789, [100000000, 23456789])
    assert (read.cpu.usage.user, read.cpu.usage.kernel) == (100_000_000, 20_000_000)
    assert (read.cpu.throttling.periods, read.cpu.throttling.throttled_time) == (5, 3)
    memory = read.memory
    assert (memory.cache, memory.rss, memory.pg_pg_in, memory.pg_fault) == (1, 2, 7, 9)
    assert (memory.hierarchical_swap_limit, memory.total_rss, memory.total_pg_maj_fault) == (17, 19, 27)
    assert memory.usage == api.MemoryEntry(limit=9223372036854771712, usage=4096, max=8192, failcnt=6)
    assert memory.swap.usage == 5000
    assert read.memory_oom_control.oom_kill == 2
    assert [(e.op, e.major, e.minor, e.value) for e in read.blkio.io_service_bytes_recursive] == [
        ("Read", 0, 1, 4096),
        ("Write", 0, 1, 1),
    ]
    assert list(read.hugetlb) == [api.HugetlbStat(usage=2097152, pagesize="2MB")]
    assert list(read.rdma.limit) == [api.RdmaEntry(device="mlx4_0", hca_handles=2**32 - 1, hca_objects=5)]


def test_no_limit_on_processes_is_zero_and_no_file_is_nothing():
    assert metrics(ControlFiles({"pids.max": "max"})).pids.limit == 0
    assert metrics(ControlFiles({})).memory.usage.usage == 0


def test_the_numbers_of_the_fields_are_containerds():
    numbers = {field.name: field.number for field in api.MemoryStat.DESCRIPTOR.fields}
    assert [numbers[name] for name in ("total_rss", "total_pg_fault", "total_inactive_file", "usage", "swap")] == [
        19, 26, 30, 33, 34,
    ]  # fmt: skip
    assert [field.number for field in api.Metrics.DESCRIPTOR.fields] == [1, 2, 3, 4, 5, 6, 9]
    assert api.Metrics.DESCRIPTOR.full_name == "io.containerd.cgroups.v1.Metrics"
