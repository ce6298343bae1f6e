"""Plans the runtime's entry in containerd's config: its place, its lines, and its removal.

An entry is a few lines between two marks, so that every other byte of a file is unchanged, including comments. There
are three places for it. Each is tried with `containerd config dump` before a file is written: the effective config
must contain the runtime, and must otherwise be unchanged.

* A separate file, in a directory that the config imports. containerd 1.6 and 1.7 do not merge imported files: the file
  would replace the CRI's whole section. So this place is used there only if nothing else is set.
* The config file itself.
* A template, if k3s or RKE2 generates the config file at each start.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pelagos_core.cli import containerd_config, replacement
from pelagos_core.cli.containerd import Containerd
from pelagos_core.cli.containerd_config import HANDLER, dump
from pelagos_core.cli.replacement import Change
from pelagos_core.errors import FailedPrecondition

DROP_IN = "pelagos.toml"
_BEGIN = "# pelagos: written by `pelagos install`, removed by `pelagos uninstall`"
_END = "# pelagos: end"
# If the file had no newline at its end, one is added, and the mark says so.
_JOINED = ", with the end of the line before"
_MADE = "# This file was made by `pelagos install`."
_MADE_WITH_DIRECTORY = "# This file and its directory were made by `pelagos install`."
_BLOCK = re.compile(
    rf"(?:^|\n(?={re.escape(_BEGIN + _JOINED)}\n))(?:{re.escape(_BEGIN)}|{re.escape(_BEGIN + _JOINED)})\n"
    rf".*?^{re.escape(_END)}\n?",
    re.MULTILINE | re.DOTALL,
)
_BASE = '{{ template "base" . }}\n'
_CONF_D = "conf.d"


@dataclass(frozen=True, slots=True)
class Place:
    """A file for the entry. base: the beginning of a new file."""

    path: str
    base: str
    is_drop_in: bool = False
    is_template: bool = False


def to_add(containerd: Containerd) -> Change | None:
    """The change that registers the runtime; None if lines that pelagos has not written register it.

    Runs in the command, and writes only to a temporary directory.
    Raises FailedPrecondition if containerd refuses its config, the CRI is disabled, or no entry would register the
    runtime; AlreadyExists or PermissionDenied for files that must not be changed; OSError; TimeoutExpired.
    """
    version = containerd_config.version_of(containerd.program)
    written = _text(containerd.config)
    with tempfile.TemporaryDirectory(prefix="pelagos-install-") as directory:
        trial = _Trial(containerd, version, written, directory)
        registered = containerd_config.registration(containerd)
        if registered.disabled:
            raise FailedPrecondition(registered.problem)
        ours = list(_ours(containerd, trial.imports()))
        if registered.handlers and not ours:
            return None
        for place in trial.places(ours):
            for table in trial.tables():
                block = trial.block(place, table)
                if block:
                    return _with_entry(place, block)
    raise FailedPrecondition(
        f"containerd {version} would not know the runtime by an entry in {containerd.config}"
        f"{'' if 'version' in trial.parsed or not written else ', which has no line `version`'}: "
        "`containerd config migrate` prints it in a newer form"
    )


def to_remove(containerd: Containerd) -> list[Change]:
    """The changes that remove all entries that pelagos has written.

    Raises AlreadyExists or PermissionDenied for files that must not be changed; OSError.
    """
    table = containerd_config.parsed(_text(containerd.config) or "")
    return [_without_entry(path) for path in _ours(containerd, _patterns(table, containerd.config))]


def files(containerd: Containerd) -> list[str]:
    """The files that register the runtime: containerd's config, and the files with an entry of pelagos."""
    table = containerd_config.parsed(_text(containerd.config) or "")
    found = _ours(containerd, _patterns(table, containerd.config))
    return list(dict.fromkeys([containerd.config, *found]))


