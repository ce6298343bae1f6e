"""The options of an overlay for mount(2). Source: overlayfs.rst."""

from __future__ import annotations

import os


def with_relative_layers(data: str) -> tuple[str, str]:
    """Shorten an overlay's options. Returns a directory, and options with lower layers relative to it.

    The options for an image with many layers exceed the limit of mount(2). They are returned unchanged, with `/`, if a
    layer's path is relative or contains an escaped character.
    """
    words = data.split(",")
    lower = next((word for word in words if word.startswith("lowerdir=")), "")
    layers = lower.removeprefix("lowerdir=").split(":")
    if "\\" in data or not all(layer.startswith("/") for layer in layers):
        return "/", data
    directory = os.path.commonpath(layers)
    relative = ":".join(os.path.relpath(layer, directory) for layer in layers)
    return directory, ",".join(f"lowerdir={relative}" if word == lower else word for word in words)
