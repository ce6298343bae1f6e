"""Which backends are different for the cache; every process finds the same differences."""

import os
import subprocess
import sys
import types

from pelagos_core.backends.registry import Backends, Plugin
from pelagos_core.config.node_file import Config
from pelagos_core.plugin.hookspecs import Description
from tests.backends.test_registry import load, plugin


def identity(name="a", version="1", settings=None, said=None, origin="a.py"):
    """The identity of a backend that was loaded again."""
    made = plugin(configure=lambda settings: None, describe=lambda: said or Description("E", "1"))
    made.__name__ = f"its_{origin.removesuffix('.py')}"
    with_source = types.ModuleType(made.__name__)
    with_source.__file__ = origin
    sys.modules[made.__name__] = with_source
    try:
        found = Backends.load([Plugin(name, version, lambda: made)], Config(backends={name: settings or {}}))
        return found.installed[0].identity
    finally:
        del sys.modules[made.__name__]


def test_an_identity_is_another_one_where_an_answer_may_be(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("1")
    before = identity(origin=str(path))
    path.write_text("22")
    different = [
        before,
        identity(origin=str(path)),
        identity(),
        identity(name="b"),
        identity(version="2"),
        identity(settings={"k": "v"}),
        identity(settings={"k": ["v"]}),
        identity(said=Description("E", "2")),
        identity(said=Description("E", "1", "program")),
        identity(said=Description("E", "1", limits=frozenset({"fuel"}))),
        identity(said=Description("E", "1", problem="gone")),
    ]
    assert len(set(different)) == len(different)
    assert identity() == identity()


def test_the_identity_of_all_is_that_of_each():
    whole = load(a=plugin(), b=plugin())
    assert whole.identity == load(b=plugin(), a=plugin()).identity
    assert whole.identity not in (load(a=plugin()).identity, load(a=plugin(), c=plugin()).identity, load().identity)


def test_an_identity_is_the_same_in_every_process():
    text = "from pelagos_core.backends.registry import Backend; from pelagos_core.plugin.hookspecs import Description;"
    text += "import types; hooks = types.SimpleNamespace(pelagos_describe=lambda: Description('E', limits=frozenset("
    text += "{'fuel', 'memory', 'live-memory'}))); print(Backend('a', '1', '', hooks).identity)"
    found = {
        subprocess.check_output([sys.executable, "-c", text], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