class _Trial:
    """Tries entries in different places with `containerd config dump`."""

    def __init__(self, containerd: Containerd, version: str, written: str | None, directory: str) -> None:
        self._containerd, self._version, self._written, self._directory = containerd, version, written, directory
        text = _without(written or "")
        self.parsed = containerd_config.parsed(text)
        # containerd reads a file without a version as version 1. An empty file gets a version with the entry.
        self._first = "" if self.parsed or written is None else f"version = {self._newest()}\n"
        before = self._dump(text if self.parsed else f"version = {self._newest()}\n{text}")
        if before.refused:
            raise FailedPrecondition(f"containerd refuses its config {containerd.config}: {before.refused}")
        self._before = before.table

    def imports(self) -> list[str]:
        """The patterns of the files that the config imports.

        containerd 2.4 prints /etc/containerd/conf.d/*.toml by default, but reads it only if the config names it.
        """
        return _patterns(self.parsed, self._containerd.config)

    def places(self, ours: list[str]) -> Iterator[Place]:
        """The places for the entry. The place of an existing entry is first."""
        found = list(self._places())
        return iter(sorted(found, key=lambda place: place.path not in ours))

    def _places(self) -> Iterator[Place]:
        start = f"version = {self._newest()}\n"
        for pattern in self.imports():
            directory, name = os.path.split(pattern)
            if name == "*.toml" and "*" not in directory and os.path.isdir(os.path.dirname(directory)):
                yield Place(os.path.join(directory, DROP_IN), start, is_drop_in=True)
        if self._containerd.of_rancher:
            name = "config-v3.toml.tmpl" if self._newest() > 2 else "config.toml.tmpl"  # noqa: PLR2004
            yield Place(os.path.join(os.path.dirname(self._containerd.config), name), _BASE, is_template=True)
        else:
            yield Place(self._containerd.config, start)

    def _newest(self) -> int:
        version = self.parsed.get("version")
        return version if version in (2, 3, 4) else containerd_config.newest_table(self._version)

    def tables(self) -> list[int]:
        """The versions of the config to try. Most versions of containerd read one without a version as version 1."""
        return [self._newest()] if "version" in self.parsed or not self.parsed else [1, 2]

    def block(self, place: Place, table: int) -> str:
        """The entry that registers the runtime and changes nothing else; empty if there is none.

        For containerd 1.6 and 1.7, the runtimes of a config replace the default ones: with an entry for this runtime
        only, the default runc would be missing. So the entry contains the default runtimes too.
        """
        first = "" if place.is_drop_in or place.is_template else self._first
        block = _block(table, {}, first)
        after = self._with_block(place, table, block)
        lost = {name: it for name, it in self._runtimes(self._before).items() if name not in self._runtimes(after)}
        if lost:
            block = _block(table, lost, first)
            after = self._with_block(place, table, block)
        ours = containerd_config.kinds(after).get(HANDLER, "")
        return block if containerd_config.is_ours(ours) and _rest(after) == _rest(self._before) else ""

    @staticmethod
    def _runtimes(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {name: it for name, it in containerd_config.runtimes(table).items() if name != HANDLER}

    def _with_block(self, place: Place, table: int, block: str) -> dict[str, Any]:
        """The effective config with an entry; an empty table if containerd refuses it."""
        if not place.is_drop_in:
            written = self._written if self._written is not None else place.base
            return self._dump(_with(_without(written), block)).table
        path = os.path.join(self._directory, DROP_IN)
        _put(path, f"version = {table}\n{block}")
        return self._dump(f"{self._first_line()}imports = ['{self._containerd.config}', '{path}']\n").table

    def _first_line(self) -> str:
        return f"version = {self.parsed['version']}\n" if "version" in self.parsed else ""

    def _dump(self, text: str) -> containerd_config.Dump:
        path = os.path.join(self._directory, "config.toml")
        _put(path, _absolute(text, self._containerd.config))
        return dump(self._containerd.program, path)


def _put(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def _rest(table: dict[str, Any]) -> dict[str, Any]:
    """An effective config without the runtime and the list of its files, for a comparison."""
    found = {name: value for name, value in table.items() if name != "imports"}
    return _less(found, HANDLER)


def _less(table: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy of a table without the runtime with this name, in each section that lists runtimes."""
    copy = {key: _less(value, name) if isinstance(value, dict) else value for key, value in table.items()}
    if isinstance(copy.get("runtimes"), dict):
        copy["runtimes"].pop(name, None)
    return copy


def _patterns(table: dict[str, Any], config: str) -> list[str]:
    """The absolute patterns of the files that a config imports."""
    imports = table.get("imports")
    words = [str(each) for each in imports if "*" in str(each)] if isinstance(imports, list) else []
    return [os.path.join(os.path.dirname(config), each) for each in words]


def _absolute(text: str, config: str) -> str:
    """A config's text with absolute imports, for another directory: containerd resolves them relative to the file."""
    imports = containerd_config.parsed(text).get("imports")
    for each in imports if isinstance(imports, list) else ():
        if not os.path.isabs(str(each)):
            path = os.path.join(os.path.dirname(config), str(each))
            text = text.replace(f'"{each}"', f'"{path}"').replace(f"'{each}'", f"'{path}'")
    return text


def _ours(containerd: Containerd, patterns: list[str]) -> Iterator[str]:
    """The files with an entry of pelagos, also in a place that would not be chosen now (containerd was upgraded)."""
    directory = os.path.dirname(containerd.config)
    directories = [os.path.dirname(each) for each in patterns if "*" not in os.path.dirname(each)]
    drop_ins = [*directories, os.path.join(directory, _CONF_D)]
    rancher = ("config.toml.tmpl", "config-v3.toml.tmpl") if containerd.of_rancher else ()
    if containerd.of_rancher:
        drop_ins += [os.path.join(directory, name) for name in ("config.toml.d", "config-v3.toml.d")]
    paths = [os.path.join(each, DROP_IN) for each in drop_ins]
    paths += [os.path.join(directory, name) for name in rancher] or [containerd.config]
    return (path for path in dict.fromkeys(paths) if _BLOCK.search(_text(path) or ""))


def _text(path: str) -> str | None:
    """A file's text, decoded so that `_bytes` restores every byte."""
    content = replacement.read(replacement.resolve(path))
    return None if content is None else content.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _block(table: int, others: Mapping[str, Mapping[str, object]], first: str = "") -> str:
    return f"{_BEGIN}\n{first}{containerd_config.entry(table, others)}{_END}\n"


def _with(text: str, block: str) -> str:
    if text and not text.endswith("\n"):
        return f"{text}\n{block.replace(_BEGIN, _BEGIN + _JOINED, 1)}"
    return text + block


def _without(text: str) -> str:
    return _BLOCK.sub("", text)


def _with_entry(place: Place, block: str) -> Change:
    path = replacement.resolve(place.path)
    written = _text(path)
    if written is None:
        directory = not os.path.isdir(os.path.dirname(path))
        first = _MADE_WITH_DIRECTORY if directory else _MADE
        return Change(path, None, _bytes(f"{first}\n{place.base}{block}"), directory=directory)
    old = _BLOCK.search(written)
    if old is None:
        return Change(path, _bytes(written), _bytes(_with(written, block)))
    # Keep the place and the mark of the old entry: other lines may follow it.
    if _JOINED in old[0]:
        block = block.replace(_BEGIN, _BEGIN + _JOINED, 1)
    start = "\n" if old[0].startswith("\n") else ""
    text = written[: old.start()] + start + block + written[old.end() :]
    return Change(path, _bytes(written), _bytes(text))


def _without_entry(path: str) -> Change:
    path = replacement.resolve(path)
    written = _text(path) or ""
    text = _without(written)
    lines = text.splitlines()
    made = bool(lines) and lines[0] in (_MADE, _MADE_WITH_DIRECTORY)
    if made and all(line == _BASE.strip() or re.fullmatch(r"version = \d", line) for line in lines[1:]):
        return Change(path, _bytes(written), None, directory=lines[0] == _MADE_WITH_DIRECTORY)
    return Change(path, _bytes(written), _bytes(text))
