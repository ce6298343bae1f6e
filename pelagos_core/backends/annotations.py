"""The annotations of a container and of its pod that apply to one container, in order of precedence.

A pod cannot set annotations of its containers, so a pod's annotation may name a container:

    io.pelagos.wasm.runtime        of the container, or of its pod for all containers
    io.pelagos.wasm.runtime.NAME   of its pod, for the container NAME

containerd also copies a pod's annotations (`pod_annotations` of its config) into the specs of all of
its containers. So an annotation of a container's spec counts as the container's only if the pod's value
differs. If the pod is not known, it counts as the pod's if it is also present with the container's name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pelagos_core.config.policy import WORDS, Policy
from pelagos_core.errors import InvalidArgument
from pelagos_core.plugin.bundle import ANNOTATION_PREFIX, RUNTIME_ANNOTATION

log = logging.getLogger(__name__)

RUNTIME = RUNTIME_ANNOTATION.removeprefix(ANNOTATION_PREFIX)
_OTHER_WORDS = frozenset({RUNTIME})
_KNOWN = WORDS.keys() | _OTHER_WORDS
_CONTAINER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a DNS label (RFC 1123), as in Kubernetes


@dataclass(frozen=True, slots=True)
class Opinion:
    """The values of one source, such as `{"env": "HOME"}`.

    source: "container" or "pod". suffix: the part after a word in the annotation's name.
    """

    words: Mapping[str, str]
    source: str
    suffix: str = ""

    def called(self, word: str) -> str:
        """The annotation's full name."""
        return f"{ANNOTATION_PREFIX}{word}{self.suffix}"

    def in_errors(self, word: str) -> str:
        """The annotation's name for error messages."""
        return f"annotation {self.called(word)!r}"

    def source_of(self, word: str) -> str:
        """The source of a word, for error messages."""
        return f"the {self.source}'s annotation {self.called(word)}"


def opinions(own: Mapping[str, str], pod: Mapping[str, str], container: str = "") -> tuple[Opinion, ...]:
    """The annotations that apply to a container, in order of precedence. In the daemon, and in `pelagos`.

    own, pod: the `io.pelagos.wasm.*` annotations of the container's spec and of its pod, by their
    full names; `pod` is empty if the pod is not known.
    container: the container's name in the pod; empty if it has none.
    Raises InvalidArgument for an unknown annotation, even if it is for another container.
    """
    if not own and not pod:
        return ()
    own_for_all, own_for_one = _split(own, container)
    pod_for_all, pod_for_one = _split(pod, container)
    if not pod:
        pod_for_all = {word: own_for_all[word] for word in own_for_one if word in own_for_all}
    suffix = f".{container}"
    return (
        Opinion(_without(own_for_all, pod_for_all), "container"),
        Opinion(_without(own_for_one, pod_for_one), "pod", suffix),
        Opinion(pod_for_one, "pod", suffix),
        Opinion(pod_for_all, "pod"),
    )


def _without(words: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    return {word: value for word, value in words.items() if others.get(word) != value}


def _split(annotations: Mapping[str, str], container: str) -> tuple[dict[str, str], dict[str, str]]:
    """Split the words into those for all containers and those for this one."""
    for_all, for_one = {}, {}
    for annotation, value in sorted(annotations.items()):
        word, dot, name = annotation.removeprefix(ANNOTATION_PREFIX).partition(".")
        if word not in _KNOWN:
            raise InvalidArgument(f"annotation {annotation!r}: unknown (known: {', '.join(sorted(_KNOWN))})")
        if dot and not _CONTAINER_NAME.fullmatch(name):
            raise InvalidArgument(f"annotation {annotation!r}: {name!r} is not the name of a container")
        if not dot:
            for_all[word] = value
        elif name == container:
            for_one[word] = value
        else:
            # The daemon cannot check whether the pod has, or will have, a container of this name.
            log.debug("annotation %r is not for container %r", annotation, container)
    return for_all, for_one


def narrowed(policy: Policy, said: tuple[Opinion, ...]) -> Policy:
    """Narrow a policy by all annotations; the one with the highest precedence is applied last.

    Raises InvalidArgument that names the annotation.
    """
    for opinion in reversed(said):
        policy = policy.narrowed(opinion.words, opinion.in_errors, _OTHER_WORDS)
    return policy
