"""`linux.seccomp` of the OCI runtime spec: the system calls that a process may make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pelagos_core.oci.field import Field, kept

OPERATORS = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")

_ACTIONS = {
    f"SCMP_ACT_{word}": word
    for word in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG")
}
_OPERATORS = {f"SCMP_CMP_{word}": word for word in OPERATORS}
_FLAGS = {f"SECCOMP_FILTER_FLAG_{word}": word for word in ("TSYNC", "LOG", "SPEC_ALLOW")}

_EPERM = 1
_MAX_ERRNO = 4095  # the largest errno that a system call can return
_U64 = 2**64 - 1
_ARGUMENTS = 6


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of `args`: a comparison of an argument. For MASKED_EQ `value` is the mask."""

    index: int
    value: int
    value_two: int
    operator: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `syscalls`: the action for calls with these names if all conditions hold."""

    names: tuple[str, ...]
    action: str
    number: int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Seccomp:
    """A whole profile. Words are without the spec's `SCMP_…` prefixes.

    default_number, and the number of a rule: the errno for ERRNO, the message for the tracer for TRACE.
    """

    default_action: str
    default_number: int = _EPERM
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def __hash__(self) -> int:
        """A hash of a part only: compiled profiles are looked up for each container, and have hundreds of names."""
        return hash((self.default_action, self.architectures, len(self.rules)))


@kept
def read_seccomp(seccomp: Field) -> Seccomp | None:
    """Read `linux.seccomp`; None if there is none. Raises InvalidArgument."""
    if not seccomp:
        return None
    seccomp.only("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls")
    return Seccomp(
        default_action=_action(seccomp.get("defaultAction")),
        default_number=_number(seccomp.get("defaultErrnoRet")),
        architectures=seccomp.get("architectures").each(_architecture),
        flags=seccomp.get("flags").each(lambda flag: _word(flag, _FLAGS)),
        rules=seccomp.get("syscalls").each(_rule),
    )


def _rule(rule: Field) -> Rule:
    rule.only("names", "action", "errnoRet", "args")
    names = rule.get("names")
    if not names.texts():
        names.refuse("empty")
    return Rule(
        names=names.texts(),
        action=_action(rule.get("action")),
        number=_number(rule.get("errnoRet")),
        conditions=rule.get("args").each(_condition),
    )


def _condition(condition: Field) -> Condition:
    return Condition(
        index=condition.get("index").number(_ARGUMENTS - 1),
        value=condition.get("value").number(_U64),
        value_two=condition.get("valueTwo").number(_U64),
        operator=_word(condition.get("op"), _OPERATORS),
    )


def _action(action: Field) -> str:
    if action.text() == "SCMP_ACT_NOTIFY":
        action.refuse("SCMP_ACT_NOTIFY is not supported: there is no seccomp agent")
    return _word(action, _ACTIONS)


def _architecture(architecture: Field) -> str:
    name = architecture.text()
    if not name.startswith("SCMP_ARCH_"):
        architecture.refuse(f"{name!r} is unknown")
    return name.removeprefix("SCMP_ARCH_").lower()


def _number(number: Field) -> int:
    return number.number(_MAX_ERRNO) if number else _EPERM


def _word(field: Field, words: Mapping[str, str]) -> str:
    """Translate a word of the spec by `words`. Raises InvalidArgument if it is missing or unknown."""
    word = field.choice(words)
    if not word:
        field.refuse("missing")
    return words[word]
