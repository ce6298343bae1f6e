"""Names of images become those that a kubelet asks for."""

import pytest

from pelagos_core.errors import InvalidArgument
from pelagos_core.images import reference


@pytest.mark.parametrize(
    ("name", "whole", "shown"),
    [
        ("app", "docker.io/library/app:latest", "app:latest"),
        ("app:v1", "docker.io/library/app:v1", "app:v1"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/app", "docker.io/library/app:latest", "app:latest"),
        ("index.docker.io/team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("registry.example/a__b/c-d.e:V_1", "registry.example/a__b/c-d.e:V_1", "registry.example/a__b/c-d.e:V_1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
    ],
)
def test_a_name_is_made_whole(name, whole, shown):
    assert reference.normalised(name) == whole
    assert reference.familiar(whole) == shown
    assert reference.normalised(shown) == whole


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is not"),
        ("App", "letters must be small"),
        ("a//b", "is not"),
        ("/app", "is not"),
        ("app:", "'' is not a tag"),
        ("app:a b", "'a b' is not a tag"),
        ("app@sha256:" + "0" * 64, "has a digest"),
        ("../app", "is not"),
        ("a" * 300, "longer than 255"),
        ("app\n", "is not"),
    ],
)
def test_a_name_that_no_registry_takes_is_refused(name, why):
    with pytest.raises(InvalidArgument, match=why):
        reference.normalised(name)
