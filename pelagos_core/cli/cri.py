"""Asks the CRI of a running containerd for its loaded runtimes, as a kubelet does."""

from __future__ import annotations

import json

from pelagos_core.api import cri_pb2 as api
from pelagos_core.errors import PelagosError
from pelagos_core.images.grpc import Channel

_METHOD = "runtime.v1.RuntimeService/Status"
_SECONDS = 10


def runtimes(address: str) -> tuple[dict[str, str], str]:
    """The handlers that a containerd has loaded, each with its runtime type.

    address: the socket of containerd's API.
    Returns also the reason for which they are not known; empty if the CRI answers.
    """
    try:
        with Channel(address, {}, _SECONDS) as channel:
            answer = channel.call(_METHOD, api.StatusRequest(verbose=True), api.StatusResponse)
        config = json.loads(answer.info["config"])
        found = config["containerd"]["runtimes"]
        return {str(name): str(each["runtimeType"]) for name, each in found.items()}, ""
    except OSError as error:
        return {}, f"containerd does not answer: {address}: {error.strerror or error}"
    except PelagosError as error:
        return {}, f"containerd's CRI does not answer: {error}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, "containerd's CRI does not say which runtimes it has"
