"""Which system calls a process of a container may make, as /proc shows it for a running one."""

import errno
import os

import pytest

from pelagos_core.errors import InvalidArgument
from tests.support.bundles import CONFIG, Fifos, change_config, make_bundle
from tests.support.native import change_linux, shell
from tests.support.shim import running_shim

pytestmark = [pytest.mark.root, pytest.mark.guests]

# Everything is allowed but a call that our own steps are done with by then.
SPEC = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EDOM}],
}


def filters(pid):
    """(mode, number of filters) of a process: mode 2 has some."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.rstrip().split(":\t", 1) for line in file if line.startswith("Seccomp"))
    return int(status["Seccomp"]), int(status["Seccomp_filters"])


def with_profile(bundle, profile=SPEC, **more):
    change_config(bundle, linux={**CONFIG["linux"], "seccomp": profile}, **more)
    return bundle


@pytest.mark.parametrize(
    ("configured", "annotated", "spec", "expected"),
    [
        ("", "", None, (2, 1)),
        ("", "", SPEC, (2, 2)),
        ("", "off", SPEC, (2, 2)),  # an annotation only tightens
        ("spec", "", SPEC, (2, 1)),
        ("spec", "", None, (0, 0)),
        ("spec", "engine", SPEC, (2, 2)),
        ("off", "", SPEC, (0, 0)),
        ("off", "spec", SPEC, (2, 1)),
    ],
)
async def test_a_guests_engine_has_its_own_profile_and_the_specs(
    tmp_path, guests, configured, annotated, spec, expected
):
    (tmp_path / "config.toml").write_text(f'seccomp = "{configured}"\n')
    annotations = {"io.pelagos.wasm.seccomp": annotated} if annotated else {}
    bundle = with_profile(make_bundle(tmp_path / "c1", module=guests / "hello.wasm"), spec, annotations=annotations)
    async with running_shim(tmp_path, env={"PELAGOS_CONFIG": str(tmp_path / "config.toml")}) as shim:
        pid = await shim.create("c1", bundle)
        assert filters(pid) == expected
        await shim.start("c1")
        assert (await shim.wait("c1")).exit_status == 0


@pytest.mark.parametrize("guest", ["component.wasm", "greet.wasm", "tool.wasm"])
async def test_guests_of_every_kind_run_under_both(tmp_path, guests, guest):
    bundle = with_profile(make_bundle(tmp_path / "c1", "/app.wasm", "args", module=guests / guest))
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle) in (0, 3)


@pytest.mark.parametrize("no_new_privileges", [True, False])
async def test_a_native_program_has_the_specs_profile_alone(tmp_path, guests, no_new_privileges):
    script = "grep Seccomp_filters: /proc/self/status; mkdir /made || echo refused"
    bundle = shell(tmp_path / "c1", script, noNewPrivileges=no_new_privileges)
    change_linux(bundle, seccomp=SPEC)
    fifos = Fifos(tmp_path)
    async with running_shim(tmp_path) as shim:
        assert await shim.run("c1", bundle, fifos) == 0
        output, errors = fifos.output()
        assert output.split() == ["Seccomp_filters:", "1", "refused"]
        assert os.strerror(errno.EDOM) in errors
    fifos.close()


async def test_a_profile_that_cannot_be_is_refused_by_name(tmp_path, guests):
    bundle = with_profile(
        make_bundle(tmp_path / "c1", module=guests / "hello.wasm"), {"defaultAction": "SCMP_ACT_NOTIFY"}
    )
    async with running_shim(tmp_path) as shim:
        with pytest.raises(InvalidArgument, match=r"linux\.seccomp\.defaultAction: SCMP_ACT_NOTIFY is not supported"):
            await shim.create("c1", bundle)
