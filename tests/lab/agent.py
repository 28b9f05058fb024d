"""The agent under test: the built penstockd in the gateway's namespace with directories of its own, and its `penstock` command line."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import topology as net
from .pki import CLOUD_ID, GATEWAY_ID, Authority
from .supervisor import Life, Supervisor
from .system import LabError, Namespace, mount, run, umount, wait_until

PROGRAMS = ("penstockd", "penstock-ike", "penstock")
GATEWAY_NAME = "gw-1"


def ike_user() -> str:
    """The package's user where it is installed; else one that every Debian has: the lab adds no users to the machine."""
    try:
        return pwd.getpwnam("penstock-ike").pw_name
    except KeyError:
        return "nobody"


def require_built(build: Path) -> None:
    missing = [name for name in PROGRAMS if not os.access(build / "bin" / name, os.X_OK)]
    if missing:
        raise LabError(f"not built: {', '.join(missing)} in {build}/bin")


def as_unit(name: str) -> list[str]:
    """How to start a program with the capabilities that its unit lets it have, and no others."""
    unit = (Path(__file__).resolve().parents[2] / f"packaging/systemd/{name}.service").read_text(encoding="utf-8")
    allowed = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")).partition("=")[2].split()
    return ["setpriv", "--bounding-set", ",".join(["-all", *("+" + name.removeprefix("CAP_").lower() for name in allowed)])]


@dataclass(frozen=True)
class Push:
    """What the agent said to a bundle."""

    accepted: bool
    reason: str


