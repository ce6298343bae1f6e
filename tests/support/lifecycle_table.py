"""Print the table of states in docs/architecture.md from the code's table."""

from pelagos_core.task.state import TABLE, Action, Status


def lines() -> list[str]:
    """The table in Markdown: a row for each status, with its actions grouped by the next status."""
    rows = ["| state | what may happen, and the state after it |", "|---|---|"]
    for status in Status:
        ends: dict[str, list[str]] = {}
        for action in Action:
            if (status, action) in TABLE:
                ends.setdefault(TABLE[status, action].value, []).append(action.value)
        cells = [f"{', '.join(actions)}: *{end}*" for end, actions in ends.items()]
        rows.append(f"| **{status.value}** | {'; '.join(cells) or 'nothing'} |")
    return rows


if __name__ == "__main__":
    print("\n".join(lines()))
