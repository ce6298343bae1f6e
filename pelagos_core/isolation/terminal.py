"""The signals of a terminal. Source: termios(3), credentials(7)."""

from __future__ import annotations

import signal

SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""The signals that a terminal sends for a key or a hang-up."""

SIGNAL_MASK = sum(1 << (number - 1) for number in SIGNALS)
"""The same as a mask: bit n - 1 for signal n."""
