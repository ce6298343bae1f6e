"""`pelagos pack`: packs a module into an image or a Wasm artifact, as a file that containerd and docker import."""

from __future__ import annotations

import json
import os
import posixpath
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from pelagos_core import reasons
from pelagos_core.cli import completion, mistakes, module_file, mount_option, pairs, progress
from pelagos_core.cli.command import command
from pelagos_core.cli.formats import json_option
from pelagos_core.config import size
from pelagos_core.errors import InvalidArgument, PermissionDenied
from pelagos_core.images import archive, image, reference
from pelagos_core.images.image import Blob, Image, Settings
from pelagos_core.images.layer import Layer, Sink
from pelagos_core.images.node_platform import Platform
from pelagos_core.plugin import wasm
from pelagos_core.plugin.kind import Kind, kind_of

_CHUNK = 1 << 20
_LATEST = 253402300799  # the last second of the year 9999
_STREAM = "-"
_ADVICE = "pelagos packs modules, `docker build` packs programs"


@command(
    sections={
        "The file": "name output artifact json format",
        "What is in it": "added labels annotations platforms",
        "What a container of it has": "entrypoint args env user workdir",
    }
)
@click.option("-t", "--tag", "name", required=True, metavar="NAME", help="The image's name, such as registry/app:v1.")
@click.option(
    "-o", "--output", default="", metavar="FILE", help="The file to write; - is standard output.  [default: MODULE.tar]"
)
@click.option("--artifact", is_flag=True, help="A Wasm artifact: the module as it is, no files. For containerd 1.7 on.")
@click.option(
    "--add",
    "added",
    multiple=True,
    metavar="SOURCE[:TARGET]",
    help="Also a file, or what is in a directory; TARGET is / by default.",
)
@click.option("--entrypoint", default="", metavar="WORD", help="In place of the module's path, such as /app.wasm#run.")
@click.option("--arg", "args", multiple=True, metavar="WORD", help="An argument, unless a container has its own.")
@click.option("-e", "--env", "env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass yours on.")
@click.option("-l", "--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label of the image's config.")
@click.option("--annotation", "annotations", multiple=True, metavar="NAME=VALUE", help="An annotation of its manifest.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="The user of a container.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Working directory in the container.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH[,…]",
    help="The nodes' own, such as linux/amd64,linux/arm64.  [default: this machine's]",
)
@json_option
@click.argument("module", metavar="MODULE", shell_complete=completion.files)
def pack(
    name: str,
    output: str,
    artifact: bool,
    added: tuple[str, ...],
    entrypoint: str,
    args: tuple[str, ...],
    env: tuple[str, ...],
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    user: str,
    workdir: str,
    platforms: tuple[str, ...],
    as_json: bool,
    module: str,
) -> None:
    """Pack a WebAssembly program into an image.

    MODULE is a .wasm or .wat file, or - for standard input. It is placed in the image's root directory, and a
    container of the image runs it. The image is a file for `ctr images import`, `docker load` and the like, and
    for tools that push to registries. Equal files and options give equal images, bit for bit; their time is
    SOURCE_DATE_EPOCH, or 1970.

    \b
    pelagos pack app.wasm -t registry.example/app:v1
    pelagos pack app.wasm -t app -o - | ctr -n k8s.io images import -
    pelagos pack app.wasm -t app --add ./static:/static --env LANG=C --arg serve
    pelagos pack app.wasm -t app --artifact
    build | pelagos pack - -t app
    """
    if artifact and (added or platforms):
        raise click.UsageError("an artifact has no files and no platform but the module's: no --add, no --platform")
    with mistakes.in_option("--tag"):
        whole = reference.normalised(name)
    is_piped = module == _STREAM
    file = module_file.read_stream(0, _ADVICE) if is_piped else module_file.open_module(module, _ADVICE)
    kind = _checked(module, file, binary=artifact)
    title = os.path.basename(module)
    if is_piped:
        title = f"{reference.base(whole)}.{'wat' if kind is Kind.WAT else 'wasm'}"
    path = f"/{title}"
    settings = Settings(
        entrypoint=(entrypoint or path,),
        command=args,
        env=pairs.variables(env),
        labels=pairs.pairs(labels, "--label"),
        annotations=pairs.pairs(annotations, "--annotation"),
        user=user,
        workdir=mount_option.absolute(workdir, "--workdir") if workdir else "",
        created=_created(),
    )
    target = output or f"{os.path.splitext(title)[0]}.tar"
    with progress.shown(f"packing {whole}"), _opened(target) as write:
        made = (
            image.artifact(_module(file), title, settings, is_component=kind is Kind.COMPONENT)
            if artifact
            else _image(file, path, added, platforms, settings)
        )
        archive.write(made, whole, write)
    if target != _STREAM:
        _tell(as_json, whole, made, target)


