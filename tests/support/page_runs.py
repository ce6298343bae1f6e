"""Which test runs each block of the documents, as data.

A page has keys: a text that one block alone has, a language (```` ```yaml ````) for all others of that language, or `*`
for all others. The value is the test file, which gets the block by `pages.given_to(__file__)`, or why no test runs it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NotRun:
    """Why no test runs a block. instead: a file that runs the same by other words, if there is one."""

    reason: str
    instead: str = ""


How = str | NotRun

QUICK = "tests/test_pages.py"
SESSION = "tests/integration/test_pages.py"
BACKENDS = "tests/integration/test_page_backends.py"
SHIPPED = "tests/integration/test_shipped_program.py"
ERRORS = "tests/integration/test_page_errors.py"
PACKAGES = "tests/integration/test_node_packages.py"
NODES = "tests/integration/test_page_nodes.py"
SERVICE = "tests/integration/test_page_service.py"
CLUSTER = "tests/kubernetes/test_guide.py"
SERVING = "tests/kubernetes/test_serving.py"
INSTALLER = "tests/kubernetes/test_installer.py"

_SIDE = "it needs a program that the tests do not have: "

RUNS: dict[str, dict[str, How]] = {
    "README.md": {
        "make test": NotRun("it takes half an hour", ".ci/run"),
        "make run": SESSION,
        ".venv/bin/pelagos run": SESSION,
        "/opt/pelagos/bin": NODES,
        "kubectl create": CLUSTER,
        "kind: Pod": CLUSTER,
        "io.pelagos.wasm.runtime:": QUICK,
        "```python": BACKENDS,
        "```toml": BACKENDS,
    },
    "CONTRIBUTING.md": {"*": SESSION},
    "RELEASING.md": {
        "make release VERSION": NotRun("it commits and tags", "tests/scripts/test_release.py"),
        "make release-check": NotRun("it takes ten minutes", "tests/scripts/test_release.py"),
        "twine upload": NotRun("it publishes"),
        "git push": NotRun("it publishes"),
    },
    "docs/cache.md": {"*": SESSION},
    "docs/configuration.md": {"zygote_idle_seconds": QUICK, "containerd.runtimes.pelagos.options": NODES},
    "docs/debugging.md": {
        "pelagos run": SESSION,
        "kubectl exec": CLUSTER,
        "kubectl debug": NotRun("it needs a terminal, and an image of a registry", "tests/kubernetes/test_commands.py"),
        "journalctl": NotRun(
            "it needs a containerd that is a service of systemd", "tests/integration/test_install_restart.py"
        ),
    },
    "docs/engines.md": {"*": SESSION},
    "docs/errors.md": {"*": ERRORS},
    "docs/functions.md": {"pelagos run": SESSION, "kubectl exec": CLUSTER},
    "docs/images.md": {"pelagos pack": SESSION, "*": CLUSTER},
    "docs/index.md": {"pelagos run": SESSION, "kubectl logs": CLUSTER},
    "docs/kubernetes.md": {
        "# docker load": NotRun("it needs a Docker daemon"),
        "# nerdctl run": NotRun(f"{_SIDE}nerdctl"),
        "# make cluster": NotRun("the tests of the cluster bring it up themselves", "tests/kubernetes/conftest.py"),
        "```sh": NODES,
        "*": CLUSTER,
    },
    "docs/limits.md": {"*": QUICK},
    "docs/nodes.md": {
        "pipx install": NotRun(f"{_SIDE}pipx"),
        "# dpkg": PACKAGES,
        "# tar": PACKAGES,
        "images import": INSTALLER,
        "```yaml": QUICK,
        "*": NODES,
    },
    "docs/observability.md": {
        "pelagos metrics |": SESSION,
        "pip install": NotRun("an extra of the package", "tests/tracing/test_setup.py"),
        "*": QUICK,
    },
    "docs/performance.md": {"*": NotRun("a benchmark on a quiet machine", "tests/benchmarks/test_run.py")},
    "docs/running.md": {"*": SESSION},
    "docs/scale-to-zero.md": {"*": QUICK},
    "docs/serving.md": {"```yaml": SERVING, "*": SERVICE},
    "docs/shipping-a-program.md": {
        "```sh": NotRun("it needs an engine", SHIPPED),
        "*": SHIPPED,
    },
    "docs/tutorial/backend.md": {"*": BACKENDS},
    "docs/tutorial/container.md": {"*": SESSION},
    "docs/tutorial/pod.md": {"io.pelagos.wasm.runtime: wasmedge": QUICK, "```sh": NODES, "*": CLUSTER},
    "docs/tutorial/service.md": {"*": SERVICE},
    "docs/upgrading.md": {"*": NODES},
    "docs/writing-a-backend.md": {
        "addopts =": "tests/integration/test_conformance.py",
        "git clone": NotRun("it needs github.com", "tests/conformance/test_wasi_testsuite.py"),
        "*": BACKENDS,
    },
    "examples/backend/README.md": {"*": BACKENDS},
    "plugins/wasmedge_backend/README.md": {
        "```toml": QUICK,
        "```sh": NotRun("it installs an engine", "scripts/engines.py"),
    },
    "plugins/wasmer_backend/README.md": {
        "```toml": QUICK,
        "```sh": NotRun("it installs an engine", "scripts/engines.py"),
    },
}
