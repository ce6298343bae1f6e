"""Unpacks packages of any Debian release on a machine of another release.

apt uses separate lists and sources in a private directory, so the machine's own are neither
needed nor changed. The mirror is the one that the machine is configured with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Archive:
    """The Debian archive of some releases on this machine's mirror. Needs apt, but not root."""

    def __init__(self, directory: Path, releases: tuple[str, ...]) -> None:
        """Arguments: directory: for apt's lists; it is created. Raises RuntimeError if no mirror has the releases."""
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            raise RuntimeError("this is not Debian or Ubuntu: apt-get and dpkg are not there")
        self._directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True)
        errors = []
        for mirror in _mirrors():
            if not (error := self._refused(mirror, releases)):
                return
            errors.append(error)
        raise RuntimeError(f"no mirror of this machine has Debian's {', '.join(releases)}: {'; '.join(errors)}")

    def unpack(self, package: str, release: str, root: Path) -> str:
        """Unpack a package of a release below `root`, as if it were `/`; return its version."""
        debs = self._directory / "debs" / root.name / package
        debs.mkdir(parents=True)
        _run([*self._apt("apt-get"), "download", "-q", f"{package}/{release}"], debs)
        (deb,) = debs.glob("*.deb")
        _run(["dpkg", "-x", str(deb), str(root)])
        return _run(["dpkg-deb", "--field", str(deb), "Version"]).strip()

    def _refused(self, mirror: str, releases: tuple[str, ...]) -> str:
        """Why a mirror cannot be used; empty if it is used from now on."""
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        lines = [f"deb {signed}{mirror} {release} main\n" for release in releases]
        (self._directory / "sources.list").write_text("".join(lines))
        try:
            _run([*self._apt("apt-get"), "update", "-qq", "--error-on=any"])
        except RuntimeError as error:
            return str(error)
        return ""

    def _apt(self, program: str) -> list[str]:
        settings = {
            "Dir::Etc::SourceList": self._directory / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": self._directory / "lists",
            "Dir::Cache": self._directory / "cache",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "APT::Sandbox::User": "",  # apt's own user cannot write to our cache
        }
        return [program, *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def _mirrors() -> list[str]:
    """The archives in this machine's sources, in their order."""
    words = ["apt-get", "indextargets", "--no-release-info", "--format", "$(CREATED_BY) $(REPO_URI)"]
    lines = [line.split() for line in _run(words).splitlines()]
    return list(dict.fromkeys(uri for kind, uri in lines if kind == "Packages"))


def _run(words: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}".strip())
    return done.stdout