def _checked(module: str, file: int, *, binary: bool) -> Kind:
    """The kind of the module. Raises InvalidArgument if it is not a module, or is malformed."""
    kind, what = kind_of(file), f"module {module!r}"
    if kind is Kind.WAT and binary:
        text = f"{what} is text, and an artifact has a binary module: translate it, as `wat2wasm` does"
        raise InvalidArgument(text, reasons.MODULE)
    if kind not in (Kind.MODULE, Kind.COMPONENT, Kind.WAT):
        raise InvalidArgument(f"{what} is not WebAssembly: it is a {kind.value}", reasons.MODULE)
    if kind is not Kind.WAT:
        try:
            wasm.read(file)
        except InvalidArgument as error:
            raise InvalidArgument(f"{what} is {error.message}", error.reason) from None
    return kind


def _image(file: int, path: str, added: tuple[str, ...], platforms: tuple[str, ...], settings: Settings) -> Image:
    layer = Layer()
    for word in added:
        layer.add(*_addition(word))
    layer.add_module(file, path)
    words = [word for each in platforms for word in each.split(",")]
    with mistakes.in_option("--platform"):
        asked = tuple(dict.fromkeys(map(Platform.parse, words))) or (Platform.of_this_machine(),)
    return image.image(layer, asked, settings)


def _addition(word: str) -> tuple[str, str]:
    """Source and target of an option `--add`: a file keeps its name if the target is a directory."""
    source, _, target = word.partition(":")
    if not source:
        raise click.BadParameter(f"{word!r} is not SOURCE[:TARGET]", param_hint="--add")
    target = mount_option.absolute(target or "/", "--add")
    if target.endswith("/") and not os.path.isdir(source):
        target = posixpath.join(target, os.path.basename(source))
    return source, target


def _module(file: int) -> Blob:
    def write(sink: Sink) -> None:
        offset = 0
        while chunk := os.pread(file, _CHUNK, offset):
            sink(chunk)
            offset += len(chunk)

    return Blob.measured(write)


def _created() -> int:
    """SOURCE_DATE_EPOCH (reproducible-builds.org), in seconds; 0 if it is not set."""
    word = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (word.isascii() and word.isdecimal()) or int(word) > _LATEST:
        raise InvalidArgument(f"SOURCE_DATE_EPOCH: {word!r} is not a number of seconds since 1970")
    return int(word)


@contextmanager
def _opened(target: str) -> Iterator[Callable[[bytes], object]]:
    """Write to a file, which is renamed into place when it is complete; or directly to a target that is not a file."""
    if target == _STREAM:
        if sys.stdout.isatty():
            raise click.UsageError("an archive is not for a terminal: name a file with -o, or pass it on")
        yield sys.stdout.buffer.write
        return
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        with open(target, "wb") as special:
            yield special.write
        return
    directory = os.path.dirname(target) or "."
    try:
        made, temporary = tempfile.mkstemp(dir=directory, prefix=f".{os.path.basename(target)}.")
    except OSError as error:
        raise PermissionDenied(f"nothing can be written into directory {directory!r}: {error.strerror}") from None
    try:
        with os.fdopen(made, "wb") as file:
            yield file.write
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(made, 0o666 & ~mask)
        os.rename(temporary, os.path.realpath(target))
    except BaseException:
        os.unlink(temporary)
        raise


def _tell(as_json: bool, name: str, made: Image, target: str) -> None:
    length = os.stat(target).st_size
    if as_json:
        fields = {"name": name, "digest": made.target["digest"], "file": target, "size": length}
        click.echo(json.dumps(fields))
        return
    click.echo(f"packed {name} into {target} ({size.describe(length)})")
    click.echo(made.target["digest"])
    click.echo(f"to use it on a node: ctr -n k8s.io images import {target}")
