"""Reference counts that are left alone: by those interpreters that know how, and no others."""

import subprocess
import sys

from pelagos_core.launch import immortal

# In a process of its own: what is done here is for good.
CODE = """
import asyncio, decimal, gc, json, logging, sys, threading, xml.dom.minidom
from google.protobuf.empty_pb2 import Empty
from pelagos_core.launch.immortal import is_immortal, make_everything_immortal

class Kept:
    def method(self, word="a default that is a constant"):
        return [word] * 2

kept = Kept()
kept.parts = [object(), {"key": (1.5, "x" * 50)}]
before = make_everything_immortal()
assert before > 10_000, before
for value in (kept, Kept, Kept.method, Kept.method.__code__, Kept.method.__code__.co_consts, kept.parts[0],
              kept.parts[1]["key"], kept.parts[1]["key"][0], json.loads, threading, Empty):
    assert is_immortal(value), value
assert not is_immortal(Kept())
assert make_everything_immortal() == 0
gc.freeze()

# All goes on as before, also where these objects are changed and left.
kept.parts.append([])
kept.parts.clear()
sys.modules.pop("decimal")
import decimal
for _ in range(3):
    gc.collect()
    assert kept.method() == ["a default that is a constant"] * 2
    thread = threading.Thread(target=lambda: kept.parts.append(json.loads("[1]")))
    thread.start()
    thread.join()
    assert asyncio.run(asyncio.sleep(0, result=5)) == 5
    assert xml.dom.minidom.parseString("<a/>").documentElement.tagName == "a"
    assert Empty.FromString(Empty().SerializeToString()) == Empty()
print("well")
"""


def test_what_is_loaded_is_made_immortal_and_works_or_is_left_alone():
    if not immortal.supported():  # before CPython 3.12
        assert immortal.make_everything_immortal() == 0
        return
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("well\n", "")


def test_an_unknown_version_is_left_alone(monkeypatch):
    monkeypatch.setattr(immortal.sys, "version_info", (3, 99))
    assert not immortal.supported()
