"""The errors that the documents show are those of a shim."""

import pytest

from pelagos_core.conformance.modules import binary
from pelagos_core.errors import PelagosError
from tests.support import pages
from tests.support.bundles import make_bundle
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root]

ADD = '(module (func (export "add") (param i32 i32) (result i32) (i32.const 3)))'


@pytest.mark.parametrize("block", pages.given_to(__file__), ids=lambda block: block.place)
async def test_a_container_fails_with_the_words_of_the_page(tmp_path, block):
    (tmp_path / "add.wasm").write_bytes(binary(ADD))
    words = ["/app.wasm#add", "1", "x"] if "/app.wasm" in block.text else ["/none.wasm"]
    bundle = make_bundle(tmp_path / "web", *words, module=tmp_path / "add.wasm")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(PelagosError) as raised:
            await shim.create("web", bundle)
    assert block.text.strip() in str(raised.value), block.place
