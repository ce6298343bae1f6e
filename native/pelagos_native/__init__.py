"""The paths of this distribution's compiled files."""

from pathlib import Path

_BIN = Path(__file__).parent / "bin"

# The program that containerd executes, without the settings that `pelagos install` puts into it.
LAUNCHER = _BIN / "launcher"
# The program that forks containers' processes.
NURSERY = _BIN / "pelagos-nursery"
# The library that executes the plan of a process.
LIBRARY = _BIN / "libpelagos.so"
# A library that an engine's program loads first, so that it loads no library of an image for host names.
NAMES = _BIN / "libpelagos-names.so"
