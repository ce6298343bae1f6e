"""Which daemon serves a container: one for each pod, or one for a container alone. Lean."""

import os

# The first that is there wins (containerd's runc shim, manager_linux.go).
ANNOTATIONS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")

MAX_CONFIG_BYTES = 16 << 20
_TYPE, _REGULAR = 0o170000, 0o100000  # inode(7), st_mode; `stat` costs an import
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
_SPACE = b" \t\n\r"
# What Go's encoder writes as \u00.. : characters that mean something in HTML, and control characters.
_HARMLESS_ESCAPES = (b"\\u003c", b"\\u003e", b"\\u0026", b"\\u000", b"\\u001")


def group_in(bundle: str, container_id: str, directory_fd: "int | None" = None) -> str:
    """The group of the container whose bundle directory this is.

    directory_fd: what a relative path is relative to, if not to the working directory.
    A config.json that cannot be read, or is no regular file, counts as one without annotations.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait, and the zygote does this for all pods.
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
    """The group of a container: an annotation's value, else the container's own id.

    config: the bytes of its config.json. Anything malformed counts as no annotation:
    Create reads the file again and reports the fault.
    """
    if len(config) > MAX_CONFIG_BYTES:
        return container_id
    quick = _quickly(config)
    values = _by_json(config) if quick is None else quick
    return next((value for value in values if value and isinstance(value, str)), container_id)


def _quickly(config: bytes) -> "list[object] | None":
    """The values of the annotations, empty where there are none; None where only a parser can say.

    `json` costs 7 ms to import, in `start` and `delete` of every container of a pod. Most of the text is
    from users (words, variables, other annotations), so this must find what a parser finds in any text:
    it takes apart what containerd writes, and leaves all else to the parser.
    """
    # Backslashes pair up from the left, and so do the ones of an escaped quote: what is left of
    # both are the quotes at which strings begin and end. No name that is looked for has a space.
    text = config.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    if b"\0" in text or _may_hide_a_name(text):
        return None  # another encoding than UTF-8, or a name that is spelt with escapes
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
    """Whether a letter, digit, dot or hyphen may be spelt as \\u00.. somewhere."""
    return text.count(b"\\u00") != sum(text.count(escape) for escape in _HARMLESS_ESCAPES)


def _is_whole_object(structure: bytes, parts: int) -> bool:
    """Whether what is between the strings begins and ends as an object, and nothing is cut off."""
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
    """The places of a name among the strings where it is a key of the outermost object."""
    found, depth, counted = [], 0, 0
    try:
        while True:  # `index` is quicker than any loop of ours; it says by an error that there is no more
            place = strings.index(name, counted)
            passed = b"".join(between[counted : place + 1])
            depth += passed.count(b"{") + passed.count(b"[") - passed.count(b"}") - passed.count(b"]")
            counted = place + 1
            if depth == 1 and between[counted].lstrip(_SPACE).startswith(b":"):
                found.append(place)
    except ValueError:
        return found


def _flat_object(between: "list[bytes]", strings: "list[bytes]", place: int) -> "dict[bytes, bytes] | None":
    """The object that is a key's value, if all in it are strings; None if not."""
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


def _by_json(config: bytes) -> "list[object]":
    import json

    try:
        annotations = json.loads(config)["annotations"]
        return [annotations.get(name) for name in ANNOTATIONS]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
