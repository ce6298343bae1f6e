"""Print the table of docs/architecture.md from the one that decides."""

from pelagos_core.task.state import TABLE, Action, Status


def lines() -> list[str]:
    """The table in Markdown: a row for each status, a column for each action."""
    actions = list(Action)
    rows = ["| | " + " | ".join(action.value for action in actions) + " |", "|---" * (len(actions) + 1) + "|"]
    for status in Status:
        cells = [TABLE[status, action].value if (status, action) in TABLE else "" for action in actions]
        rows.append(f"| **{status.value}** | " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    print("\n".join(lines()))
