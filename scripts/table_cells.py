"""A Markdown extension of the site: tables that a narrow screen can show.

A table of words becomes one card for each row there (`data-cards`, and `data-label` with the column's heading on
each cell); one of figures, which has a column aligned to the right, stays a table. scripts/theme/site.css does the
rest. Zensical loads it by mkdocs.yml.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

_AFTER_INLINE = 15  # the cells' own Markdown has become elements by then: that processor has 20
_WORDS = 30
"""Characters of a cell from which on it is text, and no figure or name."""


class TableCells(Extension):
    """Marks tables and their cells."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: D102 (Markdown's own name)
        md.treeprocessors.register(_Marks(md), "table_cells", _AFTER_INLINE)


class _Marks(Treeprocessor):
    def run(self, root: Element) -> None:
        for table in root.iter("table"):
            head = table.find("thead")
            headings = [_text(cell) for cell in table.iter("th")]
            if head is not None and not any(headings):
                table.remove(head)
            rows = [list(row) for row in table.iterfind("tbody/tr")]
            of_figures = any("right" in cell.get("style", "") for cell in table.iter("th"))
            if of_figures or not any(len(_text(cell)) > _WORDS for row in rows for cell in row[1:]):
                continue
            table.set("data-cards", "")
            for row in rows if len(headings) > 2 else []:  # noqa: PLR2004 (of two columns, the first is the heading)
                for heading, cell in zip(headings[1:], row[1:], strict=False):
                    cell.set("data-label", heading)


def _text(element: Element) -> str:
    return "".join(element.itertext()).strip()


def makeExtension(**settings: object) -> TableCells:
    """What Markdown calls to load this."""
    return TableCells(**settings)
