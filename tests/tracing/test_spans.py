"""Where spans begin: nothing without a tracer, and the tracer's blocks with one."""

import asyncio
from contextlib import contextmanager

import pytest

from pelagos_core.tracing import spans


class Tracer:
    def __init__(self):
        self.told = []

    @contextmanager
    def span(self, name, attributes):
        self.told.append(("begin", name, attributes))
        try:
            yield
        finally:
            self.told.append(("end", name))

    def annotate(self, attributes):
        self.told.append(("annotate", attributes))


@pytest.fixture
def tracer():
    made = Tracer()
    spans.install(made)
    yield made
    spans.install(None)


async def work():
    return 3


def test_without_a_tracer_nothing_is_made():
    assert spans.span("a") is spans.span("b", c=1)
    spans.annotate(a=1)
    coroutine = work()
    assert spans.spanned("a", coroutine) is coroutine
    assert asyncio.run(coroutine) == 3


def test_with_one_blocks_and_work_are_within_spans(tracer):
    with spans.span("a", container__id="c1"):
        spans.annotate(process__exit__code=7)
    assert asyncio.run(spans.spanned("b", work())) == 3
    assert tracer.told == [
        ("begin", "a", {"container.id": "c1"}),
        ("annotate", {"process.exit.code": 7}),
        ("end", "a"),
        ("begin", "b", {}),
        ("end", "b"),
    ]
