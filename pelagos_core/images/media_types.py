"""The media types of images and of Wasm artifacts, and the annotation with a layer's file name."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

WASM_CONFIG = "application/vnd.wasm.config.v0+json"
WASM_LAYER = "application/wasm"
"""The layer's type in the CNCF's layout for Wasm artifacts; the config's type is WASM_CONFIG."""

WASM_LAYERS = frozenset(
    {
        WASM_LAYER,
        "application/vnd.wasm.content.layer.v1+wasm",  # wasm-to-oci, and Spin
        "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",  # runwasi's first
    }
)
"""The types of layers that are a module instead of an archive of files."""

TITLE = "org.opencontainers.image.title"
"""The annotation of a layer with the name of its file."""
