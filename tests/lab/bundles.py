"""Signed policy bundles for the lab, made with the real command line: the good ones, and every kind that must be refused."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from .system import run

FLEET = "penstock-lab"
TEMPLATE = Path(__file__).parent / "policy" / "lab.yaml"


@dataclass
class Bundles:
    """One lab's keys (a root key; two policy keys, both needed) and the next version number."""

    penstock: Path
    directory: Path
    version: int = 100
    _keys: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    def _bundle(self, *args: object) -> None:
        run([str(self.penstock), "bundle", *map(str, args)])

    def key(self, name: str) -> Path:
        if name not in self._keys:
            self._keys[name] = self.directory / f"{name}.pem"
            self._bundle("keygen", "--out", self._keys[name])
        return self._keys[name]

    def public(self, name: str) -> Path:
        return self.key(name).with_suffix(".pub.pem")

    def root(self) -> Path:
        """The trust anchor: one root key, and two policy keys that must both sign."""
        path = self.directory / "root.json"
        if not path.exists():
            self._bundle("init-root", "--fleet", FLEET, "--root-key", self.public("root"), "--root-threshold", 1,
                         "--policy-key", self.public("policy-a"), "--policy-key", self.public("policy-b"), "--policy-threshold", 2,
                         "--expires", "2099-01-01T00:00:00Z", "--out", path)
            self._bundle("sign", "--key", self.key("root"), path)
        return path

    def next_root(self, name: str, before: Path, *, root: str, policy: tuple[str, ...], signers: tuple[str, ...]) -> Path:
        """The root document after `before`, and all before it, in one file: another root key, other policy keys, all of them needed."""
        out = self.directory / f"{name}.json"
        out.unlink(missing_ok=True)
        self._bundle("rotate-root", "--root", before, "--root-key", self.public(root), "--policy-key", *map(self.public, policy),
                     "--policy-threshold", len(policy), "--expires", "2099-01-01T00:00:00Z", "--out", out)
        for signer in signers:
            self._bundle("sign", "--key", self.key(signer), out)
        return out

    def make(self, name: str, *, version: int | None = None, signers: tuple[str, ...] = ("policy-a", "policy-b"),
             replace: dict[str, str] | None = None, expires: str = "2099-01-01T00:00:00Z", gateways: str = "gw-*") -> Path:
        """Build and sign. Without a version it is the next one; `replace` edits the YAML, and each text must be there."""
        if version is None:
            self.version += 1
            version = self.version
        text = TEMPLATE.read_text(encoding="utf-8")
        text = re.sub(r"^version: .*$", f"version: {version}", text, flags=re.MULTILINE)
        text = re.sub(r"^expires: .*$", f"expires: {expires}", text, flags=re.MULTILINE)
        text = re.sub(r"^gateways: .*$", f'gateways: ["{gateways}"]', text, flags=re.MULTILINE)
        for old, new in (replace or {}).items():
            if old not in text:
                raise ValueError(f"{old!r} is not in {TEMPLATE.name}")
            text = text.replace(old, new)
        source, out = self.directory / f"{name}.yaml", self.directory / f"{name}.json"
        source.write_text(text, encoding="utf-8")
        out.unlink(missing_ok=True)  # the command line never overwrites
        self._bundle("build", source, "--out", out)
        for signer in signers:
            self._bundle("sign", "--key", self.key(signer), out)
        return out

    def without_readings(self) -> Path:
        """Thermostats lose the right to send readings (udp/5683)."""
        return self.make("without-readings", replace={"allow: [telemetry, readings,": "allow: [telemetry,"})

    def tampered(self) -> Path:
        """Properly signed, then one port changed inside the payload."""
        path = self.make("tampered", version=self.version + 50)
        envelope = json.loads(path.read_text(encoding="utf-8"))
        payload = base64.b64decode(envelope["payload"])
        changed = payload.replace(b"8883", b"8884")
        if changed == payload:
            raise ValueError("nothing to tamper with: no port 8883 in the payload")
        envelope["payload"] = base64.b64encode(changed).decode()
        path.write_text(json.dumps(envelope), encoding="utf-8")
        return path

    def older(self) -> Path:
        return self.make("older", version=self.version - 1)

    def expired(self) -> Path:
        return self.make("expired", version=self.version + 50, expires="2020-01-01T00:00:00Z")

    def under_signed(self) -> Path:
        return self.make("under-signed", version=self.version + 50, signers=("policy-a",))

    def foreign_gateway(self) -> Path:
        return self.make("foreign-gateway", version=self.version + 50, gateways="other-*")
