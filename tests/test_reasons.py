"""Names of failures: stable, all of them explained, and kept on the way to the client."""

import re
from pathlib import Path

import pytest

from pelagos_core import reasons
from pelagos_core.errors import Code, Internal, NotFound, to_status
from pelagos_core.reasons import because

ROOT = Path(__file__).parent.parent
NAMES = {name: value for name, value in vars(reasons).items() if name.isupper() and name != "ALL"}


def test_each_name_is_explained_and_no_other():
    headings = re.findall(r"^## (PLG-\S+)$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(NAMES.values())
    assert {f"PLG-{name.replace('_', '-')}" for name in NAMES} == set(NAMES.values())


def test_each_name_is_given_somewhere_and_written_in_one_place():
    sources = [path for path in (ROOT / "pelagos_core").rglob("*.py") if path.name != "reasons.py"]
    text = "\n".join(path.read_text() for path in sources)
    for name in NAMES:
        assert f"reasons.{name}" in text, name
    assert set(re.findall(r"PLG-[A-Z-]+", text)) <= {"PLG-"}
    assert set(NAMES.values()) == reasons.ALL


def test_a_reason_is_a_field_and_shown_at_the_end_of_the_text():
    error = NotFound("no such file", reasons.ENTRYPOINT)
    assert (error.message, error.reason) == ("no such file", reasons.ENTRYPOINT)
    assert str(error) == "no such file [PLG-ENTRYPOINT]"
    assert to_status(error) == (Code.NOT_FOUND, "no such file [PLG-ENTRYPOINT]")


def test_a_reason_is_not_read_off_an_errors_text():
    assert NotFound("no such file [PLG-ENTRYPOINT]").reason == ""


def test_a_name_is_put_before_the_message_alone():
    with pytest.raises(NotFound) as raised, because(reasons.SPEC, "container 'c1'"):
        raise NotFound("gone")
    assert (raised.value.message, raised.value.reason) == ("container 'c1': gone", reasons.SPEC)


def test_the_first_reason_stays():
    with pytest.raises(NotFound, match=r"^gone \[PLG-MOUNT\]$"), because(reasons.SPEC), because(reasons.MOUNT):
        raise NotFound("gone")


def test_what_the_kernel_says_gets_one_too():
    with pytest.raises(NotFound, match=r"No such file .* \[PLG-STREAMS\]$") as raised, because(reasons.STREAMS):
        open("/proc/none/such").close()
    assert raised.value.code == Code.NOT_FOUND


def test_a_bug_is_no_reason():
    with pytest.raises(ZeroDivisionError), because(reasons.SPEC):
        assert 1 / 0
    assert to_status(Internal("odd")) == (Code.INTERNAL, "odd")
