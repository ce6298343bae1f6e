"""The benchmark's command line: run, show, compare."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from benchmarks import chart, programs, tables
from benchmarks.catalogue import SCENARIOS
from benchmarks.contender import Contender
from benchmarks.report import Report, compare
from benchmarks.run import Run
from benchmarks.stage import FULL, QUICK

_OUTPUT = Path("build/bench/latest.json")
_report = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def main() -> None:
    """Measure pelagos against runc, and against any other containerd shim."""


@main.command()
@click.option("--quick", is_flag=True, help="Two minutes instead of half an hour; the figures are rough.")
@click.option("--rounds", type=click.IntRange(1), help="How often each contender takes its turn.")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="Just this scenario; may be repeated.")
@click.option("--shim", "shims", multiple=True, metavar="NAME=PATH", help="One more shim, which runs WebAssembly.")
@click.option("--native", "natives", multiple=True, metavar="NAME=PATH", help="One more shim, which runs busybox.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=_OUTPUT, show_default=True, help="JSON.")
def run(
    quick: bool,
    rounds: int | None,
    only: tuple[str, ...],
    shims: tuple[str, ...],
    natives: tuple[str, ...],
    output: Path,
) -> None:
    """Measure, print the tables, write the JSON and beside it a chart.

    Needs root, because it creates namespaces, mounts and cgroups. Each measurement runs in separate
    namespaces. The exit code is 1 if a measurement has failed.
    """
    if os.geteuid() != 0:
        raise click.ClickException("the benchmark needs root: it makes namespaces, mounts and cgroups")
    others = [_contender(word, native=False) for word in shims] + [_contender(word, native=True) for word in natives]
    try:
        programs.provide()
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    output.parent.mkdir(parents=True, exist_ok=True)
    settings = QUICK if quick else FULL
    settings = replace(settings, rounds=rounds or settings.rounds)
    with _directory() as directory:
        this = Run(directory, settings, lambda text: click.echo(text, err=True))
        report = this.measure([name for name in SCENARIOS if not only or name in only], this.contenders(others))
    report.save(output)
    _show(report, output)
    sys.exit(1 if this.failures else 0)


@main.command()
@click.argument("report", type=_report)
@click.option("--markdown", is_flag=True, help="Print them in Markdown, as docs/performance.md has them.")
def show(report: Path, markdown: bool) -> None:
    """Print the tables of a run again, and draw its chart again."""
    if markdown:
        click.echo(tables.markdown(Report.load(report)), nl=False)
    else:
        _show(Report.load(report), report)


@main.command(name="compare")
@click.argument("before", type=_report)
@click.argument("after", type=_report)
def compare_command(before: Path, after: Path) -> None:
    """Compare two runs. They should be from the same machine and the same day."""
    tables.print_comparison(list(compare(Report.load(before), Report.load(after))), Console())


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """An empty directory with a short path, for sockets, and a name that is valid in a namespace of containerd.

    containerd accepts letters, digits and single separators between them (identifiers.Validate); tempfile's names
    may end with an underscore.
    """
    directory = Path("/tmp", f"pelagos-bench-{secrets.token_hex(4)}")  # noqa: S108 (of no name that could be guessed)
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _show(report: Report, path: Path) -> None:
    tables.print_report(report, Console())
    drawn = path.with_suffix(".svg")
    drawn.write_text(chart.draw(report))
    click.echo(f"\n{path}, {drawn}")


def _contender(word: str, *, native: bool) -> Contender:
    name, equals, path = word.partition("=")
    shim = Path(path).resolve()
    if not name or not equals or not os.access(shim, os.X_OK):
        raise click.BadParameter(f"{word!r} is not NAME=PATH of a program")
    return Contender(name, shim, native=native)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
