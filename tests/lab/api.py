"""penstock-api beside the agent: its certificates and those of its clients, its process as its unit starts it, and curl as a client that
is not ours."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import topology as net
from .agent import Agent
from .pki import GATEWAY_ID, Authority
from .system import LabError, Namespace, mount, run, wait_until

PORT = 8443
PUBLISHER, OPERATOR, VIEWER, NOBODY, REVOKED = (f"{name}.penstock.test" for name in ("ci", "operator", "monitor", "nobody", "lost"))


def hierarchy(directory: Path) -> Path:
    """Where cgroup v2 is mounted; by the lab, if the machine has not."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    own = directory / "cgroup"
    own.mkdir(exist_ok=True)
    mount("cgroup2", str(own), "cgroup2")
    return own


def user() -> pwd.struct_passwd:
    """The package's user where it is installed; else one that every Debian has."""
    try:
        return pwd.getpwnam("penstock-api")
    except KeyError:
        return pwd.getpwnam("nobody")


@dataclass(frozen=True)
class Reply:
    """What a client got: the status code (0: no HTTP at all), the body, and what the client said."""

    code: int
    body: str
    said: str

    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """One gateway's listener. Clients come from the provider's namespace."""

    def __init__(self, agent: Agent, directory: Path, authority: Authority, clients: Namespace) -> None:
        self.agent, self.directory, self.authority, self.clients = agent, directory, authority, clients
        self.cgroup = hierarchy(directory) / f"penstock-lab-{directory.parent.name}-api"
        self.log = directory / "penstock-api.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._place = 0  # in the log, where this life begins
        directory.mkdir(parents=True, exist_ok=True)
        for name in (PUBLISHER, OPERATOR, VIEWER, NOBODY, REVOKED):
            authority.issue(name, self.certificate(name), self.key(name))
        self.renew()
        self.revoke()

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def renew(self) -> None:
        """A new certificate and key of the listener, put in the place of the old ones."""
        pem, key = self.directory / "new.pem", self.directory / "new.key"
        self.authority.issue(GATEWAY_ID, pem, key, net.UPLINK4, net.UPLINK6)
        os.chown(key, 0, user().pw_gid)
        key.chmod(0o640)
        key.rename(self.agent.etc / "api.key")
        pem.rename(self.agent.etc / "api.pem")

    def revoke(self, *names: str, days: int = 30) -> None:
        new = self.directory / "new.crl"
        self.authority.revoke(new, *map(self.certificate, names), days=days)
        new.rename(self.agent.etc / "clients.crl")

    def configuration(self, listen: str = f"{net.UPLINK4}:{PORT}") -> str:
        fingerprint = run(["openssl", "x509", "-in", str(self.certificate(OPERATOR)), "-noout", "-fingerprint", "-sha256"]).stdout.strip().partition("=")[2]
        return f"""
[api]
listen = "{listen}"
certificate = "api.pem"
private_key = "api.key"
ca = ["ca.pem"]
crl = ["clients.crl"]
user = "{user().pw_name}"
viewers = ["dns:{VIEWER}"]
operators = ["sha256:{fingerprint}"]
publishers = ["dns:{PUBLISHER}", "dns:{REVOKED}"]
[[essential]]
name = "api"
service = "api"
cgroups = ["/{self.cgroup.name}"]
networks = ["198.51.100.0/24", "192.0.2.0/24", "2001:db8:51::/64"]
"""

    # Its process

    def start(self) -> None:
        """As penstock-api.service does: own user, no capability, a cgroup of its own; and as much memory and as many descriptors."""
        self.cgroup.mkdir(exist_ok=True)
        who = user()

        def enter() -> None:
            self.agent.namespace.enter()
            (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))

        argv = ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
                "prlimit", "--nofile=1024", str(self.agent.binaries / "penstock-api"), "--config", str(self.agent.etc / "penstock.toml")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=enter)
        if not wait_until(lambda: self.listens() or self.ended(), 10 * self.agent.slowness) or self.ended():
            raise LabError(f"penstock-api does not listen: {self.last_words()}")

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def listens(self) -> bool:
        return self.log.exists() and "event=listening" in self.log.read_text(errors="replace")[self._place:]

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signum)
            self.process.wait(10)
        self._place = self.log.stat().st_size if self.log.exists() else 0
        wait_until(self._leave, 2)

    def _leave(self) -> bool:
        try:
            self.cgroup.rmdir()
        except OSError:
            return not self.cgroup.exists()
        return True

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def last_words(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-4:]) if self.log.exists() else "it said nothing"

    # Its clients

    def curl(self, path: str, name: str | None, *options: str, timeout: float = 20) -> Reply:
        """One request by curl; name None: without a certificate."""
        own = ["--cert", str(self.certificate(name)), "--key", str(self.key(name))] if name else []
        done = run(["curl", "-sS", "--max-time", str(timeout), "--cacert", str(self.authority.certificate), *own, "-w", "\n%{http_code}", *options,
                    f"https://{net.UPLINK4}:{PORT}{path}"], setup=self.clients.enter, check=False, timeout=timeout + 10)
        body, _, code = done.stdout.rpartition("\n")
        return Reply(int(code or 0), body, done.stderr.strip())

    def push(self, bundle: Path, name: str, *options: str, ca: Path | None = None, to: str = f"{net.UPLINK4}:{PORT}",
             timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`penstock push --to`, as a person elsewhere types it."""
        return run([str(self.agent.binaries / "penstock"), "push", str(bundle), "--to", to, "--cert", str(self.certificate(name)), "--key", str(self.key(name)),
                    "--ca", str(ca or self.authority.certificate), *options], setup=self.clients.enter, check=False, timeout=timeout)

    def connect(self) -> socket.socket:
        """A connection and nothing more."""
        sock = self.clients.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(5)
        sock.connect((net.UPLINK4, PORT))
        return sock
