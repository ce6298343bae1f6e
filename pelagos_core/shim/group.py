"""The group of a container. Containers of one group, such as a pod, share a daemon. Lean."""

import os

# The first one that is present is used (containerd's runc shim, manager_linux.go).
ANNOTATIONS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")

MAX_CONFIG_BYTES = 16 << 20
_TYPE, _REGULAR = 0o170000, 0o100000  # inode(7), st_mode; saves the import of `stat`
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
_SPACE = b" \t\n\r"
# Characters that Go's JSON encoder writes as \u00.. : those with a meaning in HTML, and control characters.
_HARMLESS_ESCAPES = (b"\\u003c", b"\\u003e", b"\\u0026", b"\\u000", b"\\u001")


def group_in(bundle: str, container_id: str, directory_fd: "int | None" = None) -> str:
    """The group of the container of a bundle directory.

    directory_fd: the base of a relative path; None: the working directory.
    A config.json that cannot be read or is not a regular file is treated as one without annotations.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait, and the zygote runs this for all pods.
        fd = os.open(f"{bundle}/config.json", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            if os.fstat(fd).st_mode & _TYPE != _REGULAR:
                return container_id
            with open(fd, "rb", closefd=False) as file:
                return group_of(file.read(MAX_CONFIG_BYTES + 1), container_id)
        finally:
            os.close(fd)
    except OSError:
        return container_id


def group_of(config: bytes, container_id: str) -> str:
    """The group of a container: the value of an annotation, else the container's id.

    config: the bytes of its config.json. A malformed file is treated as one without annotations:
    Create reads it again and reports the error.
    """
    if len(config) > MAX_CONFIG_BYTES:
        return container_id
    quick = _scanned(config)
    values = _parsed(config) if quick is None else quick
    return next((value for value in values if value and isinstance(value, str)), container_id)


def _scanned(config: bytes) -> "list[object] | None":
    """The values of the annotations, empty if there are none; None if the text needs a parser.

    The import of `json` takes 7 ms, in `start` and `delete` of every container. Users write most of the text
    (arguments, variables, other annotations), so the result must equal the parser's for any text. This function
    handles the form that containerd writes, and returns None for any other.
    """
    # Escaped backslashes are removed from the left, then escaped quotes: each remaining quote begins or
    # ends a string. None of the names contains a space.
    text = config.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    if b"\0" in text or _may_hide_a_name(text):
        return None  # an encoding other than UTF-8, or a name written with escapes
    if not any(name.encode() in text for name in ANNOTATIONS):
        return []
    parts = text.split(b'"')
    between, strings = parts[::2], parts[1::2]
    if not _is_whole_object(b"".join(between), len(parts)) or not _is_utf8(config):
        return None
    keys = _keys_of_the_object(between, strings, b"annotations")
    if not keys:
        return []
    annotations = _flat_object(between, strings, keys[0]) if len(keys) == 1 else None
    if annotations is None:
        return None
    values = [annotations.get(name.encode(), b"") for name in ANNOTATIONS]
    return None if any(value.translate(None, _PLAIN) for value in values) else [value.decode() for value in values]


def _may_hide_a_name(text: bytes) -> bool:
    """Whether the text may contain a letter, digit, dot or hyphen as \\u00.. ."""
    return text.count(b"\\u00") != sum(text.count(escape) for escape in _HARMLESS_ESCAPES)


def _is_whole_object(structure: bytes, parts: int) -> bool:
    """Whether the text between the strings begins and ends as an object and is not truncated."""
    pairs = (structure.count(b"{") == structure.count(b"}"), structure.count(b"[") == structure.count(b"]"))
    bare = structure.strip(_SPACE)
    return all(pairs) and parts % 2 == 1 and bare.startswith(b"{") and bare.endswith(b"}")


def _is_utf8(config: bytes) -> bool:
    try:
        config.decode()
    except UnicodeDecodeError:
        return False
    return True


def _keys_of_the_object(between: "list[bytes]", strings: "list[bytes]", name: bytes) -> "list[int]":
    """The indexes of `name` among the strings where it is a key of the outermost object."""
    found, depth, counted = [], 0, 0
    try:
        while True:  # `index` is faster than a loop in Python; it raises ValueError after the last one
            place = strings.index(name, counted)
            passed = b"".join(between[counted : place + 1])
            depth += passed.count(b"{") + passed.count(b"[") - passed.count(b"}") - passed.count(b"]")
            counted = place + 1
            if depth == 1 and between[counted].lstrip(_SPACE).startswith(b":"):
                found.append(place)
    except ValueError:
        return found


def _flat_object(between: "list[bytes]", strings: "list[bytes]", place: int) -> "dict[bytes, bytes] | None":
    """The object that is the value of a key, if it contains strings only; else None."""
    opening = b"".join(between[place + 1].split())
    if opening != b":{":
        return {} if opening.startswith(b":{}") else None
    found = {}
    separator = b","
    while separator == b",":
        key, value = place + 1, place + 2
        if value >= len(strings) or between[value].strip(_SPACE) != b":":
            return None
        found[strings[key]] = strings[value]
        place = value
        separator = between[place + 1].strip(_SPACE)
    return found if separator.startswith(b"}") else None


def _parsed(config: bytes) -> "list[object]":
    import json

    try:
        annotations = json.loads(config)["annotations"]
        return [annotations.get(name) for name in ANNOTATIONS]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
