"""Where the compiled parts of this distribution are."""

from pathlib import Path

_BIN = Path(__file__).parent / "bin"

# The program that containerd executes, without the settings that `pelagos install` puts into it.
LAUNCHER = _BIN / "launcher"
# What forks containers' processes.
NURSERY = _BIN / "pelagos-nursery"
# What carries out the plan of a process.
LIBRARY = _BIN / "libpelagos.so"
# What an engine's program loads first, so that no library of an image is loaded for host names.
NAMES = _BIN / "libpelagos-names.so"
