"""The drawings of the documents: docs/pictures/*.svg, in one style, for light and dark.

    python -m scripts.pictures          draw them again; a test compares them with what is drawn

Each is at most as wide as the screen of a phone can show without making its text too small, and says in words what it
shows. Its colours follow the page (`prefers-color-scheme`), with a ground of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

PICTURES = Path(__file__).parent.parent / "docs/pictures"
WIDTH = 460
_SHOWN = 520  # pixels, where the screen is wide enough
_FONT, _SMALL = 14, 12
_EM = 0.58  # the width of a character of the widest of the fonts below, of their size, on average
_STYLE = """
.ground { fill: #ffffff; }
.other { fill: #f3f6fa; stroke: #5b6b7f; stroke-width: 1.5; }
.ours { fill: #dff1ee; stroke: #0f766e; stroke-width: 1.5; }
.guest { fill: #fdf0d9; stroke: #b45309; stroke-width: 1.5; }
.frame { fill: none; stroke: #5b6b7f; stroke-width: 1.2; stroke-dasharray: 5 4; }
.line, .reply { fill: none; stroke: #334155; stroke-width: 1.5; }
.reply { stroke-dasharray: 5 4; }
.life { stroke: #94a3b8; stroke-width: 1.2; }
.tip { fill: #334155; }
text { fill: #0f172a; }
.small { font-size: 12px; fill: #334155; }
.mid { text-anchor: middle; }
.end { text-anchor: end; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #12151a; }
  .other { fill: #222a35; stroke: #93a3b8; }
  .ours { fill: #123531; stroke: #2dd4bf; }
  .guest { fill: #40290c; stroke: #fbbf24; }
  .frame { stroke: #93a3b8; }
  .line, .reply { stroke: #cbd5e1; }
  .life { stroke: #64748b; }
  .tip { fill: #cbd5e1; }
  text { fill: #f1f5f9; }
  .small { fill: #cbd5e1; }
}
"""


class Drawing:
    """A picture that is made of boxes, lines and words, in pixels from the top left corner."""

    def __init__(self, title: str, description: str, height: int) -> None:
        self._head = (title, description)
        self._height = height
        self._parts: list[str] = []

    def box(self, kind: str, at: tuple[float, float], size: tuple[float, float], *lines: str) -> None:
        """A box of a kind of the style. The first line is its name, further ones are small."""
        (x, y), (width, height) = at, size
        radius = 8 if kind == "frame" else 6
        self._parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>')
        top = y + height / 2 + 5 - (len(lines) - 1) * 8
        for number, line in enumerate(lines):
            self.text(
                line, (x + width / 2, top + number * 16 + (number > 0)), "mid" if not number else "small mid", width
            )

    def text(self, words: str, at: tuple[float, float], kind: str = "small", room: float = WIDTH) -> None:
        """One line of words. Raises ValueError if it is wider than the room for it."""
        size = _SMALL if "small" in kind else _FONT
        if len(words) * size * _EM > room + 4:
            raise ValueError(f"{words!r} does not fit into {room} pixels")
        self._parts.append(f'<text class="{kind}" x="{at[0]:g}" y="{at[1]:g}">{escape(words)}</text>')

    def arrow(self, path: str, kind: str = "line") -> None:
        """A line with a tip, by a path of SVG."""
        self._parts.append(f'<path class="{kind}" d="{path}" marker-end="url(#tip)"/>')

    def line(self, path: str, kind: str = "life") -> None:
        """A line without a tip."""
        self._parts.append(f'<path class="{kind}" d="{path}"/>')

    def svg(self) -> str:
        """The picture as a file."""
        title, description = map(escape, self._head)
        shown = self._height * _SHOWN // WIDTH
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height}" width="{_SHOWN}" '
                f'height="{shown}" role="img" aria-labelledby="title description" font-size="{_FONT}" '
                "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">",
                f'<title id="title">{title}</title>',
                f'<desc id="description">{description}</desc>',
                f"<style>{_STYLE}</style>",
                '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                'orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
                f'<rect class="ground" width="{WIDTH}" height="{self._height}" rx="8"/>',
                *self._parts,
                "</svg>\n",
            ]
        )


def overview() -> str:
    """How a container is run: for the README and the start page."""
    picture = Drawing(
        "How pelagos runs a container",
        "kubectl, docker, ctr and crictl talk to containerd, and containerd to one pelagos daemon for each pod; "
        "pelagos run talks to a daemon of its own. The daemon asks the installed backends which of them can run the "
        "module, and its nursery forks one process for each container. Each process has namespaces, a control group "
        "and a root of its own, and in it an engine and the guest.",
        520,
    )
    picture.box("other", (12, 12), (212, 52))
    picture.text("kubectl, docker,", (118, 34), "mid")
    picture.text("crictl, ctr", (118, 53), "mid")
    picture.box("other", (300, 12), (148, 52), "pelagos run")
    picture.box("other", (12, 100), (212, 44), "containerd")
    picture.arrow("M118 64V97")
    picture.box("ours", (12, 186), (212, 52), "pelagos daemon", "one for each pod")
    picture.arrow("M80 144V183")
    picture.text("task API", (88, 170))
    picture.arrow("M374 64V165H184V183")
    picture.box("ours", (310, 186), (138, 52), "backends", "pip packages")
    picture.arrow("M224 212H307")
    picture.text("can it run?", (265, 205), "small mid")
    picture.box("ours", (12, 278), (212, 52), "nursery", "in C, an engine loaded")
    picture.arrow("M118 238V275")
    picture.text("plan", (126, 262))
    for left, engine, guest in ((12, "engine", "app.wasm"), (242, "another engine", "other.wasm")):
        picture.box("frame", (left, 372), (206, 136))
        picture.text("namespaces, root, control", (left + 12, 392))
        picture.text("group, system calls: its own", (left + 12, 408))
        picture.box("ours", (left + 12, 418), (182, 80))
        picture.text(engine, (left + 103, 439), "mid")
        picture.box("guest", (left + 30, 449), (146, 38), guest)
    picture.arrow("M118 330V369")
    picture.arrow("M224 304H345V369")
    picture.text("fork", (126, 354))
    picture.text("fork", (353, 354))
    return picture.svg()


def processes() -> str:
    """Which process starts which."""
    picture = Drawing(
        "The processes of a pod",
        "containerd executes containerd-shim-wasm-v1 start. It sends its command line to the zygote. There "
        "is one for each node. The zygote forks the daemon, one for each pod. The daemon executes its nursery, a small "
        "program in C. The nursery forks an init process for each container, as a child of the daemon.",
        442,
    )
    picture.box("other", (12, 12), (110, 52), "containerd")
    picture.box("ours", (212, 12), (236, 52), "containerd-shim-wasm-v1 start", "in C; ends with its answer")
    picture.arrow("M122 38H209")
    picture.text("executes", (166, 31), "small mid")
    picture.box("ours", (298, 112), (150, 52), "zygote", "one for each node")
    picture.arrow("M373 64V109")
    picture.text("asks", (381, 92))
    picture.box("ours", (298, 212), (150, 60), "daemon", "one for each pod")
    picture.arrow("M373 164V209")
    picture.text("forks", (381, 192))
    picture.arrow("M40 64V228H295")
    picture.text("task API: Create, Start, Kill, …", (52, 220))
    picture.box("ours", (298, 346), (150, 84), "nursery", "in C, with an engine;", "one for each pod", "and engine")
    picture.arrow("M373 272V343")
    picture.text("executes", (381, 312))
    picture.box(
        "guest",
        (12, 346),
        (210, 84),
        "init process",
        "one for each container:",
        "carries out its plan, loads",
        "the guest, runs it at Start",
    )
    picture.arrow("M298 388H225")
    picture.text("forks", (262, 381), "small mid")
    picture.arrow("M117 346V256H295", "reply")
    picture.text("its parent, by", (125, 290))
    picture.text("CLONE_PARENT: reaps it", (125, 306))
    return picture.svg()


def compiling() -> str:
    """How code is compiled once: messages between processes, from the top to the bottom."""
    picture = Drawing(
        "How code is compiled once",
        "The init process sends the module to the daemon. If the daemon knows good code for it, it sends that. "
        "Otherwise it forks the compile service, which copies and digests the module, locks the key, and forks the "
        "compiler. The code comes back by way of the compile service, which digests it and puts it in its place, and "
        "the daemon. The init process then changes its root and maps the code.",
        640,
    )
    lanes = (60, 173, 287, 400)
    names = (
        ("init process", "the container's"),
        ("daemon", "root; serves"),
        ("compiling", "a service; root"),
        ("compiler", "no privileges"),
    )
    for x, lines in zip(lanes, names, strict=True):
        picture.line(f"M{x} 64V628")
        picture.box("ours", (x - 52, 12), (104, 52), *lines)

    def note(lane: int, y: float, *lines: str) -> None:
        height = 10 + 16 * len(lines)
        picture.box("other", (lanes[lane] - 52, y), (104, height))
        for number, line in enumerate(lines):
            picture.text(line, (lanes[lane], y + 17 + 16 * number), "small mid", 104)

    def message(start: int, end: int, y: float, words: str, kind: str = "line") -> None:
        aside = 4 if start < end else -4
        picture.arrow(f"M{lanes[start] + aside} {y}H{lanes[end] - aside}", kind)
        picture.text(words, ((lanes[start] + lanes[end]) / 2, y - 6), "small mid", 106)

    note(0, 78, "digest of", "the module")
    message(0, 1, 146, "module, digest")
    note(1, 158, "known good", "code?")
    message(1, 0, 226, "yes: the code", "reply")
    message(1, 2, 262, "no: forks")
    note(2, 276, "copies and", "digests it")
    note(2, 326, "locks the key,", "looks again")
    message(2, 3, 398, "forks")
    note(3, 410, "compiles")
    message(3, 2, 464, "code", "reply")
    note(2, 476, "digests and", "stores it")
    message(2, 1, 540, "code", "reply")
    message(1, 0, 560, "code", "reply")
    note(0, 570, "root, user", "changed;", "maps the code")
    return picture.svg()


def layers() -> str:
    """What is around a guest; the numbers are those of the list in docs/security.md."""
    picture = Drawing(
        "The layers around a guest",
        "From the inside to the outside: the guest; its engine's sandbox; the rights of WASI that a policy leaves; a "
        "root without /proc and without a file of the engine; filters of system calls; namespaces, user, capabilities "
        "and control group of the container; and the host, where the daemon of the pod is.",
        520,
    )
    around = (
        ("other", "The host: containerd, other pods"),
        ("frame", "4  Container: namespaces, user, cgroups, rights"),
        ("frame", "5  System calls: the spec's and own filters"),
        ("frame", "2, 6  A root without /proc and engine files"),
        ("ours", "The engine's process"),
        ("other", "3  WASI: what the policy leaves of it"),
        ("ours", "1  Sandbox: the guest's memory"),
    )
    for depth, (kind, words) in enumerate(around):
        left, top = 12 + depth * 11, 12 + depth * 40
        picture.box(kind, (left, top), (WIDTH - 2 * left, 420 - depth * 51))
        picture.text(words, (left + 12, top + 25), "small", WIDTH - 2 * left - 20)
    picture.box("guest", (130, 292), (200, 40), "guest")
    picture.box(
        "ours",
        (12, 448),
        (436, 60),
        "7  The daemon of the pod: root, and outside",
        "reads specs, frames and heads of modules, up to a limit",
    )
    return picture.svg()


def hooks() -> str:
    """When each hook of a backend is called, and in which process."""
    picture = Drawing(
        "When each hook is called, and in which process",
        "In the daemon of the pod, which is root and has one event loop: import and configure once, describe and "
        "native when asked, signal for each Kill, wait once. In the init process of a container, as root and with the "
        "host's files in reach: detect and code_key. In a process of its own: compile, if the module was not compiled "
        "before. After the change of root and credentials, in the init process as the container's user: spawn, and at "
        "Start the workload.",
        478,
    )
    lanes = (
        (12, 132, "pod's daemon", "root; one loop"),
        (160, 128, "a process", "of its own"),
        (304, 144, "init process", "of one container"),
    )
    for left, width, *lines in lanes:
        picture.line(f"M{left + width / 2:g} 62V466")
        picture.box("other", (left, 12), (width, 50), *lines)
    steps = (
        (0, 76, "configure", "once, after import"),
        (0, 126, "describe, native", "when asked"),
        (2, 126, "detect", "root; host files near"),
        (2, 176, "code_key", "the same"),
        (1, 226, "compile", "if not compiled"),
        (2, 304, "spawn", "its user, its root"),
        (2, 354, "the workload", "at Start"),
        (0, 354, "signal", "for each Kill"),
        (0, 412, "wait", "once, until its end"),
    )
    for lane, y, *lines in steps:
        left, width = lanes[lane][:2]
        picture.box("guest" if lines[0] == "the workload" else "ours", (left, y), (width, 42), *lines)
    picture.line("M12 286H448", "frame")
    picture.text("root and user change", (448, 281), "small end")
    picture.arrow("M376 218V247H291")
    picture.arrow("M224 268V325H301", "reply")
    picture.text("code", (232, 318))
    return picture.svg()


def life() -> str:
    """The states of a task."""
    picture = Drawing(
        "The states of a task",
        "A task is being created, then created; start makes it running; pause and resume lead to paused and back; its "
        "exit makes it stopped, also before Start, and delete ends it. A task whose process exits while it is being "
        "created is deleted at once.",
        360,
    )
    for y, words in ((12, "being created"), (92, "created"), (172, "running"), (252, "stopped"), (316, "deleted")):
        picture.box("guest" if words == "running" else "ours", (130, y), (160, 36 if words == "deleted" else 44), words)
    picture.box("ours", (352, 172), (96, 44), "paused")
    for start, end, words in (
        (56, 89, "finish creating"),
        (136, 169, "start"),
        (216, 249, "exit"),
        (296, 313, "delete"),
    ):
        picture.arrow(f"M210 {start}V{end}")
        picture.text(words, (218, (start + end) / 2 + 5))
    picture.arrow("M290 184H349")
    picture.arrow("M352 204H293", "reply")
    picture.text("pause", (321, 178), "small mid", 52)
    picture.text("resume", (321, 220), "small mid", 52)
    picture.arrow("M400 216V274H293")
    picture.text("exit", (408, 250))
    picture.arrow("M130 114H70V274H127")
    picture.text("exit", (78, 108))
    picture.arrow("M130 34H20V334H127")
    picture.text("exit", (28, 28))
    return picture.svg()


def logo() -> str:
    """Three waves: the mark of the site."""
    waves = "".join(
        f'<path d="M12 {y}q6.7-7 13.3 0t13.3 0t13.4 0" opacity="{opacity}"/>'
        for y, opacity in ((23, "1"), (35, ".8"), (47, ".55"))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img" aria-labelledby="title">\n'
        '<title id="title">pelagos</title>\n<rect width="64" height="64" rx="14" fill="#0f766e"/>\n'
        f'<g fill="none" stroke="#ffffff" stroke-width="5" stroke-linecap="round">{waves}</g>\n</svg>\n'
    )


ALL: Mapping[str, Callable[[], str]] = {
    "overview": overview,
    "processes": processes,
    "compiling": compiling,
    "layers": layers,
    "hooks": hooks,
    "life": life,
    "logo": logo,
}


def main(names: Sequence[str] = tuple(ALL)) -> None:
    """Write the pictures of these names."""
    for name in names:
        (PICTURES / f"{name}.svg").write_text(ALL[name]())


if __name__ == "__main__":
    main()
