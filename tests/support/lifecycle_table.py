"""Print the table of docs/architecture.md from the one that decides."""

from pelagos_core.task.state import TABLE, Action, Status


def lines() -> list[str]:
    """The table in Markdown: a row for each status, with its actions by the status that they lead to."""
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
