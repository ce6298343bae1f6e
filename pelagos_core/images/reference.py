"""Names of images, as docker and Kubernetes expand them: `app` is `docker.io/library/app:latest`.

A kubelet uses the expanded name with containerd, so an image must be imported with it.
The grammar is that of github.com/distribution/reference.
"""

from __future__ import annotations

import re

from pelagos_core.errors import InvalidArgument

_HUB = "docker.io"
_HUB_USER = "library"
_LATEST = "latest"
_MAX_BYTES = 255  # of domain and path
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def normalised(name: str) -> str:
    """The full name of an image, with its domain and its tag. Raises InvalidArgument for a malformed name."""
    if "@" in name:
        raise InvalidArgument(f"image name {name!r} has a digest: give a tag, as in NAME:v1")
    domain, path = _split(name)
    path, colon, tag = path.partition(":")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain):
        why = "letters must be small" if name != name.lower() else "it is not [REGISTRY/]PATH[:TAG]"
        raise InvalidArgument(f"image name {name!r}: {why}, as in registry.example/team/app:v1")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument(f"image name {name!r}: {tag!r} is not a tag")
    if len(f"{domain}/{path}") > _MAX_BYTES:
        raise InvalidArgument(f"image name {name!r} is longer than {_MAX_BYTES} characters")
    return f"{domain}/{path}:{tag or _LATEST}"


def familiar(name: str) -> str:
    """A full name as docker displays it: without the default domain."""
    return name.removeprefix(f"{_HUB}/").removeprefix(f"{_HUB_USER}/")


def base(name: str) -> str:
    """The last part of the path in a full name, such as `app`."""
    return name.rpartition("/")[2].partition(":")[0]


def tag(name: str) -> str:
    """The tag in a full name."""
    return name.rpartition(":")[2]


def _split(name: str) -> tuple[str, str]:
    """Split a name into domain and path. The first part is a domain if it has a dot, a port or a capital letter, or is
    `localhost`.
    """
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or set(first) & set(".:") or first != first.lower()):
        if first == "index.docker.io":
            first = _HUB
        return first, rest if first != _HUB or "/" in rest else f"{_HUB_USER}/{rest}"
    return _HUB, name if slash else f"{_HUB_USER}/{name}"
