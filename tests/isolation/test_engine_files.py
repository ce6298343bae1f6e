"""An engine's own files: reachable until it opens its module, and then not at all."""

import os

import pytest

from pelagos_core.errors import FailedPrecondition
from pelagos_core.isolation import engine_root
from pelagos_core.isolation.filesystem import AssembleRoot, ChangeRoot
from pelagos_core.isolation.operation import execute
from pelagos_core.isolation.state import ENTRYPOINT, State
from pelagos_core.linux import namespaces
from pelagos_core.plugin import program
from pelagos_core.plugin.program import HostFile, Program
from pelagos_core.rootfs.propagation import make_mounts_private
from pelagos_core.rootfs.root import Root
from tests.support.child import in_child
from tests.support.roots import take

SHELL = program.find("sh", {})
USER = 12345


@pytest.fixture
def image(tmp_path):
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    (root / "note").write_text("a note")
    (root / "data/absolute").symlink_to("/note")
    (root / "data/up").symlink_to("../..")
    (root / "app.wasm").write_text("module")
    return root


def engine(image, script, path="/app.wasm", more=(), uid=USER, before=lambda: None, *, times=1):
    """Run a shell script as the engine, with its module as $1; what it prints. It may run `list`, `read`.

    times: how often, one after the other; what all have printed.
    """
    listing = 'list() { [ -d "$1" ] && cd "$1" && echo * && cd /; }'
    reading = 'read_() { [ -f "$1" ] && read -r l < "$1"; echo "$l"; l=; }'

    def run():
        namespaces.unshare(["mount"])
        make_mounts_private()
        os.umask(0)
        root = Root(str(image))
        take(root, AssembleRoot(()))
        file = root.open_file("/app.wasm")
        described = Program(SHELL.source, SHELL.path, (*SHELL.files, *more), SHELL.command)
        state = State(root, {ENTRYPOINT: file})
        execute(engine_root.assembling(described, path, uid, compiled=False), state)
        os.close(file)
        take(root, ChangeRoot())
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        before()
        kept = engine_root.KeepModuleBack(described, path, keeps=times > 1)
        execute([kept], state)
        said = shell()
        for _ in range(times - 1):
            kept.again(state)
            said += shell()
        return said

    def shell():
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(writer, 1)
            os.execve(SHELL.path, ["sh", "-c", f"{listing}; {reading}; {script}", "sh", path], {})
        os.close(writer)
        said = b""
        while chunk := os.read(reader, 1 << 16):
            said += chunk
        os.waitpid(pid, 0)
        return said.decode().splitlines()

    return in_child(run)


@pytest.mark.root
@pytest.mark.parametrize("uid", [0, USER])
def test_an_engine_has_its_files_until_it_opens_its_module_and_nothing_of_them_afterwards(image, uid):
    look = f"list /; list {os.path.dirname(SHELL.path)}; list {program.ENGINE_FILES};"
    said = engine(image, f"{look} read_ $1; {look}", uid=uid)
    top = sorted({target.split("/")[1] for target in SHELL.targets} | {"app.wasm", "guest"})
    assert said[:3] == [
        " ".join(top),
        os.path.basename(SHELL.path),
        " ".join(sorted({each.target.split("/")[1] for each in SHELL.files} | {"tmp"})),
    ]
    assert said[3:] == ["module", "app.wasm data guest note"]


@pytest.mark.root
def test_every_path_that_core_names_is_gone(image):
    tests = "; ".join(f'[ -e "{target}" ] || [ -L "{target}" ] && echo {target}' for target in SHELL.targets)
    said = engine(image, f"{tests}; read_ $1; {tests}; true")
    assert said == [*SHELL.targets, "module"]


@pytest.mark.root
def test_links_of_the_container_lead_to_its_own_files(image):
    ways = "read_ /guest/data/absolute; list /guest/data/up/guest; list /guest/data/up"
    assert engine(image, f"read_ $1; {ways}") == [
        "module",
        "a note",
        "app.wasm data note",
        "app.wasm data guest note",
    ]


@pytest.mark.root
def test_a_module_is_opened_as_often_as_the_engine_likes_also_beside_the_engines_files(image):
    path = f"{os.path.dirname(SHELL.path)}/app.wasm"
    assert engine(image, "echo $1; read_ $1; read_ $1; list ${1%/*}", path) == [
        path,
        "module",
        "module",
        "app.wasm",
    ]


@pytest.mark.root
def test_a_file_at_the_top_and_a_whole_directory_go_too(image, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/part").write_text("part")
    (tmp_path / "run.js").write_text("script")
    more = (HostFile(str(tmp_path / "lib"), "/opt/lib"), HostFile(str(tmp_path / "run.js"), "/run.js"))
    look = "read_ /run.js; read_ /opt/lib/part;"
    assert engine(image, f"{look} read_ $1; {look} list /", more=more) == [
        "script",
        "part",
        "module",
        "",
        "",
        "app.wasm data guest note",
    ]


@pytest.mark.root
def test_what_is_left_is_read_only(image):
    script = "read_ $1; for each in / /app.wasm /guest; do [ -w $each ] && echo $each; done; true"
    assert engine(image, script, uid=0) == ["module", "/guest"]


@pytest.mark.root
def test_without_a_lease_the_container_fails_to_be_made(image):
    def open_it():
        os.open("/app.wasm", os.O_RDONLY)

    with pytest.raises(FailedPrecondition, match=r"'/app.wasm' cannot be withheld from .*: no lease"):
        engine(image, "", before=open_it)


@pytest.mark.root
def test_a_program_is_executed_again_and_its_files_are_out_of_reach_each_time(image):
    script = 'read_ "$1"; [ -e /pelagos ] && echo files; list /; list /container; read_ /note; list /container/data/up'
    before = sorted(str(path) for path in image.rglob("*"))
    once, thrice = engine(image, script), engine(image, script, times=3)
    assert thrice == once * 3
    assert "files" not in once
    assert sorted(str(path) for path in image.rglob("*")) == before
