"""Faulty backends as source text, one for each known kind of failure. The core must tolerate all of them."""

from __future__ import annotations

_HEAD = "import ctypes, os, sys, time\nfrom pelagos_core.plugin.hookspecs import Detection, hookimpl\n"
_DETECT = "@hookimpl\ndef pelagos_detect():\n    {}\n"
_SPAWN = "@hookimpl\ndef pelagos_spawn():\n    {}\n"
_WILLING = _HEAD + _DETECT.format("return Detection.can(100, 'anything')")
_IDLE = _HEAD + _SPAWN.format("pass")

FAULTY = {
    "fails_at_import": "raise ImportError('no such engine')\n",
    "exits_at_import": "import os; os._exit(3)\n",
    "segfaults_at_import": "import ctypes; ctypes.string_at(0)\n",
    "misspelt_hook": _HEAD + "@hookimpl\ndef pelagos_spwan():\n    pass\n",
    "another_contract": "pelagos_contract = 999\n" + _IDLE,
    "prints": "print('noise')\n" + _IDLE + _DETECT.format("print('noise')"),
    "raises_in_detect": _IDLE + _DETECT.format("raise RuntimeError('lost')"),
    "exits_in_detect": _IDLE + _DETECT.format("os._exit(5)"),
    "segfaults_in_detect": _IDLE + _DETECT.format("ctypes.string_at(0)"),
    "lies_in_detect": _IDLE + _DETECT.format("return 'yes'"),
    "hangs_in_detect": _IDLE + _DETECT.format("time.sleep(1000)"),
    "raises_in_spawn": _WILLING + _SPAWN.format("raise ValueError('not this one')"),
    "exits_in_spawn": _WILLING + _SPAWN.format("os._exit(9)"),
    "segfaults_in_spawn": _WILLING + _SPAWN.format("ctypes.string_at(0)"),
    "returns_nothing": _WILLING + _SPAWN.format("return None"),
}
"""The faulty backends by name, for `conformance.environment.environment_with`."""

SLOW = frozenset({"hangs_in_detect"})
"""The faulty backends whose tests take seconds."""

WILLING = frozenset(name for name, source in FAULTY.items() if source.startswith(_WILLING))
"""The faulty backends that claim to run everything: `auto` chooses them, and Create fails with their name."""
