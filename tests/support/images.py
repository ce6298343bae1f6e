"""Images as `ctr images import` takes them, made of files, as `pelagos pack` makes them."""

from __future__ import annotations

from pathlib import Path

from pelagos_core.images import archive, image
from pelagos_core.images.image import Platform, Settings
from pelagos_core.images.layer import Layer


def write_image(target: Path, name: str, files: dict[str, Path]) -> None:
    """An image of one layer, for this platform, that has these files at its top and runs the first."""
    layer = Layer()
    for path, file in files.items():
        layer.add(str(file), f"/{path}")
    settings = Settings(entrypoint=(f"/{next(iter(files))}",))
    made = image.image(layer, (Platform.of_this_machine(),), settings)
    with target.open("wb") as file:
        archive.write(made, name, file.write)
