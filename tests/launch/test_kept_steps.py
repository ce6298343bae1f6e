"""Encoded steps are kept by their content, and only those that hold nothing of one container alone."""

from dataclasses import dataclass
from itertools import chain

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.isolation.entering import JoinCgroup
from pelagos_core.isolation.filesystem import NameRoot
from pelagos_core.isolation.identity import TakeName
from pelagos_core.isolation.operation import Operation
from pelagos_core.launch import kept_steps
from pelagos_core.launch.guest_steps import DescribeGuest, OpenMemoryLimit
from pelagos_core.launch.kept_steps import TooManyArgumentsError, encoded
from pelagos_core.launch.program_steps import ExecuteProgram
from pelagos_core.native.instruction import MAX_ARGUMENTS, Slot, SlotNumbers, encode, instruction
from tests.fuzz.sample_plans import instructions, processes

calls = []


@dataclass(frozen=True, slots=True)
class Step(Operation):
    text: str
    slot: str = "one"
    count: int = 0

    def instructions(self):
        calls.append(self.text)
        return (instruction("say", self.text, *["x"] * self.count), instruction("close_slot", Slot(self.slot)))


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(kept_steps, "_kept", {})
    calls.clear()


def test_an_equal_step_is_encoded_once():
    assert encoded(Step("a"), SlotNumbers()) == encoded(Step("a"), SlotNumbers())
    assert encoded(Step("b"), SlotNumbers()) != encoded(Step("a"), SlotNumbers())
    assert calls == ["a", "b"]


def test_a_process_with_other_numbers_has_its_own():
    first, other = SlotNumbers(), SlotNumbers()
    other.of("zero")
    for numbers in (first, other, first):
        assert encoded(Step("a"), numbers) == encode(Step("a").instructions(), numbers)


def test_slots_are_numbered_as_if_nothing_were_kept():
    kept, anew = SlotNumbers(), SlotNumbers()
    encoded(Step("a", "one"), SlotNumbers())
    for slot in ("one", "two"):
        assert encoded(Step("a", slot), kept) == encode(Step("a", slot).instructions(), anew)


def test_what_cannot_be_encoded_is_not_kept():
    with pytest.raises(TooManyArgumentsError):
        encoded(Step("a", count=MAX_ARGUMENTS), SlotNumbers())
    with pytest.raises(InvalidArgument):
        encoded(Step("\0"), SlotNumbers())
    assert not kept_steps._kept


def test_not_all_are_kept_for_ever(monkeypatch):
    monkeypatch.setattr(kept_steps, "_MOST", 2)
    for text in "abc":
        encoded(Step(text), SlotNumbers())
    assert len(kept_steps._kept) == 1


@pytest.mark.parametrize("step", [JoinCgroup, NameRoot, TakeName, OpenMemoryLimit, DescribeGuest, ExecuteProgram])
def test_names_words_and_variables_of_a_container_are_not_kept(step):
    assert not step.is_common


def test_each_step_that_is_kept_is_a_value_and_has_equal_instructions_each_time():
    for step in chain.from_iterable(processes()):
        made = list(instructions([step]))
        if step.is_common and made:
            for _ in range(2):
                assert encoded(step, SlotNumbers()) == encode(made, SlotNumbers())
