"""How batches leave a process of one thread: by children that end, whatever becomes of what they send."""

import asyncio
import os
import threading
import time

import pytest

from pelagos_core.tracing import sender as sender_module
from pelagos_core.tracing.sender import Sender
from tests.support.patience import until


class Sent:
    """What children have been given, by a file."""

    def __init__(self, path):
        self._path = path

    def deliver(self, batch):
        threads = threading.Thread(target=lambda: None)  # as the exporters have
        threads.start()
        threads.join()
        with open(self._path, "a") as file:
            file.write(f"{','.join(batch)} {sorted(os.listdir('/proc/self/fd'), key=int)[:4]}\n")
        return "bad" not in batch

    @property
    def batches(self):
        return [line.split()[0].split(",") for line in self._lines()]

    @property
    def descriptors(self):
        return {line.partition(" ")[2] for line in self._lines()}

    def _lines(self):
        return self._path.read_text().splitlines() if self._path.exists() else []


@pytest.fixture
def sent(tmp_path):
    return Sent(tmp_path / "sent")


async def test_what_comes_together_leaves_together(sent):
    sender = Sender(sent.deliver, 0.05)
    for item in "abc":
        sender.put(item)
    await until(lambda: sent.batches == [["a", "b", "c"]], 10)
    sender.put("d")
    await until(lambda: sent.batches == [["a", "b", "c"], ["d"]], 10)
    assert sent.descriptors == {"['0', '1', '2', '3']"}  # 3 is that of this listing
    await until(lambda: sender._sending is None, 10)
    sender.close()


async def test_a_full_batch_does_not_wait(sent):
    sender = Sender(sent.deliver, 60)
    for number in range(sender_module.BATCH):
        sender.put(str(number))
    await until(lambda: [len(batch) for batch in sent.batches] == [sender_module.BATCH], 10)
    await until(lambda: sender._sending is None, 10)
    sender.close()


async def test_the_rest_leaves_at_the_end_and_what_is_on_its_way_is_not_lost(sent):
    slow = lambda batch: time.sleep(0.3) or sent.deliver(batch)  # noqa: E731
    sender = Sender(slow, 0.0)
    sender.put("a")
    await until(lambda: sender._sending is not None, 10)
    await asyncio.sleep(0.05)
    sender.put("b")
    sender.close()
    await until(lambda: sorted(sent.batches) == [["a"], ["b"]], 10)
    await asyncio.sleep(0)
    while True:
        try:
            os.waitpid(-1, 0)  # a daemon's are init's, for it has ended
        except ChildProcessError:
            break


async def test_failures_are_reported_once_and_again_after_a_success(sent, caplog):
    sender = Sender(sent.deliver, 0.0)
    for batch, item in enumerate(("bad", "bad", "good", "bad"), 1):
        sender.put(item)
        await until(lambda: len(sent.batches) == batch and sender._sending is None, 10)  # noqa: B023
    assert [record.message for record in caplog.records if "collector" in record.message] == [
        "traces are not accepted by the collector; further failures are not logged"
    ] * 2
    sender.close()


async def test_a_sender_that_dies_is_a_failure(caplog):
    sender = Sender(lambda batch: os.kill(os.getpid(), 9), 0.0)
    sender.put("a")
    await until(lambda: caplog.records, 10)
    assert "not accepted" in caplog.text
    sender.close()


async def test_what_cannot_leave_is_bounded_and_counted(sent, caplog):
    sender = Sender(sent.deliver, 60)
    sender._sending = asyncio.ensure_future(asyncio.sleep(60))  # one that does not end
    for number in range(sender_module.MOST + 5):
        sender.put(str(number))
    sender._sending.cancel()
    await sender._send()
    assert "5 spans were dropped" in caplog.text
    assert len(sent.batches[0]) == sender_module.MOST
    sender.close()
