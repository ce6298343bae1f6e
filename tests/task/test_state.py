"""The table of a process' life, cell by cell."""

import itertools

import pytest

from pelagos_core.errors import FailedPrecondition, NotFound
from pelagos_core.task.state import REFUSALS, TABLE, Action, Lifecycle, Status

PATHS = {
    Status.ADDED: [],
    Status.CREATING: [],
    Status.CREATED: [Action.CREATED],
    Status.RUNNING: [Action.CREATED, Action.START],
    Status.PAUSING: [Action.CREATED, Action.START, Action.PAUSE],
    Status.PAUSED: [Action.CREATED, Action.START, Action.PAUSE, Action.PAUSED],
    Status.STOPPED: [Action.CREATED, Action.EXIT],
    Status.DELETED: [Action.EXIT],
}


def lifecycle_at(status):
    lifecycle = Lifecycle("container 'c1'", Status.ADDED if status is Status.ADDED else Status.CREATING)
    for action in PATHS[status]:
        lifecycle.apply(action)
    assert lifecycle.status is status
    return lifecycle


@pytest.mark.parametrize(("status", "action"), list(itertools.product(Status, Action)))
def test_every_cell_leads_where_the_table_says_or_is_refused(status, action):
    lifecycle = lifecycle_at(status)
    if (status, action) in TABLE:
        lifecycle.apply(action)
        assert lifecycle.status is TABLE[status, action]
        return
    with pytest.raises((FailedPrecondition, NotFound)) as refused:
        lifecycle.apply(action)
    assert type(refused.value) is REFUSALS.get((status, action), FailedPrecondition)
    assert str(refused.value) == f"container 'c1': cannot {action.value}, it is {status.value}"
    assert lifecycle.status is status


def test_a_check_changes_nothing():
    lifecycle = lifecycle_at(Status.CREATED)
    assert lifecycle.check(Action.START) is Status.RUNNING
    assert lifecycle.status is Status.CREATED


def test_an_ended_process_never_runs_again():
    ended = (Status.STOPPED, Status.DELETED)
    assert not [key for key, after in TABLE.items() if key[0] in ended and after is Status.RUNNING]
