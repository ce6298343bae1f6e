"""Print the table of metrics in docs/observability.md from the code's metric families."""

from pelagos_core.metrics import families
from pelagos_core.metrics.families import Family


def lines() -> list[str]:
    """The table in Markdown: a row for each family, with the names that Prometheus uses."""
    rows = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    return rows + [_row(family) for family in (*families.FOUND, *families.COUNTED)]


def _row(family: Family) -> str:
    suffix = {families.COUNTER: "_total", "info": "_info"}.get(family.kind, "")
    labels = [f"`{name}`{_values(family, name)}" for name in family.label_names]
    labels += ["`version`"] if family is families.INFO else []
    return f"| `{family.name}{suffix}` | {family.kind} | {'; '.join(labels)} | {family.help} |"


def _values(family: Family, name: str) -> str:
    values = dict(family.labels).get(name, ())
    return f": {', '.join(values)}" if 0 < len(values) < 10 else ""


if __name__ == "__main__":
    print("\n".join(lines()))
