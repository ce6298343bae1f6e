"""The runtime's entry in containerd's config: where it goes, what becomes of the files, and what of it is taken back.

An entry is a few lines between two marks, so that every other byte of a file stays as it is, comments too. There are
three places for it, and containerd is asked about each before anything is written: it must know the runtime then,
and everything else that its config comes to must be as before.

* A file of its own, in a directory that the config imports. containerd 1.6 and 1.7 do not merge these: the file
  would take the place of the CRI's whole section. So there it only counts where nothing else is set.
* The config file itself.
* A template, where k3s or RKE2 writes the config file at each start.
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
# Where the file before had no end of line, one is added, which the mark tells.
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
    """A file for the entry. base: what it begins with if it is not there yet."""

    path: str
    base: str
    is_drop_in: bool = False
    is_template: bool = False


def to_add(containerd: Containerd) -> Change | None:
    """The change that registers the runtime; None if it is registered by lines that are not ours.

    Runs in the command, and writes nothing but in a temporary directory.
    Raises FailedPrecondition if containerd refuses its config, has the CRI disabled, or would not know the runtime
    by it; AlreadyExists or PermissionDenied for files that are not to be touched; OSError; TimeoutExpired.
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
    """The changes that take every entry of ours back.

    Raises AlreadyExists or PermissionDenied for files that are not to be touched; OSError.
    """
    table = containerd_config.parsed(_text(containerd.config) or "")
    return [_without_entry(path) for path in _ours(containerd, _patterns(table, containerd.config))]


def files(containerd: Containerd) -> list[str]:
    """The files by which a containerd knows the runtime: its config, and those that have an entry of ours."""
    table = containerd_config.parsed(_text(containerd.config) or "")
    found = _ours(containerd, _patterns(table, containerd.config))
    return list(dict.fromkeys([containerd.config, *found]))


class _Trial:
    """What a containerd would make of its config with an entry in one place or another."""

    def __init__(self, containerd: Containerd, version: str, written: str | None, directory: str) -> None:
        self._containerd, self._version, self._written, self._directory = containerd, version, written, directory
        text = _without(written or "")
        self.parsed = containerd_config.parsed(text)
        # Lines of one without a version are read as if they were of the first one: where there are none, ours say it.
        self._first = "" if self.parsed or written is None else f"version = {self._newest()}\n"
        before = self._dump(text if self.parsed else f"version = {self._newest()}\n{text}")
        if before.refused:
            raise FailedPrecondition(f"containerd refuses its config {containerd.config}: {before.refused}")
        self._before = before.table

    def imports(self) -> list[str]:
        """The patterns of files that the config imports.

        containerd 2.4 prints /etc/containerd/conf.d/*.toml as a default, but reads it only for a config that names it.
        """
        return _patterns(self.parsed, self._containerd.config)

    def places(self, ours: list[str]) -> Iterator[Place]:
        """The places for the entry, that of an entry that is there first."""
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
        """The versions of the config to try. One without a version is of the first, but not to each containerd."""
        return [self._newest()] if "version" in self.parsed or not self.parsed else [1, 2]

    def block(self, place: Place, table: int) -> str:
        """The entry by which containerd would know the runtime, with everything else as before; empty if none does.

        To containerd 1.6 and 1.7 the runtimes of a config are all that there are: with an entry of this one alone
        runc, which is a default, would be gone. Such ones are written out.
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
        """What a config comes to with an entry; an empty table if containerd refuses it."""
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
    """What a config comes to, without the runtime and the list of files that it has been read from."""
    found = {name: value for name, value in table.items() if name != "imports"}
    return _less(found, HANDLER)


def _less(table: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy of a table without the runtime of a name, at each place that has runtimes."""
    copy = {key: _less(value, name) if isinstance(value, dict) else value for key, value in table.items()}
    if isinstance(copy.get("runtimes"), dict):
        copy["runtimes"].pop(name, None)
    return copy


def _patterns(table: dict[str, Any], config: str) -> list[str]:
    """The patterns of files that a config says it imports, absolute."""
    imports = table.get("imports")
    words = [str(each) for each in imports if "*" in str(each)] if isinstance(imports, list) else []
    return [os.path.join(os.path.dirname(config), each) for each in words]


def _absolute(text: str, config: str) -> str:
    """A config's text for another directory: containerd takes imports relative to the file's own."""
    imports = containerd_config.parsed(text).get("imports")
    for each in imports if isinstance(imports, list) else ():
        if not os.path.isabs(str(each)):
            path = os.path.join(os.path.dirname(config), str(each))
            text = text.replace(f'"{each}"', f'"{path}"').replace(f"'{each}'", f"'{path}'")
    return text


def _ours(containerd: Containerd, patterns: list[str]) -> Iterator[str]:
    """The files that have an entry of ours: also where it would not go today, as before an upgrade of containerd."""
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
    """A file's text, to be given back byte by byte."""
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
    # In its old place, with the same mark at its beginning: others may have written below it.
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
