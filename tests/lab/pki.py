"""Keys and certificates of one lab, made by strongSwan's `pki`: our CA, the gateway, the cloud, and a CA nobody trusts."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .system import LabError

GATEWAY_ID, CLOUD_ID = "gw-1.penstock.test", "cloud.penstock.test"


# Only the plugins that are needed: loading all of Debian's takes longer than making the key.
_SETTINGS = "pki { load = random openssl pem pkcs1 pkcs8 x509 pubkey sha2 }\n"


def _pki(*args: str, data: bytes | None = None) -> bytes:
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
        settings.write(_SETTINGS)
        settings.flush()
        done = subprocess.run(["pki", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, STRONGSWAN_CONF=settings.name))
    if done.returncode != 0:
        raise LabError(f"pki {args[0]}: {done.stderr.decode(errors='replace').strip()[-400:]}")
    return done.stdout


def _write(path: Path, content: bytes, mode: int) -> None:
    path.write_bytes(content)
    path.chmod(mode)


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate and key, and what it can issue."""

    directory: Path
    name: str

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.name}.pem"

    @property
    def _key(self) -> Path:
        return self.directory / f"{self.name}.key"

    @property
    def key_for_tests(self) -> Path:
        """For what strongSwan's pki does not sign."""
        return self._key

    @staticmethod
    def make(directory: Path, name: str) -> "Authority":
        directory.mkdir(parents=True, exist_ok=True)
        authority = Authority(directory, name)
        _write(authority._key, _pki("--gen", "--type", "ecdsa", "--size", "384", "--outform", "pem"), 0o600)
        _write(authority.certificate, _pki("--self", "--ca", "--type", "ecdsa", "--in", str(authority._key), "--lifetime", "30",
                                           "--dn", f"O=penstock lab, CN={name}", "--digest", "sha384", "--outform", "pem"), 0o644)
        return authority

    def issue(self, identity: str, certificate: Path, key: Path, *addresses: str, expired: bool = False) -> None:
        """An end entity whose only subjectAltNames are its identity and, for servers, its addresses."""
        _write(key, _pki("--gen", "--type", "ecdsa", "--size", "384", "--outform", "pem"), 0o600)
        names = [word for name in (identity, *addresses) for word in ("--san", name)]
        public = _pki("--pub", "--type", "ecdsa", "--in", str(key))
        lifetime = ["--not-before", "01.01.20 00:00:00", "--not-after", "01.01.21 00:00:00"] if expired else ["--lifetime", "30"]
        _write(certificate, _pki("--issue", "--cacert", str(self.certificate), "--cakey", str(self._key), *lifetime,
                                 "--dn", f"O=penstock lab, CN={identity}", *names, "--flag", "serverAuth",
                                 "--flag", "clientAuth", "--digest", "sha384", "--outform", "pem", data=public), 0o644)

    def revoke(self, crl: Path, *certificates: Path, days: int = 30) -> None:
        """A CRL that lists these."""
        listed = [word for certificate in certificates for word in ("--reason", "key-compromise", "--cert", str(certificate))]
        _write(crl, _pki("--signcrl", "--cacert", str(self.certificate), "--cakey", str(self._key), "--lifetime", str(days), *listed,
                         "--digest", "sha384", "--outform", "pem"), 0o644)
