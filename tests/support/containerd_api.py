"""A server with the part of containerd's API that is about images, by gRPC's own library.

    python -m tests.support.containerd_api SOCKET FILE

Its answers are read from FILE, so they may be malformed. It is a separate process, because gRPC has threads and the
tests fork.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # as containerd sends


@contextlib.contextmanager
def serving(directory: Path, name: str = "api.sock", namespace: str = "ns", **said: Any) -> Iterator[str]:
    """Run a server for one namespace; yield its address, a socket with this name in the directory.

    said: `containers` (id -> image), `images` (name -> media type, digest, size), `blobs` (digest -> bytes),
    `silent` (names of methods that never answer), `fails` (method -> a word of grpc.StatusCode).
    """
    blobs = {digest: base64.b64encode(data).decode() for digest, data in said.pop("blobs", {}).items()}
    (directory / "said.json").write_text(json.dumps({**said, "blobs": blobs, "namespace": namespace}))
    address = directory / name
    words = [sys.executable, "-m", "tests.support.containerd_api", str(address), str(directory / "said.json")]
    server = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield str(address)
    finally:
        server.kill()
        server.communicate()


def digest_of(data: bytes) -> str:
    """The digest of a blob, as containerd writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _serve(address: str, said: dict[str, Any]) -> None:  # noqa: C901 (its handlers)
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    from pelagos_core.api import containers_pb2, content_pb2, images_pb2, types_pb2

    def checked(method: str, context: Any, found: Any = True) -> Any:
        if method in said.get("silent", []):
            time.sleep(3600)
        if dict(context.invocation_metadata()).get("containerd-namespace") != said["namespace"]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "namespace is required")
        if method in said.get("fails", {}):
            context.abort(grpc.StatusCode[said["fails"][method]], "as the test wants it: 100 % über")
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{method}: not found")
        return found

    def container(request: Any, context: Any) -> Any:
        image = checked("container", context, said.get("containers", {}).get(request.id))
        return containers_pb2.GetContainerResponse(container=containers_pb2.Container(id=request.id, image=image))

    def image(request: Any, context: Any) -> Any:
        media_type, digest, size = checked("image", context, said.get("images", {}).get(request.name))
        target = types_pb2.Descriptor(media_type=media_type, digest=digest, size=size)
        return images_pb2.GetImageResponse(image=images_pb2.Image(name=request.name, target=target))

    def info(request: Any, context: Any) -> Any:
        data = base64.b64decode(checked("info", context, said["blobs"].get(request.digest)))
        return content_pb2.InfoResponse(info=content_pb2.Info(digest=request.digest, size=len(data)))

    def read(request: Any, context: Any) -> Iterator[Any]:
        data = base64.b64decode(checked("read", context, said["blobs"].get(request.digest)))
        for at in range(0, len(data), CHUNK):
            yield content_pb2.ReadContentResponse(offset=at, data=data[at : at + CHUNK])

    def unary(handler: Any, request: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            handler, request.FromString, lambda answer: answer.SerializeToString()
        )

    services = {
        "containerd.services.containers.v1.Containers": {"Get": unary(container, containers_pb2.GetContainerRequest)},
        "containerd.services.images.v1.Images": {"Get": unary(image, images_pb2.GetImageRequest)},
        "containerd.services.content.v1.Content": {
            "Info": unary(info, content_pb2.InfoRequest),
            "Read": grpc.unary_stream_rpc_method_handler(
                read, content_pb2.ReadContentRequest.FromString, lambda answer: answer.SerializeToString()
            ),
        },
    }
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    for name, methods in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    server.add_insecure_port(f"unix:{address}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
