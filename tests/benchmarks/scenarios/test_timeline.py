import pytest

from benchmarks.samples import Measured
from benchmarks.scenarios import timeline

TRACE = r"""
16 100.000000 sendto(9, "\0\0\0\10\0\0\0\31\1\0not an answer", 20, 0, NULL, 0) = 20
16 100.100000 recvfrom(7, "\0\0\1\6\0\0\0\31\1\0\n\27containerd.task.v2.Task\22\6Create\32\342", 256, 0) = 272
16 100.101000 mkdir("/sys/fs/cgroup/cpu/b/task5", 0755) = 0
16 100.104000 clone(child_stack=NULL, flags=CLONE_NEWPID|SIGCHLD) = 34
34 100.105000 unshare(CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWIPC) = 0
35 100.106000 exit_group(0)   = ?
34 100.107000 mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL) = 0
34 100.107500 mount("tmpfs", "/proc/self/fd/8", "tmpfs", MS_NOSUID, "mode=755") = 0
34 100.108000 sendto(3, "[\"Found\",0,33188,\"0061\"]", 24, 0, NULL, 0) = 24
34 100.109000 sendto(3, "[\"Ready\"]", 9, 0, NULL, 0) = 9
16 100.109200 <... recvfrom resumed>"x", 65536, 0, NULL, NULL) = 2
16 100.110000 sendto(7, "\0\0\0\5\0\0\0\31\2\0\22\3\10\"x", 15, 0, NULL, 0) = 15
16 100.200000 recvfrom(7, "\0\0\1\6\0\0\0\31\1\0\n\27containerd.task.v2.Task\22\6Create\32\342", 256, 0) = 272
16 100.206000 clone(child_stack=NULL, flags=CLONE_NEWPID|SIGCHLD) = 36
""".strip().splitlines()


def test_a_trace_is_cut_into_tasks_and_landmarks():
    first, second = timeline.tasks(TRACE)
    assert [timeline.LANDMARKS[reached.index][0] for reached in first] == [
        "the request has come",
        "bundle read, isolation planned",
        "in the init process: cgroups joined",
        "namespaces made",
        "root mounted, entry point found",
        "module loaded",
        "Create answered",
    ]
    assert [reached.time for reached in second] == [100.2, 100.206]


def test_a_step_is_the_median_of_the_time_up_to_it():
    steps = {measured.metric: measured for measured in timeline.summarize(list(timeline.tasks(TRACE)))}
    planned = steps["bundle read, isolation planned"]
    assert planned == Measured("hello", planned.metric, "ms", pytest.approx(5.0, abs=1e-3))
    assert steps["Create answered"].value == pytest.approx(1.0, abs=1e-3)
    assert "root changed" not in steps
