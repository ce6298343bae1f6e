"""The order of events that containerd's documentation promises, as a table."""

from __future__ import annotations

# (state of a process, next topic) -> next state.
INIT = {
    ("", "create"): "created",
    ("created", "start"): "started",
    ("created", "exit"): "exited",
    ("started", "exit"): "exited",
    ("exited", "delete"): "",
}
EXEC = {
    ("", "exec-added"): "added",
    ("added", "exec-added"): "added",  # it was deleted before its start; there is no event for that
    ("added", "exec-started"): "started",
    ("started", "exit"): "",
}
# Topics of a container that are optional and may occur between the others.
OF_THE_CONTAINER = {"oom", "paused", "resumed"}

Told = tuple[str, str, str]  # topic without its directory, container id, exec id


def violation(events: list[Told]) -> str:
    """The first event that violates the order; empty if there is none."""
    where: dict[tuple[str, str], str] = {}
    for number, (topic, container, exec_id) in enumerate(events):
        if topic in OF_THE_CONTAINER:
            continue
        key = (container, exec_id)
        after = (EXEC if exec_id else INIT).get((where.get(key, ""), topic))
        started = [name for (owner, name), at in where.items() if owner == container and name and at == "started"]
        if after is None or (topic == "exit" and not exec_id and started):
            return f"{topic} of {container} {exec_id} after {events[:number]}"
        where[key] = after
        if topic == "delete":
            where = {key: at for key, at in where.items() if key[0] != container}
    return ""
