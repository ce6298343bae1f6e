"""The node's config file: only root's word counts, and every key is known."""

import os

import pytest

from pelagos_core.config import node_file
from pelagos_core.config.node_file import CacheSettings, Config
from pelagos_core.errors import InvalidArgument, NotFound, PermissionDenied


def written(tmp_path, text, mode=0o644):
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_config_has_a_backend_an_order_and_settings(tmp_path):
    path = written(tmp_path, 'runtime = "a"\norder = ["b", "a"]\n[backends.a]\nroot = "/opt"\n')
    found = node_file.load(path)
    assert found == Config("a", ("b", "a"), {"a": {"root": "/opt"}})
    assert (found.settings("a"), found.settings("b")) == ({"root": "/opt"}, {})


def test_no_file_is_an_empty_config(monkeypatch, tmp_path):
    monkeypatch.setenv("PELAGOS_CONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("PELAGOS_CACHE_DIR")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert node_file.load_node() == Config()
    with pytest.raises(NotFound, match="none' does not exist"):
        node_file.load(str(tmp_path / "none"))


@pytest.mark.root  # the file must be root's
def test_the_cache_is_set_up_by_root_and_moved_by_the_environment(monkeypatch, tmp_path):
    text = '[cache]\ndirectory = "/x"\nsize = "1g"\nmemory = "512m"\nseconds = 60\n'
    monkeypatch.setenv("PELAGOS_CONFIG", written(tmp_path, text))
    monkeypatch.delenv("PELAGOS_CACHE_DIR")
    assert node_file.load_node().cache == CacheSettings("/x", 1 << 30, 512 << 20, 60)
    monkeypatch.setenv("PELAGOS_CACHE_DIR", "/y")
    assert node_file.load_node().cache == CacheSettings("/y", 1 << 30, 512 << 20, 60)


def test_a_user_has_a_cache_of_his_own(monkeypatch, tmp_path):
    monkeypatch.setenv("PELAGOS_CONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("PELAGOS_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/cache")
    assert node_file.load_node().cache.directory == "/home/me/cache/pelagos/code"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "runtim = 1",
            r"unknown key 'runtim' \(known: backends, cache, host_network, metrics, order, runtime, seccomp, traces, "
            r"wasm, zygote_idle_seconds\)",
        ),
        ("runtime = 1", "runtime: not a string"),
        ('order = "a"', "order: not a list"),
        ("order = [1]", "order: not a string"),
        ("backends = 1", "backends: not a table"),
        ("cache = 1", "cache: not a table"),
        ("metrics = 'off'", "metrics: not true or false"),
        ("traces = true", "traces: not a table"),
        ("[traces]\nurl = 'x'", r"traces: unknown key 'url' \(known: endpoint, sampling\)"),
        ("[traces]\nendpoint = 'localhost:4317'", "traces.endpoint: 'localhost:4317' is not a URL of http or https"),
        ("[traces]\nsampling = true", "traces.sampling: not a number"),
        ("[traces]\nsampling = 1.5", "traces.sampling: 1.5 is not between 0 and 1"),
        ("[cache]\nsise = '1g'", r"cache: unknown key 'sise' \(known: directory, memory, seconds, size\)"),
        ("[cache]\nsize = 1", "cache.size: not a string"),
        ("[cache]\nsize = '1q'", "cache.size: '1q' is not a size such as 64m"),
        ("[cache]\nmemory = '0'", "cache.memory: it must be more than 0"),
        ("[cache]\nseconds = 0", "cache.seconds: 0 is not between 1 and 86400"),
        ("[cache]\nseconds = 1.5", "cache.seconds: not a whole number"),
        ("[cache]\ndirectory = 'x'", "cache.directory: 'x' is not an absolute path"),
        ("[backends]\na = 1", "backends.a: not a table"),
        ('host_network = "yes"', "host_network: not true or false"),
        ('seccomp = "none"', "seccomp: 'none' is none of off, spec, engine"),
        ("=", "not TOML"),
    ],
)
def test_a_faulty_config_is_refused_by_file_and_key(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InvalidArgument, match=f"config '{path}': {message}"):
        node_file.load(path)


def test_noise_and_giants_are_refused(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument, match="not TOML"):
        node_file.load(str(tmp_path / "config.toml"))
    with pytest.raises(InvalidArgument, match="more than"):
        node_file.load(written(tmp_path, "#" * (node_file.MAX_BYTES + 1)))


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_config_that_others_may_write_is_refused(tmp_path, mode):
    with pytest.raises(PermissionDenied, match="can be written by others than root"):
        node_file.load(written(tmp_path, "", mode))


@pytest.mark.root
def test_a_config_of_another_user_is_refused(tmp_path):
    path = written(tmp_path, "")
    os.chown(path, 1000, 1000)
    with pytest.raises(PermissionDenied):
        node_file.load(path)


def test_a_fifo_is_no_config(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        node_file.load(str(tmp_path / "fifo"))


@pytest.mark.parametrize("path", ["/", "/a\0b", "/" + "x" * 5000])
def test_a_path_that_can_be_no_file_is_refused(path):
    with pytest.raises(InvalidArgument, match="config "):
        node_file.load(path)


def test_the_hosts_network_is_for_guests_only_where_the_node_says_so():
    assert not node_file.parse(b"", "config").policy.host_network
    assert node_file.parse(b"host_network = true", "config").policy.host_network