class Agent:
    """One gateway's agent. Nothing of it is outside `directory` but the kernel state in its namespace."""

    def __init__(self, build: Path, directory: Path, namespace: Namespace, kernel_esp: bool, slowness: float) -> None:
        self.binaries = build / "bin"
        self.directory, self.namespace, self.kernel_esp, self.slowness = directory, namespace, kernel_esp, slowness
        self.etc, self.run_dir, self.state, self.bpffs = (directory / name for name in ("etc", "run", "state", "bpf"))
        self.log = directory / "penstockd.log"
        self.supervisor: Supervisor | None = None
        require_built(build)
        for folder in (self.etc, self.run_dir, self.state, self.bpffs):
            folder.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)
        mount("bpf", str(self.bpffs), "bpf")

    def configure(self, authority: Authority, root: Path, **changes: object) -> None:
        """Writes penstock.toml. `changes` replace single values, e.g. esp="user"; what is not written is the agent's default."""
        authority.issue(GATEWAY_ID, self.etc / "gateway.pem", self.etc / "gateway.key")
        user = ike_user()
        os.chown(self.etc / "gateway.key", 0, pwd.getpwnam(user).pw_gid)
        (self.etc / "gateway.key").chmod(0o640)
        shutil.copy(authority.certificate, self.etc / "ca.pem")
        shutil.copy(root, self.etc / "root.json")
        values = {"host_egress": "closed", "esp": "auto", "peer": net.CLOUD4, "on_expiry": "keep", "dpd": 30, "identities": "full", **changes}
        (self.etc / "penstock.toml").write_text(f"""
[gateway]
name = "{GATEWAY_NAME}"
[lan]
interfaces = ["lan0"]
[uplink]
interfaces = ["wan0"]
host_egress = "{values['host_egress']}"
[ike]
certificate = "gateway.pem"
private_key = "gateway.key"
ca = ["ca.pem"]
user = "{user}"
esp = "{values['esp']}"
[[tunnel]]
name = "cloud"
peer = "{values['peer']}"
local_id = "{GATEWAY_ID}"
remote_id = "{CLOUD_ID}"
local_networks = ["{net.LAN4}", "{net.LAN6}"]
remote_networks = ["{net.SERVICES4}", "{net.SERVICES6}"]
dpd = {values['dpd']}
[policy]
root = "root.json"
on_expiry = "{values['on_expiry']}"
[privacy]
identities = "{values['identities']}"
[paths]
state = "{self.state}"
run = "{self.run_dir}"
bpffs = "{self.bpffs}/penstock"
libexec = "{self.binaries}"
""")

    # Life and death

    def launch(self) -> Life:
        """Start under the supervisor, without waiting."""
        if self.supervisor is None:
            argv = [*as_unit("penstockd"), str(self.binaries / "penstockd"), "--config", str(self.etc / "penstock.toml")]
            self.supervisor = Supervisor.start(self.namespace, argv, self.log, self.directory / "notify.sock")
        lives = self.supervisor.run()
        if not lives or lives[-1].ended:
            wait_until(lambda: self._lives() and not self._lives()[-1].ended, 2)
        return self._lives()[-1]

    def start(self) -> Life:
        self.launch()
        return self.wait_ready()

    def wait_ready(self) -> Life:
        """Wait until the daemon said READY; its third death before that ends the patience."""
        deaths = len([life for life in self._lives() if life.ended])

        def ready() -> bool:
            lives = self._lives()
            if len([life for life in lives if life.ended]) >= deaths + 3:
                raise LabError(f"penstockd keeps dying (status {lives[-1].status or lives[-2].status}): {self.last_words()}")
            return bool(lives and lives[-1].ready and not lives[-1].ended)

        if not wait_until(ready, max(60, 10 * self.slowness), 0.02):  # a machine may be busier than when it was measured
            raise LabError(f"penstockd is not ready: {self.last_words()}")
        return self._lives()[-1]

    def _lives(self) -> list[Life]:
        assert self.supervisor
        return self.supervisor.lives()

    @property
    def pid(self) -> int:
        return self._lives()[-1].pid

    def ike_pid(self) -> int | None:
        """The process called penstock-ike in the gateway's namespace (the oldest, should it have children)."""
        found = []
        for pid in self.namespace.pids():
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == "penstock-ike" and "(zombie)" not in Path(f"/proc/{pid}/status").read_text():
                    found.append(pid)
            except OSError:
                continue
        return min(found, default=None)

    def kill(self, pid: int) -> float:
        """kill -9, and the moment it happened (CLOCK_MONOTONIC)."""
        moment = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return moment

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """penstockd stands still (SIGSTOP): whatever is changed meanwhile is not put back."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def lose_bpffs(self) -> None:
        """The file system of the pins goes, and the pins: a process with mounts of its own, an sshd's, would keep them and their programs."""
        shutil.rmtree(self.bpffs / "penstock")
        umount(str(self.bpffs))

    def arm(self) -> tuple[int, str]:
        """`penstockd guard arm`, with what its unit lets it have at boot: exit status, and what it said."""
        done = run([*as_unit("penstock-guard"), str(self.binaries / "penstockd"), "guard", "arm", "--config", str(self.etc / "penstock.toml")],
                   setup=self.namespace.enter, check=False)
        return done.returncode, done.stderr.strip()

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.supervisor and self.supervisor.child.alive():
            self.supervisor.end(signum)

    def log_tail(self, lines: int) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []

    def last_words(self) -> str:
        return " | ".join(self.log_tail(4)) or "it said nothing"

    # The command line

    def cli(self, *args: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ, PENSTOCK_SOCKET=str(self.run_dir / "control.sock"))
        return run([str(self.binaries / "penstock"), *args], env=environment, setup=self.namespace.enter, check=check, timeout=timeout)

    def json(self, *args: str) -> Any:
        return json.loads(self.cli(*args, "--json").stdout)

    def tunnel(self) -> dict[str, Any]:
        """The tunnel as the agent reports it; {} while nobody answers (it may be restarting)."""
        done = self.cli("tunnel", "list", "--json", check=False)
        if done.returncode != 0:
            return {}
        tunnels = json.loads(done.stdout).get("tunnels", [])
        return next((t for t in tunnels if t["name"] == "cloud"), {})

    def wait_tunnel(self, state: str, seconds: float = 8) -> bool:
        return bool(wait_until(lambda: self.tunnel().get("state") == state, seconds * self.slowness, 0.02))

    def push(self, bundle: Path) -> Push:
        done = self.cli("push", str(bundle), check=False)
        words = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
        return Push(done.returncode == 0, re.sub(r"^(penstock|error)(: \w+)?: ", "", words[-1]) if words else "")

    def spis(self) -> set[str]:
        """Every SPI the agent ever said it installed for sending, from its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        found = set()
        for line in text.splitlines():
            if "event=sa_installed" in line and "direction=out" in line and (match := re.search(r"\bspi=(?:0x)?([0-9a-fA-F]{1,8})\b", line)):
                found.add(match[1].lower().zfill(8))
        return found

    def resident_kib(self, pid: int) -> int:
        match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return int(match[1]) if match else 0
