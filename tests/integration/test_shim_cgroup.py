"""The control group of the shim, which runc's options name."""

import contextlib
import os
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any

from pelagos_core.api import runc_options_pb2
from pelagos_core.api.runtimeoptions_pb2 import Options
from pelagos_core.cgroups.hierarchies import hierarchies
from pelagos_core.errors import NotFound
from tests.support.absent import ABSENT
from tests.support.bundles import make_bundle
from tests.support.native import change_linux
from tests.support.shim import running_shim
from tests.support.traces import children

pytestmark = [pytest.mark.root, pytest.mark.guests]


@pytest.fixture
def group():
    """A group in each hierarchy, as a node's administrator makes it; its path."""
    path = f"/pelagos-shims-{os.getpid()}"
    made = [Path(each.mount_point + path) for each in hierarchies()]
    for directory in made:
        directory.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):  # v1: nothing enters a cpuset that is empty
            with contextlib.suppress(FileNotFoundError):
                (directory / file).write_text((directory.parent / file).read_text())
    yield path
    for directory in made:
        directory.rmdir()


@pytest.fixture
def parent():
    """The path of a group for containers, which the shim makes with the first of them, and does not remove."""
    path = f"/pelagos-of-{os.getpid()}"
    yield path
    for each in hierarchies():
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(each.mount_point + path)


def groups_of(pid):
    return {
        line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if ":name=" not in line
    }


def of_runc(path):
    return Any(
        type_url="containerd.runc.v1.Options", value=runc_options_pb2.Options(shim_cgroup=path).SerializeToString()
    )


def of_cri(path):
    body = f'ShimCgroup = "{path}"'.encode()
    return Any(type_url="runtimeoptions.v1.Options", value=Options(config_body=body).SerializeToString())


@pytest.mark.parametrize("options", [of_runc, of_cri])
async def test_the_shim_and_its_helpers_run_in_it_and_its_containers_do_not(tmp_path, guests, group, parent, options):
    async with running_shim(tmp_path) as shim:
        for name in ("c1", "c2"):
            bundle = make_bundle(tmp_path / name, module=guests / "spin.wasm")
            change_linux(bundle, cgroupsPath=f"{parent}/{name}")
            init = await shim.create(name, bundle, options=options(group))
            await shim.start(name)
            helpers = set(children(shim.pid)) - {init}
            assert group in groups_of(shim.pid)
            assert not groups_of(init) & {group}
            if name == "c1":
                assert helpers  # the nursery
                for pid in helpers:
                    assert group in groups_of(pid)
            await shim.kill(name, 9)
            await shim.wait(name)
            await shim.delete(name)


async def test_one_that_is_not_there_is_refused_by_name(tmp_path, guests):
    bundle = make_bundle(tmp_path / "c1", module=guests / "hello.wasm")
    async with running_shim(tmp_path) as shim:
        with pytest.raises(NotFound, match=f"ShimCgroup: control group '{ABSENT}' does not exist"):
            await shim.create("c1", bundle, options=of_runc(ABSENT))
        assert await shim.run("c1", bundle) == 0
