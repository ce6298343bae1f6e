"""What a cluster's node is given: images, and the RuntimeClass."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.kubernetes.cluster import Cluster
from tests.support import provision
from tests.support.crictl import GUESTS_IMAGE, PAUSE_IMAGE
from tests.support.images import write_image

BUSYBOX_IMAGE = "localhost/busybox:test"
_APPLETS = ("sh", "cat", "sleep", "tar", "wget", "httpd", "id", "nc")


def give_images(cluster: Cluster) -> None:
    """Import the images of the tests, and apply the RuntimeClass.

    Guests have busybox's `tar` beside them, a native program: `kubectl cp` runs it.
    """
    busybox = provision.kubernetes() / "debian/bin/busybox"
    guests = {path.name: path for path in provision.guests_directory().glob("*.wasm")}
    with tempfile.TemporaryDirectory() as place:
        archives = {
            PAUSE_IMAGE: {"pause": provision.pause()},
            BUSYBOX_IMAGE: {f"bin/{name}": busybox for name in _APPLETS},
            GUESTS_IMAGE: {**guests, "bin/tar": busybox},
        }
        for name, files in archives.items():
            archive = Path(place, name.partition("/")[2].partition(":")[0])
            write_image(archive, name, files)
            cluster.import_image(archive)
    cluster.give_runtime_class()
