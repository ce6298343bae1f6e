"""The pages for users of Kubernetes, followed word for word: their objects are applied, their commands run."""

import re
import tempfile
from pathlib import Path

import pytest

from pelagos_core.conformance import modules
from tests.support import pages
from tests.support.crictl import PAUSE_IMAGE
from tests.support.images import write_image

PAGE = "docs/kubernetes.md"
PLACE = "/opt/guide"
HELLO = (pages.ROOT / "examples/hello.wat").read_text()


@pytest.fixture
def node(cluster):
    """A node that has the image which pages name, of a registry elsewhere, and after a page what it had before."""
    cluster.machine.run("ctr", "-n", "k8s.io", "images", "tag", "--force", PAUSE_IMAGE, "registry.k8s.io/pause:3.10")
    yield cluster
    cluster.kubectl("delete", "pod", "hello", "web", "--ignore-not-found")
    cluster.kubectl("delete", "configmap", "hello", "work", "--ignore-not-found")
    cluster.kubectl("label", "node", "--all", "pelagos.io/runtime-")
    cluster.kubectl("delete", "runtimeclass", "pelagos")
    cluster.give_runtime_class()
    cluster.machine.run("rm", "-rf", PLACE)


def files(cluster, page):
    """Write the page's files which begin with their names."""
    for block in pages.given_to(__file__, page, languages=("yaml", "wat")):
        if name := re.match(r"(?:#|;;) (\S+)\n", block.text):
            cluster.machine.write(f"{PLACE}/{name[1]}", block.text)


def follow(cluster, page):
    """Run the commands of a page, where its files are."""
    for block in pages.given_to(__file__, page, languages=("console",)):
        for command in block.commands():
            done = cluster.machine.run("sh", "-c", f"cd {PLACE} && {command.text}", check=False)
            said = f"{command.place}: {command.text!r} prints\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, said
            assert not pages.differs(command.output, done.stdout), said


def test_the_guide_is_right(node):
    files(node, PAGE)
    node.kubectl("delete", "runtimeclass", "pelagos")
    follow(node, PAGE)


def test_the_pod_of_the_readme_says_hello(node):
    page = "README.md"
    node.machine.write(f"{PLACE}/examples/hello.wat", HELLO)
    follow(node, page)
    (block,) = pages.given_to(__file__, page, languages=("yaml",))
    node.kubectl("apply", "-f", "-", typed=block.text)
    node.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/hello", "--timeout=60s")
    assert "`kubectl logs hello` prints `hello`" in (pages.ROOT / page).read_text()
    assert node.kubectl("logs", "hello").stdout == "hello\n"


def test_the_first_pod_says_hello(node):
    page = "docs/tutorial/pod.md"
    runtime_class, made = pages.given_to(__file__, page, languages=("yaml",))
    node.kubectl("apply", "-f", "-", typed=runtime_class.text)
    node.machine.write(f"{PLACE}/hello.yaml", made.text)
    node.machine.write(f"{PLACE}/examples/hello.wat", HELLO)
    follow(node, page)
    follow(node, "docs/index.md")


def test_a_pod_of_any_image_runs_a_module_of_a_volume(node):
    page = "docs/images.md"
    files(node, page)
    node.machine.write(f"{PLACE}/hello.wasm", modules.binary(HELLO))
    follow(node, page)


APP = """
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00ready\\0a")
  (func (export "status") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40))))
  (func (export "_start")
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 600000000000))
    (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 44)))))
"""
NUMBERS = '(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))'
WEB = """
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  runtimeClassName: pelagos
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: docker.io/library/web:1
    command: [/app.wasm]
"""


@pytest.fixture
def web(node):
    """A pod `web`, and beside it a container of that name of `ctr`, with modules to call functions of."""
    with tempfile.TemporaryDirectory() as place:
        made = {"app.wasm": modules.binary(APP), "numbers.wasm": modules.binary(NUMBERS)}
        for name, code in made.items():
            (Path(place) / name).write_bytes(code)
            node.machine.write(f"{PLACE}/web/{name}", code)
        write_image(Path(place, "web.tar"), "docker.io/library/web:1", {name: Path(place, name) for name in made})
        node.import_image(Path(place, "web.tar"))
    node.kubectl("apply", "-f", "-", typed=WEB)
    node.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    words = ("-d", "--runtime", "io.containerd.pelagos.wasm.v1", "--rootfs", f"{PLACE}/web", "web", "/app.wasm")
    node.machine.run("ctr", "run", *words)
    yield node
    node.machine.run("ctr", "task", "kill", "-s", "SIGKILL", "web")
    node.machine.run("ctr", "task", "delete", "web", check=False)
    node.machine.run("ctr", "containers", "delete", "web")


@pytest.mark.parametrize("page", ["docs/functions.md", "docs/debugging.md"])
def test_a_function_is_called_in_a_container_that_runs(web, page):
    follow(web, page)


def test_every_page_is_followed():
    followed = {PAGE, "README.md"} | {
        f"docs/{name}.md" for name in ("index", "tutorial/pod", "images", "functions", "debugging")
    }
    assert {block.page for block in pages.given_to(__file__)} == followed
