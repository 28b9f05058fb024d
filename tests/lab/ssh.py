"""A real SSH server in a device (dropbear), and an operator in the cloud who logs in with a key."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .hub import FAILED
from .system import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, LabError, Namespace, die_with_parent, mount, run, unshare, wait_until

LOGGED_IN = "logged in"
_GREETING = "this is the device"


@dataclass
class Server:
    """dropbear on port 22 of a device. It sees a /root of its own: whose key may log in there is the lab's business alone."""

    directory: Path
    device: Namespace

    @staticmethod
    def start(directory: Path, device: Namespace, seconds: float) -> "Server":
        home = directory / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        home.chmod(0o700)
        for name in ("host", "operator"):
            run(["dropbearkey", "-t", "ed25519", "-f", str(directory / name)])
        shown = run(["dropbearkey", "-y", "-f", str(directory / "operator")]).stdout
        key = next(line for line in shown.splitlines() if line.startswith("ssh-ed25519 "))
        (home / ".ssh" / "authorized_keys").write_text(key + "\n", encoding="utf-8")
        (home / ".ssh" / "authorized_keys").chmod(0o600)

        def setup() -> None:
            die_with_parent(signal.SIGKILL)
            device.enter()
            unshare(CLONE_NEWNS)
            mount("none", "/", None, MS_REC | MS_PRIVATE)
            mount(str(home), "/root", None, MS_BIND)

        with open(directory / "dropbear.log", "wb") as log:
            process = subprocess.Popen(["dropbear", "-F", "-E", "-s", "-p", "22", "-r", str(directory / "host"), "-P", str(directory / "pid")],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=setup)

        def listening() -> bool:
            with device.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                return process.poll() is None and sock.connect_ex(("127.0.0.1", 22)) == 0

        if not wait_until(listening, seconds, 0.02):
            raise LabError(f"dropbear does not listen: {(directory / 'dropbear.log').read_text(errors='replace')[-300:]}")
        return Server(directory, device)

    def login(self, namespace: Namespace, source: str, address: str, seconds: float) -> str:
        """Somebody with the operator's key, from that source address."""
        argv = ["timeout", f"{seconds:.1f}", "dbclient", "-y", "-y", "-b", source, "-i", str(self.directory / "operator"), f"root@{address}",
                "echo", _GREETING]
        try:
            done = run(argv, setup=namespace.enter, check=False, timeout=seconds + 1, env=dict(os.environ, HOME=str(self.directory)))
        except LabError:
            return FAILED
        return LOGGED_IN if done.returncode == 0 and _GREETING in done.stdout else FAILED
