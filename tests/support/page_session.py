"""Runs the sessions of a page: its commands in one shell, on a machine of its own, and what each prints.

The machine has the files and the kernel of this one, and processes, mounts, a network and /run of its own. What a
session changes in the directories of a system is in memory, and its processes end with it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tests.support.pages import ROOT, Block, Command, differs

# What is changed in these directories is in memory.
_CHANGED = ("/etc", "/opt", "/usr/local", "/var/cache", "/var/lib", "/var/log", "/root")
_MACHINE = """\
set -e
work=$1 script=$2
shift 2
mount -t proc proc /proc
mount -t tmpfs none "$work"
for place; do
    mkdir -p "$work/upper$place" "$work/work$place"
    mount -t overlay -o "lowerdir=$place,upperdir=$work/upper$place,workdir=$work/work$place" none "$place"
done
mount -t tmpfs none /run
ip link set lo up 2>/dev/null || true
cd "$PWD"
exec bash "$script"
"""
# A command prints into a file of its own. `$?` is what the one before has left.
_COMMAND = """\
exec >{file} 2>&1
(exit $status)
{text}
status=$?
echo $status >{file}.code
"""
_INTERRUPTED = 130


def run(
    blocks: Sequence[Block],
    directory: Path,
    environment: Mapping[str, str],
    *,
    checkout: bool = False,
    before: str = "",
    after: str = "",
    endless: Collection[str] = (),
    words: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    ends: Mapping[str, int] | None = None,
    seconds: float = 100,
) -> None:
    """Run the commands of blocks in `directory`; each ends with 0, unless the next one asks for its code.

    checkout: run them in the checkout, of which the machine has a copy to change.
    environment: variables besides this process'. before, after: commands of a shell that the page does not have.
    endless: commands that are interrupted after two seconds. words: what stands for a placeholder of the page.
    files: by its language, what a block that is no session is written to, such as `>src/lib.rs`, or `>>` to add to it.
    ends: exit codes of commands that do not end with 0.
    Raises AssertionError that names the page and the line.
    """
    (directory / "printed").mkdir()
    commands = [command for block in blocks for command in _commands(block, files or {})]
    parts = [f"unset PELAGOS_ZYGOTE PELAGOS_METRICS\n{before}\nstatus=0\n"]  # they are of this session of pytest
    for number, command in enumerate(commands):
        text = _replaced(command.text, words or {})
        if command.text in endless:
            text = f"timeout --preserve-status -s INT 2 {text}"
        parts.append(_COMMAND.format(file=directory / f"printed/{number}", text=text))
    script = directory / "session.sh"
    script.write_text("".join([*parts, f"exec >/dev/null 2>&1\n{after}\n"]))
    ended = _on_a_machine(script, directory, ROOT if checkout else directory, environment, seconds)
    for number, command in enumerate(commands):
        next_text = commands[number + 1].text if number + 1 < len(commands) else ""
        _check(command, directory / f"printed/{number}", ended, endless, (ends or {}).get(command.text, 0), next_text)
    assert ended == 0, f"{blocks[0].page}: the session ended with {ended}"


def _commands(block: Block, files: Mapping[str, str]) -> list[Command]:
    if block.language not in files:
        return block.commands()
    return [Command(block.place, f"cat {files[block.language]} <<'END OF BLOCK'\n{block.text}END OF BLOCK", "")]


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(name, value)
    return text


def _on_a_machine(script: Path, directory: Path, place: Path, environment: Mapping[str, str], seconds: float) -> int:
    (directory / "machine").mkdir()
    changed = [path for path in (*_CHANGED, *((str(ROOT),) if place == ROOT else ())) if os.path.isdir(path)]
    words = ["unshare", "-mnpf", "--kill-child", "--propagation=private", "sh", "-c", _MACHINE, "sh"]
    try:
        return subprocess.run(
            [*words, str(directory / "machine"), str(script), *changed],
            cwd=place,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        ).returncode
    except subprocess.TimeoutExpired:
        return -1


def _check(command: Command, file: Path, ended: int, endless: Collection[str], code: int, next_text: str) -> None:
    printed = file.read_text(errors="replace") if file.exists() else ""
    code_file = file.with_name(f"{file.name}.code")
    assert code_file.exists(), f"{command.place}: {command.text!r} has not ended ({ended}): {printed}"
    found = int(code_file.read_text())
    expected = {_INTERRUPTED} if command.text in endless else {code}
    assert found in expected or next_text == "echo $?", (
        f"{command.place}: {command.text!r} ended with {found}: {printed}"
    )
    if command.output:
        message = f"{command.place}: {command.text!r} prints\n{printed}\nand the page shows\n{command.output}"
        assert not differs(command.output, printed), message
