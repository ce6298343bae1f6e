"""Filters are made once, and kept where only root can reach them."""

import os

import pytest

from pelagos_core.isolation import libseccomp, seccomp
from pelagos_core.isolation.seccomp import Filter, filter_of
from pelagos_core.oci.seccomp import Rule, Seccomp

PROFILE = Seccomp("ALLOW", rules=(Rule(("getcwd",), "ERRNO", 33),), flags=("LOG", "SPEC_ALLOW"))


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """The profiles that were compiled, with a cache of the test's own."""
    done = []
    compile_profile = libseccomp.compile_profile
    monkeypatch.setattr(libseccomp, "compile_profile", lambda profile: done.append(profile) or compile_profile(profile))
    monkeypatch.setattr(seccomp, "CACHE", str(tmp_path / "cache"))
    filter_of.cache_clear()
    yield done
    filter_of.cache_clear()


def test_a_profile_is_compiled_once_in_a_process(compiled):
    assert filter_of(PROFILE) is filter_of(Seccomp("ALLOW", rules=PROFILE.rules, flags=PROFILE.flags))
    assert len(compiled) == 1
    assert filter_of(PROFILE).flags == 6
    assert filter_of(PROFILE).size * 8 == len(filter_of(PROFILE).program)


@pytest.mark.root
def test_other_processes_find_it_in_the_cache(compiled, tmp_path):
    first = filter_of(PROFILE)
    filter_of.cache_clear()
    assert filter_of(PROFILE) == first
    assert len(compiled) == 1
    (kept,) = (tmp_path / "cache").iterdir()
    assert (os.stat(tmp_path / "cache").st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.root
@pytest.mark.parametrize(
    "harm",
    [
        lambda cache, kept: kept.write_bytes(b"1234567"),
        lambda cache, kept: kept.write_bytes(b"\0" * 8 * 5000),
        lambda cache, kept: kept.write_bytes(b""),
        lambda cache, kept: kept.chmod(0o666),
        lambda cache, kept: cache.chmod(0o777),
        lambda cache, kept: os.chown(kept, 1000, 1000),
        lambda cache, kept: (kept.rename(cache / "other"), kept.symlink_to("other")),
    ],
)
def test_what_others_may_have_written_is_not_used(compiled, tmp_path, harm):
    first = filter_of(PROFILE)
    (kept,) = (tmp_path / "cache").iterdir()
    harm(tmp_path / "cache", kept)
    filter_of.cache_clear()
    assert filter_of(PROFILE) == first
    assert len(compiled) == 2


@pytest.mark.root
def test_a_cache_that_cannot_be_written_is_no_error(compiled, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    assert isinstance(filter_of(PROFILE), Filter)
