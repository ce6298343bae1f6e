"""What a daemon leaves for `delete`, and what is read of it."""

import os

import pytest

from pelagos_core.errors import Internal
from pelagos_core.shim import record


def test_what_was_written_is_read(tmp_path):
    record.write_cgroups(str(tmp_path), ("/sys/fs/cgroup/pids/a b", "/sys/fs/cgroup/cpu/x"))
    record.add_process(str(tmp_path), os.getpid())
    cgroups, processes, init = record.read(str(tmp_path))
    assert cgroups == ["/sys/fs/cgroup/pids/a b", "/sys/fs/cgroup/cpu/x"]
    assert processes == [(os.getpid(), record.start_time(os.getpid()))]
    assert init == os.getpid()
    record.remove(str(tmp_path))
    record.remove(str(tmp_path))
    assert record.read(str(tmp_path)) == ([], [], 0)


def test_an_exec_is_in_it_while_it_runs(tmp_path):
    record.add_process(str(tmp_path), os.getpid())
    record.add_exec(str(tmp_path), os.getppid())
    before = (tmp_path / record.NAME).read_text()
    assert [pid for pid, _ in record.read(str(tmp_path))[1]] == [os.getpid(), os.getppid()]
    assert record.read(str(tmp_path))[2] == os.getpid()  # whose pid `delete` answers with
    record.remove_process(str(tmp_path), os.getppid())
    assert f"{before.splitlines()[0]}\n" == (tmp_path / record.NAME).read_text()
    record.remove_process(str(tmp_path), os.getpid() + 1)
    assert record.read(str(tmp_path))[2] == os.getpid()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cgroup",
        "cgroup relative",
        "cgroup /sys/fs/cgroup/../../etc",
        "process 1",
        "process x 1",
        "process 1 -1",
        "nonsense\n\n\0",
        "process 1 2 3",
    ],
)
def test_lines_that_make_no_sense_are_passed_over(tmp_path, text):
    (tmp_path / record.NAME).write_text(f"{text}\nprocess 4 2\n")
    assert record.read(str(tmp_path)) == ([], [(4, 2)], 4)


def test_the_start_time_distinguishes_processes():
    assert record.start_time(os.getpid()) > 0
    assert record.start_time(2**22 + 1) == 0


def test_a_link_in_the_bundle_is_not_followed(tmp_path):
    os.symlink(tmp_path / "elsewhere", tmp_path / record.NAME)
    with pytest.raises(Internal, match=r"cannot write pelagos\.record: .*symbolic links"):
        record.write_cgroups(str(tmp_path), ())
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_record_that_others_could_write_is_not_believed(tmp_path, mode):
    record.add_process(str(tmp_path), os.getpid())
    os.chmod(tmp_path / record.NAME, mode)
    assert record.read(str(tmp_path)) == ([], [], 0)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_a_record_that_is_no_file_of_the_bundle_is_not_read(tmp_path, kind):
    (tmp_path / "elsewhere").write_text("process 4 2\n")
    path = tmp_path / record.NAME
    {"link": lambda: path.symlink_to("elsewhere"), "fifo": lambda: os.mkfifo(path), "directory": path.mkdir}[kind]()
    assert record.read(str(tmp_path)) == ([], [], 0)
