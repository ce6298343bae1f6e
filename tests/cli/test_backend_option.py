"""`--backend` is named in errors as it was written."""

from pelagos_core.backends.selection import ANNOTATION
from pelagos_core.cli.backend_option import asked_for, in_its_words
from pelagos_core.config.node_file import Config


def test_the_option_is_named_and_the_nodes_config_where_there_is_none():
    assert asked_for({ANNOTATION: "x"}, Config()).source == "--backend"
    assert asked_for({}, Config(runtime="x")).source == "the node's config"


def test_an_error_of_the_shim_is_reported_in_its_words():
    text = f"backend 'x', asked for by the container's annotation {ANNOTATION}, is not installed"
    assert in_its_words(text) == "backend 'x', asked for by --backend, is not installed"
