"""The signals of a terminal. Source: termios(3), credentials(7)."""

from __future__ import annotations

import signal

SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGHUP})
"""What the keys of a terminal, and its hanging up, send to end a process."""

SIGNAL_MASK = sum(1 << (number - 1) for number in SIGNALS)
"""The same as a number: bit n - 1 for the signal n."""
