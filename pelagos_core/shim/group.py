"""Which daemon serves a container: one for each pod, or one for a container alone. Lean."""

# The first that is there wins (containerd's runc shim, manager_linux.go).
ANNOTATIONS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")

MAX_CONFIG_BYTES = 16 << 20


def group_in(bundle: str, container_id: str) -> str:
    """The group of the container whose bundle directory this is.

    A config.json that cannot be read counts as one without annotations.
    """
    try:
        with open(f"{bundle}/config.json", "rb") as file:
            return group_of(file.read(MAX_CONFIG_BYTES + 1), container_id)
    except OSError:
        return container_id


def group_of(config: bytes, container_id: str) -> str:
    """The group of a container: an annotation's value, else the container's own id.

    config: the bytes of its config.json. Anything malformed counts as no annotation:
    Create reads the file again and reports the fault.
    """
    if len(config) > MAX_CONFIG_BYTES or not any(name.encode() in config for name in ANNOTATIONS):
        return container_id  # json costs 7 ms to import, and most containers have no pod
    import json

    try:
        annotations = json.loads(config)["annotations"]
        values = [annotations.get(name) for name in ANNOTATIONS]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return container_id
    return next((value for value in values if value and isinstance(value, str)), container_id)
