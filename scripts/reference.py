"""Generate the reference pages from the code: commands, annotations, errors, metrics, hooks, features.

The site's build calls `pages`; the pages are not committed. Each function returns Markdown.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import click

from pelagos_core import reasons
from pelagos_core.cli import exit_codes
from pelagos_core.cli.command import Command, Text, contexts
from pelagos_core.cli.command_line import cli
from pelagos_core.config import policy
from pelagos_core.errors import Code, PelagosError
from pelagos_core.metrics import families
from pelagos_core.plugin import bundle, claims, hookspecs
from pelagos_core.plugin.bundle import ANNOTATION_PREFIX, RUNTIME_ANNOTATION
from pelagos_core.shim import group

_ERRORS = Path(__file__).parent.parent / "docs/errors.md"
_HOOKS = ("configure", "describe", "detect", "spawn", "signal", "wait", "native", "code_key", "compile", "compiler")
_REQUIRED = ("detect", "spawn")
_ITS_OWN = "the program's own code"
# How `pelagos run` ends where a name is no error of Create alone: docs/errors.md.
_ENDS = {
    reasons.TRAP: str(exit_codes.TRAP),
    reasons.DEADLINE: str(exit_codes.DEADLINE),
    reasons.ENGINE_FAILED: f"{exit_codes.FAILED}; {exit_codes.TRAP} once the guest runs",
    reasons.NETWORK: f"{exit_codes.FAILED} at Create; else {_ITS_OWN}",
    reasons.CWD: _ITS_OWN,
    reasons.MEMORY: _ITS_OWN,
}
_FIELD = re.compile(r"^:(?P<kind>param|return|raises) ?(?P<name>[\w.]*):", re.MULTILINE)


def pages() -> Mapping[str, str]:
    """All generated pages: their paths below docs/, and their texts."""
    return {
        "reference/commands.md": commands(),
        "reference/annotations.md": annotations(),
        "reference/errors.md": errors(),
        "reference/metrics.md": metrics(),
        "reference/hooks.md": hooks(),
        "reference/features.md": features(),
    }


def commands() -> str:
    """Every command and flag of `pelagos`, with the texts of its help."""
    parts = [
        "# Commands",
        "",
        "This page is generated from the command line's help, which `--help` prints.",
        "",
        "## Exit codes",
        "",
        *_exit_codes(),
    ]
    for context in contexts(click.Context(cli, info_name="pelagos", terminal_width=100, **cli.context_settings)):
        command = context.command
        assert isinstance(command, Command)
        text = Text.of(command)
        parts += ["", f"## {context.command_path}", "", text.purpose, "", "```text", command.get_usage(context), "```"]
        parts += [line for paragraph in text.description for line in ("", _inline(paragraph))]
        for title, records in command.sections(context):
            rows = [f"| `{_cell(typed)}` | {_cell(meaning)} |" for typed, meaning in records]
            parts += ["", f"| {title.lower()} | meaning |", "|---|---|", *rows]
        if text.examples:
            parts += ["", "```sh", *text.examples, "```"]
        if text.exit_codes:
            parts += ["", f"**Exit codes.** {_inline(text.exit_codes)}"]
    return "\n".join(parts) + "\n"


def annotations() -> str:
    """Every annotation that pelagos reads, with an example."""
    parts = [
        "# Annotations",
        "",
        "Set them on a container, or on its pod for all its containers. With a container's name at the end",
        f"(`{RUNTIME_ANNOTATION}.NAME`) an annotation of a pod applies to that container only. Limits of several",
        "places apply together: no annotation permits what another one forbids. Each key except `runtime` can also be",
        "set under `[wasm]` of the [node's config](../configuration.md), and in the runtime options. The setting",
        "*nearest* to a container is that of its own annotation, then its pod's, the runtime options', and the node's.",
        "[Limits and policies](../limits.md) explains them.",
        "",
        "| annotation | example | meaning |",
        "|---|---|---|",
        f"| `{RUNTIME_ANNOTATION}` | `wasmedge` | the backend, or `auto`: [what decides](../engines.md#what-decides) |",
    ]
    lines = re.findall(r'^ +([a-z-]+) = "([^"]+)" +(.+)$', policy.__doc__ or "", re.MULTILINE)
    parts += [f"| `{ANNOTATION_PREFIX}{word}` | `{example}` | {_cell(meaning)} |" for word, example, meaning in lines]
    parts += [
        "",
        "## Annotations of containerd",
        "",
        "The CRI plugin of containerd and other clients set these; pelagos reads them.",
        "",
        "| annotation | what for |",
        "|---|---|",
        f"| `{bundle.CONTAINER_TYPE}` | `sandbox`: a pod's pause container |",
        f"| `{bundle.CONTAINER_NAME}` | the container's name in its pod, for annotations that end in one |",
        *[f"| `{name}` | the pod: its containers share one daemon |" for name in group.ANNOTATIONS],
    ]
    return "\n".join(parts) + "\n"


def errors() -> str:
    """Every name of a failure with its exit code, and the codes of errors on the wire."""
    sections = dict(re.findall(r"^## (PLG-\S+)\n\n(.*?)(?=\n\n|\Z)", _ERRORS.read_text(), re.MULTILINE | re.DOTALL))
    parts = [
        "# Errors and exit codes",
        "",
        "[Find out why it fails](../errors.md) says what to do about each.",
        "",
        "| name | what it says | `pelagos run` ends with |",
        "|---|---|---|",
    ]
    for reason in sorted(reasons.ALL):
        first = re.split(r"(?<=\.)\s", " ".join(sections[reason].split()))[0].rstrip(".")
        first = re.sub(r"\]\((?!#)", "](../", first)
        codes = sorted({str(exit_codes.of_error(kind("", reason))) for kind in PelagosError.__subclasses__()})
        ends = _ENDS.get(reason, " or ".join(codes))
        parts.append(f"| [{reason}](../errors.md#{reason.lower()}) | {_cell(first)} | {ends} |")
    parts += ["", "## Exit codes", "", *_exit_codes()]
    parts += [
        "",
        "## Codes of the task API",
        "",
        "The code of a ttrpc answer (gRPC's).",
        "",
        "| code | name | when |",
        "|---|---|---|",
    ]
    names = {value: name for name, value in vars(Code).items() if name.isupper()}
    for kind in sorted(PelagosError.__subclasses__(), key=lambda each: each.code):
        parts.append(f"| {kind.code} | {names[kind.code]} | {_cell(inspect.getdoc(kind) or '')} |")
    return "\n".join(parts) + "\n"


def metrics() -> str:
    """Every metric with its labels, and the bounds of each histogram."""
    parts = [
        "# Metrics",
        "",
        "What [`pelagos metrics`](../observability.md) prints. With the label `engine` each backend has a value.",
        "",
        "| metric | type | labels | what it is |",
        "|---|---|---|---|",
    ]
    for family in (*families.FOUND, *families.COUNTED):
        suffix = {families.COUNTER: "_total", "info": "_info"}.get(family.kind, "")
        values = dict(family.labels)
        labels = [f"`{name}`{_values(values.get(name, ()))}" for name in family.label_names]
        labels += ["`version`"] if family is families.INFO else []
        parts.append(f"| `{family.name}{suffix}` | {family.kind} | {'; '.join(labels)} | {_cell(family.help)} |")
    parts += ["", "## Bounds", "", "The upper bounds of the buckets of each histogram, in seconds.", ""]
    parts += ["| histogram | bounds |", "|---|---|"]
    for family in families.COUNTED:
        if family.buckets:
            parts.append(f"| `{family.name}` | {', '.join(f'{bound:g}' for bound in family.buckets)} |")
    return "\n".join(parts) + "\n"


def _values(of_label: tuple[str, ...]) -> str:
    """The values of a label, as far as they are few; those of `reason` are on another page."""
    if set(of_label) >= reasons.ALL:
        return ": a [name](errors.md), or `none`"
    return f": {', '.join(of_label)}" if of_label else ""


def hooks() -> str:
    """Every hook of a backend with its signature and docstring, and the types that it takes and returns."""
    parts = [
        "# Hooks",
        "",
        f"Version {hookspecs.CONTRACT} of the contract. [Writing a backend](../writing-a-backend.md) explains it. This",
        "page is generated from `pelagos_core.plugin.hookspecs`. `detect` and `spawn` are required.",
    ]
    for name in _HOOKS:
        function = getattr(hookspecs, f"pelagos_{name}")
        signature = str(inspect.signature(function)).replace("'", "")
        needed = "required" if name in _REQUIRED else "optional"
        parts += ["", f"## pelagos_{name}", "", f"*{needed}*", "", "```python", f"def pelagos_{name}{signature}", "```"]
        parts += ["", _docstring(function)]
    for kind in (hookspecs.Description, hookspecs.Detection, hookspecs.NativePart, hookspecs.RunningProcess):
        parts += ["", f"## {kind.__name__}", "", _fields(inspect.getdoc(kind) or "")]
    for kind in (hookspecs.GuestExit, hookspecs.Trap, hookspecs.UnusableCode):
        parts += ["", f"## {kind.__name__}", "", inspect.getdoc(kind) or ""]
    return "\n".join(parts) + "\n"


def features() -> str:
    """What a backend may claim in `Description`: features, limits, areas of WASI 0.1."""
    parts = [
        "# Features and limits",
        "",
        "A backend claims them in its `Description`. `pelagos backends` shows them, and `pelagos conformance` tests",
        "those for which it has a test.",
    ]
    for title, words in (
        ("Features", claims.FEATURES),
        ("Limits", claims.LIMITS),
        ("Areas of WASI 0.1", claims.WASI_0_1_AREAS),
    ):
        parts += ["", f"## {title}", "", "| word | meaning |", "|---|---|"]
        parts += [f"| `{word}` | {_cell(meaning)} |" for word, meaning in words.items()]
    return "\n".join(parts) + "\n"


def _exit_codes() -> list[str]:
    """The table of exit codes, which is also in docs/errors.md."""
    rows = [f"| {code} | {run} | {other} |" for code, (run, other) in exit_codes.MEANINGS.items()]
    return ["| code | `pelagos run`, `pelagos exec` | any other command |", "|---|---|---|", *rows]


def _docstring(function: object) -> str:
    """A docstring with its fields as a list."""
    text = inspect.getdoc(function) or ""
    first = _FIELD.search(text)
    if not first:
        return text
    head, rest = text[: first.start()].rstrip(), text[first.start() :]
    found = list(_FIELD.finditer(rest))
    ends = [match.start() for match in found[1:]] + [len(rest)]
    items = []
    for match, end in zip(found, ends, strict=True):
        body = " ".join(rest[match.end() : end].split())
        words = {"param": f"`{match['name']}`", "return": "returns", "raises": f"raises `{match['name']}`"}
        items.append(f"- {words[match['kind']]}: {body}")
    return "\n".join([head, "", *items])


def _fields(text: str) -> str:
    """A docstring of a dataclass, whose paragraph of `name: meaning` lines becomes a list."""
    return re.sub(r"^(\w+(?:, \w+)*): ", r"- `\1`: ", text, flags=re.MULTILINE)


def _inline(text: str) -> str:
    """Text with no mark of Markdown's but code, which it is written with."""
    return text.replace("<", "&lt;").replace("*", "\\*")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
