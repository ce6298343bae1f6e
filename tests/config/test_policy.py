"""What a guest may use: words that only ever leave less."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos_core.config.policy import EVERYTHING, WORDS, Directory
from pelagos_core.errors import InvalidArgument


def narrowed(policy=EVERYTHING, **words):
    return policy.narrowed(words, lambda word: f"annotation {word!r}")


def test_by_default_a_guest_has_what_its_container_has():
    assert narrowed() == EVERYTHING
    assert EVERYTHING.variables(("A=1", "B=")) == ("A=1", "B=")
    assert (EVERYTHING.network, EVERYTHING.stdin, EVERYTHING.deadline, EVERYTHING.fuel) == (True, True, None, None)


def test_directories_are_listed_the_outer_ones_first():
    assert narrowed(dirs="/tmp,/data:ro,/data/out/").directories == (
        (Directory("/data", True), Directory("/data/out"), Directory("/tmp")),
    )
    assert narrowed(dirs="none").directories == ((),)
    assert narrowed(dirs="//:ro").directories == ((Directory("/", True),),)


def test_each_narrowing_of_directories_leaves_some_of_what_is_left():
    policy = narrowed(narrowed(dirs="/data"), dirs="/data/a:ro")
    assert policy.directories == ((Directory("/data"),), (Directory("/data/a", True),))


@pytest.mark.parametrize(
    "word", ["", "data", "/data:rw", "/data:", "/a,,/b", "/a/../b", "..", "/a,/a/", "none,/a", "/a:ro:ro"]
)
def test_what_is_no_list_of_directories_is_refused(word):
    with pytest.raises(InvalidArgument, match="annotation 'dirs': "):
        narrowed(dirs=word)


def test_variables_are_those_that_everybody_allows():
    policy = narrowed(narrowed(env="HOME,LANG,A"), env="A,LANG,PATH")
    assert policy.variables(("HOME=/", "A=1=2", "LANG=", "PATH=/bin", "AB=3")) == ("A=1=2", "LANG=")
    assert narrowed(env="none").variables(("A=1",)) == ()


@pytest.mark.parametrize("word", ["", "A=1", "A,,B", "A B"])
def test_what_is_no_list_of_names_is_refused(word):
    with pytest.raises(InvalidArgument, match="annotation 'env': "):
        narrowed(env=word)


@pytest.mark.parametrize(
    ("word", "seconds"), [("30s", 30), ("1h30m", 5400), ("500ms", 0.5), ("1h1m1s1ms", 3661.001), ("0h5s", 5)]
)
def test_a_deadline_is_a_duration(word, seconds):
    assert narrowed(deadline=word).deadline == pytest.approx(seconds)


@pytest.mark.parametrize("word", ["", "30", "s", "0s", "-1s", "1.5h", "5m1h", "30 s", "9999999999s", "٣s"])
def test_what_is_no_duration_is_refused(word):
    with pytest.raises(InvalidArgument, match="annotation 'deadline': "):
        narrowed(deadline=word)


@pytest.mark.parametrize("word", ["0", "-1", "1e3", "many", "9" * 19, " 1", "٣"])
def test_fuel_is_a_whole_number(word):
    with pytest.raises(InvalidArgument, match="annotation 'fuel': "):
        narrowed(fuel=word)


def test_the_lowest_limit_applies_from_any_source():
    for first, second in (("30s", "1m"), ("1m", "30s")):
        assert narrowed(narrowed(deadline=first), deadline=second).deadline == 30
    for first, second in (("10", "99"), ("99", "10")):
        assert narrowed(narrowed(fuel=first), fuel=second).fuel == 10


def test_the_strictest_setting_of_system_calls_applies_from_any_source():
    loose = replace(EVERYTHING, seccomp="off")
    assert EVERYTHING.seccomp == "engine"
    for first, second in (("spec", "engine"), ("engine", "off")):
        assert narrowed(narrowed(loose, seccomp=first), seccomp=second).seccomp == "engine"
    assert narrowed(loose, seccomp="spec").seccomp == "spec"
    with pytest.raises(InvalidArgument, match="annotation 'seccomp': 'none' is none of off, spec, engine"):
        narrowed(seccomp="none")


@pytest.mark.parametrize("key", ["network", "stdin"])
@pytest.mark.parametrize("word", ["", "host", "all", "None", "true"])
def test_what_was_taken_cannot_be_given_back(key, word):
    with pytest.raises(InvalidArgument, match=f"annotation '{key}': .* is not 'none'"):
        narrowed(narrowed(**{key: "none"}), **{key: word})


def test_an_unknown_word_is_refused_by_name_and_a_known_one_of_others_passed_over():
    with pytest.raises(InvalidArgument, match=r"annotation 'netwrok': unknown .known: deadline, dirs, .*runtime"):
        EVERYTHING.narrowed({"netwrok": "none"}, lambda word: f"annotation {word!r}", frozenset({"runtime"}))
    assert EVERYTHING.narrowed({"runtime": "x"}, str, frozenset({"runtime"})) == EVERYTHING


WORD = st.fixed_dictionaries(
    {},
    optional={
        "env": st.sampled_from(["none", "A", "B,C", "A,B,C,D"]),
        "network": st.sampled_from(["none", "outbound"]),
        "stdin": st.just("none"),
        "deadline": st.integers(1, 999).map(lambda n: f"{n}s"),
        "fuel": st.integers(1, 999).map(str),
        "dirs": st.sampled_from(["none", "/", "/:ro", "/a", "/a/b:ro,/c"]),
    },
)


@given(st.lists(WORD, max_size=6))
def test_whatever_is_said_later_never_widens(said):
    before = EVERYTHING
    for words in said:
        after = narrowed(before, **words)
        assert after.env is None or after.env <= (before.env if before.env is not None else after.env)
        assert after.network <= before.network
        assert after.listens <= before.listens
        assert not after.host_network
        assert after.stdin <= before.stdin
        assert (after.deadline or 1e9) <= (before.deadline or 1e9)
        assert (after.fuel or 1e9) <= (before.fuel or 1e9)
        assert after.directories[: len(before.directories)] == before.directories
        before = after


def test_every_word_is_documented():
    from pelagos_core.config import policy

    assert all(f"    {word} = " in (policy.__doc__ or "") for word in WORDS)


def test_a_guest_may_connect_without_listening():
    policy = narrowed(EVERYTHING, network="outbound")
    assert (policy.network, policy.listens) == (True, False)
    assert not narrowed(policy, network="none").network
    assert not narrowed(narrowed(EVERYTHING, network="none"), network="outbound").network


@pytest.mark.parametrize("word", ["10.0.0.1:443", "db.test:5432,10.0.0.0/8:443"])
def test_a_list_of_addresses_is_refused_since_nothing_here_can_hold_it(word):
    with pytest.raises(InvalidArgument, match="engines cannot restrict a guest to a list of addresses"):
        narrowed(EVERYTHING, network=word)


@pytest.mark.parametrize(
    ("word", "address"),
    [("80", "0.0.0.0:80"), (":80", "0.0.0.0:80"), ("127.0.0.1:1", "127.0.0.1:1"), ("[::1]:65535", "[::1]:65535")],
)
def test_an_address_of_a_service_is_completed_and_the_last_word_counts(word, address):
    assert narrowed(**{"http-address": word}).http_address == address
    assert narrowed(narrowed(**{"http-address": "1"}), **{"http-address": word}).http_address == address


@pytest.mark.parametrize("word", ["", "0", "65536", "x:1", "::1:1", "[127.0.0.1]:1", "[::1:1", "1.2.3.4", "[]:1"])
def test_what_is_no_address_is_refused(word):
    with pytest.raises(InvalidArgument, match="annotation 'http-address': "):
        narrowed(**{"http-address": word})


def test_the_shortest_time_of_a_request_counts():
    for first, second in (("30s", "1h"), ("1h", "30s")):
        assert narrowed(narrowed(**{"http-timeout": first}), **{"http-timeout": second}).http_timeout == 30


def test_prefixes_are_asked_for_by_one_word():
    assert narrowed(**{"http-log": "prefixed"}).http_prefixes
    assert not narrowed(**{"http-log": "plain"}).http_prefixes
    with pytest.raises(InvalidArgument, match="annotation 'http-log': 'no' is neither"):
        narrowed(**{"http-log": "no"})


def test_the_last_word_on_scaling_to_zero_counts():
    for words, seconds in ((["5m", "1s"], 1), (["1s", "5m"], 300), (["5m", "off"], None), (["off", "2s"], 2)):
        policy = EVERYTHING
        for word in words:
            policy = policy.narrowed({"scale-to-zero": word}, str)
        assert policy.scale_to_zero == seconds
    for word in ("0s", "soon", ""):
        with pytest.raises(InvalidArgument):
            narrowed(**{"scale-to-zero": word})
