"""What an image says of its containers."""

from pelagos_core.images.image import Blob, Settings


def test_an_empty_setting_is_left_out_of_a_config():
    assert Settings().config() == {}
    assert Settings(labels={"b": "2", "a": "1"}).config() == {"Labels": {"a": "1", "b": "2"}}
    assert Settings(created=0).time == "1970-01-01T00:00:00Z"


def test_a_measured_blob_is_written_once_to_be_measured_and_not_kept():
    calls = []
    blob = Blob.measured(lambda sink: calls.append(sink(b"abc")))
    assert (blob.size, len(calls), blob.digest) == (3, 1, Blob.of(b"abc").digest)
