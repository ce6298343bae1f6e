"""Where a guest is served, by annotation, variable and default."""

import pytest

from pelagos_core.config.policy import Policy
from pelagos_core.errors import InvalidArgument
from pelagos_core.oci import Process, Spec
from pelagos_core.plugin import http_address
from pelagos_core.plugin.bundle import Bundle
from pelagos_core.plugin.entrypoint import Entrypoint, Kind


def found(said="", variable="", *, network=True, listens=True):
    process = Process(args=("/app.wasm",))
    bundle = Bundle("c1", "default", "/b", Spec(process), policy=Policy(http_address=said, listens=listens))
    env = (f"PELAGOS_HTTP_ADDRESS={variable}", "PORT=3000") if variable else ("PORT=3000",)
    file = Entrypoint(Kind.COMPONENT, "/app.wasm", "", ("/app.wasm",), env, "/", -1, network=network)
    return http_address.of(bundle, file)


def test_the_annotation_comes_before_the_variable_and_that_before_the_default():
    assert found() == "0.0.0.0:8080"
    assert found(variable="[::]:1") == "[::]:1"
    assert found("127.0.0.1:2", "3") == "127.0.0.1:2"


@pytest.mark.parametrize("variable", ["x", "0", "65536", "::1:80", "localhost:80"])
def test_a_variable_that_is_no_address_is_an_error(variable):
    with pytest.raises(InvalidArgument, match="variable PELAGOS_HTTP_ADDRESS: ") as refusal:
        found(variable=variable)
    assert refusal.value.reason == "PLG-SERVE"


def test_a_container_without_a_network_is_not_served():
    with pytest.raises(InvalidArgument, match="no network"):
        found(network=False)
    with pytest.raises(InvalidArgument, match="may not listen"):
        found(listens=False)
