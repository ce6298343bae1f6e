"""A table for a person: a header and rows, in the width of the terminal."""

from __future__ import annotations


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print it on stdout. A cell that is too long is folded."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)
