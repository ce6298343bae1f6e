"""What the annotations of a container and of its pod say to one container, the strongest first.

A pod cannot set annotations of its containers, so its own may name one of them:

    io.pelagos.wasm.runtime        the container's own, or its pod's for all containers
    io.pelagos.wasm.runtime.NAME   its pod's for the container NAME

containerd writes a pod's annotations (`pod_annotations` of its config) into the specs of all of
its containers too. So a word in a container's spec is its own only if the pod's is another; and
where the pod is not known, it is the pod's if it is there with the container's name too.
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
    """Words, such as `{"env": "HOME"}`, and whose they are.

    source: "container" or "pod". suffix: what follows a word in the annotation's name.
    """

    words: Mapping[str, str]
    source: str
    suffix: str = ""

    def called(self, word: str) -> str:
        """The annotation's whole name."""
        return f"{ANNOTATION_PREFIX}{word}{self.suffix}"

    def in_errors(self, word: str) -> str:
        """What errors call it."""
        return f"annotation {self.called(word)!r}"

    def source_of(self, word: str) -> str:
        """Where a word was said."""
        return f"the {self.source}'s annotation {self.called(word)}"


def opinions(own: Mapping[str, str], pod: Mapping[str, str], container: str = "") -> tuple[Opinion, ...]:
    """What is said to a container, the strongest first. In the daemon, and in `pelagos`.

    own, pod: the `io.pelagos.wasm.*` annotations of its spec and of its pod, by their whole
    names; `pod` is empty where the pod is not known. container: its name in its pod; empty if
    it has none.
    Raises InvalidArgument for a name that no annotation has, whichever container it is for.
    """
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
    """The words that are for every container, and those for this one."""
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
            # Whether its pod has, or will have, such a container cannot be known here.
            log.debug("annotation %r is not for container %r", annotation, container)
    return for_all, for_one


def narrowed(policy: Policy, said: tuple[Opinion, ...]) -> Policy:
    """A policy with less, as all that is said demands together: the strongest comes last.

    Raises InvalidArgument that names the annotation.
    """
    for opinion in reversed(said):
        policy = policy.narrowed(opinion.words, opinion.in_errors, _OTHER_WORDS)
    return policy
