"""Where runs are recorded: which are active, which are abandoned, and which directories are trusted."""

import os

import pytest

from pelagos_core.daemon import runs
from pelagos_core.daemon.runs import Run
from pelagos_core.errors import AlreadyExists, NotFound, PermissionDenied

UID = 12345


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    path = str(tmp_path / "runs")
    monkeypatch.setattr(runs, "places", lambda uid: [path])
    return path


@pytest.fixture
def run(place):
    runs.usable_place(UID)
    made = []

    def make(run_id="run-00000001", started=1.0, **fields):
        directory, fd = runs.make(place, Run(run_id, os.getpid(), ("x.wasm", "a"), started, **fields))
        made.append(fd)
        return directory, fd

    yield make
    for fd in made:
        try:
            os.close(fd)
        except OSError:
            pass


def test_a_user_has_places_of_his_own():
    assert "/run/pelagos/runs" not in runs.places(1000)


def test_temporary_directories_of_the_environment_come_first_if_they_are_there(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setenv("TMP", str(tmp_path))
    assert runs.places(UID)[:2] == [f"{tmp_path}/pelagos-{UID}", f"/tmp/pelagos-{UID}"]


def test_what_a_command_holds_is_listed_oldest_first_and_nothing_is_abandoned(run):
    run("run-00000001", started=2.0)
    run("run-00000002", started=1.0)
    assert [each.id for each in runs.listed(UID)] == ["run-00000002", "run-00000001"]
    assert runs.listed(UID)[1].command == ("x.wasm", "a")
    assert runs.abandoned(UID) == []


def test_what_nothing_holds_any_more_is_abandoned_and_not_listed(run):
    directory, fd = run()
    os.close(fd)
    assert runs.abandoned(UID) == [directory]
    assert runs.listed(UID) == []
    runs.remove(directory)
    assert runs.abandoned(UID) == []


def test_a_directory_whose_maker_died_before_it_was_complete_is_abandoned(place):
    runs.usable_place(UID)
    os.mkdir(f"{place}/run-00000003")
    assert runs.abandoned(UID) == [f"{place}/run-00000003"]


def test_a_run_is_found_by_its_id_or_how_it_begins(run):
    run("run-aa000001")
    run("run-ab000002")
    assert runs.find(UID, "run-aa000001").id == "run-aa000001"
    assert runs.find(UID, "ab").id == "run-ab000002"
    for name, text in (("run-a", "several ids"), ("", "does not exist"), ("zz", "does not exist")):
        with pytest.raises(NotFound, match=text):
            runs.find(UID, name)


def test_a_record_of_another_version_is_read_as_far_as_it_is_known(run):
    directory, _ = run()
    path = f"{directory}/run.json"
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace('{"id"', '{"new": 1, "id"'))
    assert len(runs.listed(UID)) == 1
    with open(path, "w") as file:
        file.write("[]")
    assert runs.listed(UID) == []


def test_a_place_that_others_can_write_to_is_not_used(place):
    os.mkdir(place)
    os.chmod(place, 0o777)
    with pytest.raises(PermissionDenied, match="can be written by others"):
        runs.usable_place(UID)
    os.mkdir(f"{place}/run-00000001")
    assert runs.abandoned(UID) == []
    os.rmdir(f"{place}/run-00000001")
    os.rmdir(place)
    os.symlink("/tmp", place)
    with pytest.raises(PermissionDenied):
        runs.usable_place(UID)


def test_a_name_is_one_containers_until_it_is_removed(run):
    directory, fd = run("run-00000001", name="web", is_removed=False)
    assert runs.find(UID, "web").id == "run-00000001"
    with pytest.raises(AlreadyExists, match="name 'web' is in use by container 'run-00000001'"):
        run("run-00000002", name="web")
    assert [name for name in os.listdir(os.path.dirname(directory)) if name.startswith(runs.PREFIX)] == ["run-00000001"]
    runs.end(directory, 2.0, 3)
    os.close(fd)
    with pytest.raises(AlreadyExists):
        run("run-00000002", name="web")
    runs.remove(directory)
    run("run-00000002", name="web")


def test_the_record_and_the_output_of_one_that_has_ended_stay(run):
    directory, fd = run(is_detached=True, is_removed=False)
    os.mkdir(f"{directory}/bundle")
    for name in ("output", "bundle/config.json"):
        with open(f"{directory}/{name}", "w") as file:
            file.write("x")
    runs.end(directory, 5.0, 7)
    os.close(fd)
    assert sorted(os.listdir(directory)) == ["output", "run.json"]
    assert runs.listed(UID) == []
    assert runs.abandoned(UID) == []
    (ended,) = runs.listed(UID, ended=True)
    assert (ended.ended, ended.exit_code) == (5.0, 7)
    with pytest.raises(NotFound):
        runs.find(UID, ended.id)
    assert runs.directory_of(UID, runs.find(UID, ended.id, ended=True)) == directory


def test_nothing_stays_of_one_that_is_to_be_removed(run):
    directory, _ = run(is_detached=True, is_removed=True)
    runs.end(directory, 5.0, 7)
    assert not os.path.exists(directory)
    runs.end(directory, 5.0, 7)


def test_a_full_disk_leaves_no_directory(place, monkeypatch):
    runs.usable_place(UID)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "record", full)
    with pytest.raises(OSError, match="No space"):
        runs.make(place, runs.new(("x.wasm",)))
    assert [name for name in os.listdir(place) if name.startswith(runs.PREFIX)] == []


def test_outputs_of_root_are_on_a_disk_and_those_without_a_record_go(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOTS", str(tmp_path / "runs"))
    monkeypatch.setattr(runs, "_OUTPUTS", str(tmp_path / "log"))
    directory = f"{tmp_path}/runs/run-00000001"
    os.makedirs(directory)
    os.mkdir(tmp_path / "log", 0o700)
    (tmp_path / "log/run-of-before.log").touch()
    (tmp_path / "log/other").touch()
    path = runs.make_output(directory)
    assert path == f"{tmp_path}/log/run-00000001.log"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path / "log")) == ["other", "run-00000001.log"]
    runs.remove(directory)
    assert os.listdir(tmp_path / "log") == ["other"]
