"""The keys and certificates of a cluster, as kubeadm makes them, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """One certificate authority in a directory, which all parts of a cluster trust."""

    def __init__(self, directory: Path) -> None:
        """directory: made by this, with the authority's own key and certificate, `ca.key` and `ca.crt`."""
        self.directory = directory
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        _request(directory / "ca", "/CN=kubernetes", "basicConstraints=critical,CA:TRUE")

    def issue(self, name: str, user: str, group: str = "", addresses: tuple[str, ...] = ()) -> None:
        """A key and a certificate, NAME.key and NAME.crt, of a user of a group, or of a server with these names."""
        organization = f"/O={group}" if group else ""
        names = [f"subjectAltName={','.join(addresses)}"] if addresses else []
        usage = "extendedKeyUsage=serverAuth,clientAuth"
        signed = ("-CA", str(self.directory / "ca.crt"), "-CAkey", str(self.directory / "ca.key"))
        _request(self.directory / name, f"{organization}/CN={user}", usage, *names, signed=signed)

    def key(self, name: str) -> None:
        """A key without a certificate, NAME.key."""
        _openssl(
            "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", f"{self.directory / name}.key"
        )


def _request(place: Path, subject: str, *extensions: str, signed: tuple[str, ...] = ()) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
    added = [word for extension in extensions for word in ("-addext", extension)]
    words = (*curve, "-subj", subject, *added, *signed, "-keyout", f"{place}.key", "-out", f"{place}.crt")
    _openssl("req", "-x509", *words)


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"openssl {' '.join(words)}: {done.stderr}"
