"""`pelagos pack` as a user meets it: the file, the words, and what is refused."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile

import pytest

from tests.support.screen import at_terminal

EMPTY = bytes.fromhex("0061736d01000000010401600000030201000 70a01065f737461727400000a040102000b".replace(" ", ""))
COMPONENT = b"\0asm\x0d\0\1\0"


@pytest.fixture
def module(tmp_path):
    (tmp_path / "app.wasm").write_bytes(EMPTY)
    return tmp_path / "app.wasm"


def pack(*words, cwd=None, binary=False, stdin=None, **env):
    command = [sys.executable, "-m", "pelagos_core", "pack", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    return subprocess.run(
        command, cwd=cwd, stdin=stdin, capture_output=True, text=not binary, env={**environment, **env}
    )


def refused(*words, **env):
    done = pack(*words, **env)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("pelagos: pack: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def parts(archive):
    """Config, manifest and layer of the image in an archive."""
    with tarfile.open(archive) as found:
        data = {each.name: found.extractfile(each).read() for each in found if each.isfile()}

    def blob(descriptor):
        return data[f"blobs/{descriptor['digest'].replace(':', '/')}"]

    (target,) = json.loads(data["index.json"])["manifests"]
    manifest = json.loads(blob(target))
    return json.loads(blob(manifest["config"])), manifest, blob(manifest["layers"][0])


def test_an_image_lies_beside_where_it_was_asked_for(module, tmp_path):
    done = pack(module, "-t", "app", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, digest, hint = done.stdout.splitlines()
    assert first.startswith("packed docker.io/library/app:latest into app.tar (")
    assert digest.startswith("sha256:")
    assert hint == "to use it on a node: ctr -n k8s.io images import app.tar"
    assert sorted(os.listdir(tmp_path)) == ["app.tar", "app.wasm"]
    (tmp_path / "any").touch()
    assert os.stat(tmp_path / "app.tar").st_mode == os.stat(tmp_path / "any").st_mode  # as the umask has it
    assert parts(tmp_path / "app.tar")[0]["config"] == {"Entrypoint": ["/app.wasm"]}


def test_each_option_is_where_docker_has_it(module, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/note.txt").write_text("a note\n")
    words = ["--entrypoint", "/app.wasm#run", "--arg", "a", "--arg", "b", "-e", "A=1", "-e", "MINE", "-e", "NOT_SET"]
    words += ["-l", "k=v", "--annotation", "x=y=z", "-u", "1:2", "-w", "/data", "--platform", "linux/arm64"]
    words += ["--add", f"{tmp_path}/data:/data", "--add", f"{module}:/copies/"]
    done = pack(module, "-t", "localhost/app:1", "-o", tmp_path / "x.tar", "--json", *words, MINE="2")
    said = json.loads(done.stdout)
    assert (said["name"], said["file"]) == ("localhost/app:1", str(tmp_path / "x.tar"))
    assert said["size"] == os.stat(tmp_path / "x.tar").st_size
    config, manifest, layer = parts(tmp_path / "x.tar")
    assert config["config"] == {
        "Entrypoint": ["/app.wasm#run"],
        "Cmd": ["a", "b"],
        "Env": ["A=1", "MINE=2"],
        "Labels": {"k": "v"},
        "User": "1:2",
        "WorkingDir": "/data",
    }
    assert (config["architecture"], manifest["annotations"]) == ("arm64", {"x": "y=z"})
    (tmp_path / "layer").write_bytes(layer)
    with tarfile.open(tmp_path / "layer") as found:
        assert found.getnames() == ["app.wasm", "copies", "copies/app.wasm", "data", "data/note.txt"]


def test_the_same_input_makes_the_same_file(module, tmp_path):
    words = (module, "-t", "app", "-o", "-", "--platform", "linux/amd64")
    made = [pack(*words, binary=True, LC_ALL=locale).stdout for locale in ("C", "C.UTF-8")]
    other = pack(*words, binary=True, SOURCE_DATE_EPOCH="1700000000").stdout
    assert made[0] == made[1] != other
    # Fixed: another version of Python or of its libraries must make the same.
    assert hashlib.sha256(made[0]).hexdigest() == DIGEST_OF_EMPTY


DIGEST_OF_EMPTY = "ab1cb78685a5bd153378eb0a2d139bc520014753c80705ef18f86f5691220de8"


def test_an_artifact_names_its_kind(module, tmp_path):
    assert pack(module, "-t", "app", "--artifact", "-o", tmp_path / "m.tar", "--arg", "x").returncode == 0
    config, manifest, layer = parts(tmp_path / "m.tar")
    assert (layer, config["os"]) == (EMPTY, "wasip1")
    assert config["config"] == {"Entrypoint": ["/app.wasm"], "Cmd": ["x"]}
    assert manifest["layers"][0]["mediaType"] == "application/wasm"
    (tmp_path / "c.wasm").write_bytes(COMPONENT)
    assert pack(tmp_path / "c.wasm", "-t", "app", "--artifact", "-o", tmp_path / "c.tar").returncode == 0
    assert parts(tmp_path / "c.tar")[0]["os"] == "wasip2"


def test_what_is_no_module_is_refused_with_a_way_out(tmp_path, module):
    files = {
        "elf": b"\x7fELF\2\1\1\0",
        "note": b"a note",
        "empty": b"",
        "cut": b"\0asm\1\0\0\0\1\xff",
        "x.wat": b"(module)",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert "is a native program, not WebAssembly: pelagos packs modules" in refused(tmp_path / "elf", "-t", "a")
    assert "is not WebAssembly: it is a file of unknown kind [PLG-MODULE]" in refused(tmp_path / "note", "-t", "a")
    assert "is not WebAssembly" in refused(tmp_path / "empty", "-t", "a")
    assert "'" + str(tmp_path / "cut") + "' is not valid WebAssembly" in refused(tmp_path / "cut", "-t", "a")
    assert "is text, and an artifact has a binary module" in refused(tmp_path / "x.wat", "-t", "a", "--artifact")
    assert "does not exist" in refused(tmp_path / "none", "-t", "a")
    assert "letters must be small" in refused(module, "-t", "A")
    assert "no --add, no --platform" in refused(module, "-t", "a", "--artifact", "--add", tmp_path)
    assert "finds no match" in refused(module, "-t", "a", "--platform", "wasi/wasm")
    assert "'srv' is not absolute" in refused(module, "-t", "a", "-w", "srv")
    assert "No such file" in refused(module, "-t", "a", "--add", "/proc/none/such")
    assert "SOURCE_DATE_EPOCH: 'x'" in refused(module, "-t", "a", SOURCE_DATE_EPOCH="x")
    assert "missing option '-t'" in refused(module)
    assert sorted(os.listdir(tmp_path)) == sorted([*files, "app.wasm"])


def test_a_file_that_is_there_is_replaced_whole_or_not_at_all(module, tmp_path):
    (tmp_path / "x.tar").write_text("before")
    (tmp_path / "white").mkdir()
    (tmp_path / "white/.wh.x").touch()
    refused(module, "-t", "a", "-o", tmp_path / "x.tar", "--add", tmp_path / "white")
    assert (tmp_path / "x.tar").read_text() == "before"
    (tmp_path / "link").symlink_to("x.tar")
    assert pack(module, "-t", "a", "-o", tmp_path / "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert parts(tmp_path / "x.tar")[0]["os"] == "linux"
    assert sorted(os.listdir(tmp_path)) == ["app.wasm", "link", "white", "x.tar"]


def test_a_device_and_a_full_disk_are_what_they_are(module):
    assert pack(module, "-t", "a", "-o", "/dev/null").returncode == 0
    assert "No space left" in refused(module, "-t", "a", "-o", "/dev/full")
    assert os.path.exists("/dev/null")


def test_a_piped_module_has_the_name_of_its_image(module, tmp_path):
    with module.open("rb") as stdin:
        done = pack("-", "-t", "team/tool:v1", cwd=tmp_path, stdin=stdin)
    assert done.stdout.startswith("packed docker.io/team/tool:v1 into tool.tar ("), done.stderr
    assert parts(tmp_path / "tool.tar")[0]["config"] == {"Entrypoint": ["/tool.wasm"]}
    with open(os.devnull, "rb") as stdin:
        assert "module on standard input: there is none" in pack("-", "-t", "a", stdin=stdin).stderr


def test_an_archive_is_kept_off_a_terminal(module):
    code, screen = at_terminal([sys.executable, "-m", "pelagos_core", "pack", str(module), "-t", "a", "-o", "-"], {})
    assert (code, "not for a terminal" in screen) == (2, True)
