"""Capabilities by name and number, and on a real process."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.linux import capabilities, credentials
from pelagos_core.oci import Capabilities, User
from tests.support.child import in_child


@pytest.mark.parametrize(
    ("names", "mask"),
    [((), 0), (("CAP_CHOWN",), 1), (("CAP_KILL", "CAP_CHOWN"), 0x21), (("CAP_CHECKPOINT_RESTORE",), 1 << 40)],
)
def test_names_have_the_kernels_numbers(names, mask):
    assert capabilities.mask(names) == mask


def test_an_unknown_name_is_refused():
    with pytest.raises(InvalidArgument, match="unknown capability 'CAP_FLY'"):
        capabilities.mask(["CAP_FLY"])


def status_after(user, sets):
    def become():
        credentials.become(user, sets, capabilities.permitted())
        credentials.forbid_new_privileges()
        with open("/proc/self/status", "rb") as file:
            return dict(line.decode().split(":", 1) for line in file)

    return in_child(become)


SETS = Capabilities(
    bounding=frozenset({"CAP_KILL", "CAP_CHOWN"}),
    effective=frozenset({"CAP_KILL"}),
    permitted=frozenset({"CAP_KILL", "CAP_CHOWN"}),
    inheritable=frozenset({"CAP_KILL"}),
    ambient=frozenset({"CAP_KILL"}),
)


@pytest.mark.root
@pytest.mark.parametrize("user", [User(), User(1000, 2000, (3000, 4000), 0o077)])
def test_a_process_has_what_the_spec_says_and_no_more(user):
    status = status_after(user, SETS)
    sets = {name: int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")}
    assert sets == {"CapBnd": 0x21, "CapEff": 0x20, "CapPrm": 0x21, "CapInh": 0x20, "CapAmb": 0x20}
    assert status["Uid"].split() == [str(user.uid)] * 4
    assert status["Gid"].split() == [str(user.gid)] * 4
    assert status["Groups"].split() == [str(gid) for gid in user.additional_gids]
    assert int(status["Umask"], 8) == (0o022 if user.umask is None else user.umask)
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.root
def test_without_a_word_there_is_no_capability_at_all():
    status = status_after(User(), Capabilities())
    assert {int(status[name], 16) for name in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")} <= {0, 1 << 24}


@pytest.mark.root
def test_what_the_machine_itself_lacks_is_left_out():
    def become():
        credentials.become(User(), SETS, capabilities.mask(["CAP_CHOWN"]))
        return capabilities.permitted()

    assert in_child(become) == capabilities.mask(["CAP_CHOWN"])
