"""Where the compiled programs of this distribution are."""

from pathlib import Path

# The program that containerd executes, without the settings that `pelagos install` puts into it.
LAUNCHER = Path(__file__).parent / "bin" / "launcher"
