"""Debian's stock charon-systemd, unmodified, with everything of its own under one directory: the lab's cloud, and the gateway people have today."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from . import topology as net
from .pki import CLOUD_ID, GATEWAY_ID, Authority
from .system import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, LabError, Namespace, die_with_parent, mount, run, unshare, wait_until

IKE_PROPOSALS = "aes256gcm16-prfsha384-ecp384,aes256gcm16-prfsha384-x25519,aes256-sha384-ecp384"
ESP_ESN = "aes256gcm16-ecp384-esn,aes256gcm16-esn"
ESP_PLAIN = "aes256gcm16-ecp384,aes256gcm16"
CRYPTO = "random nonce openssl pem pkcs1 pkcs8 x509 pubkey revocation constraints kdf gcm aes sha2 hmac"


def esp_proposals(kernel_esp: bool) -> str:
    """libipsec refuses an SA with extended sequence numbers ("ESN not supported", seen with 5.9.8): without kernel ESP, no ESN."""
    return f"{ESP_ESN},{ESP_PLAIN}" if kernel_esp else ESP_PLAIN


class StockDaemon:
    """One charon-systemd in one namespace. It sees a /run of its own, so pid file and socket of two daemons never meet."""

    def __init__(self, directory: Path, namespace: Namespace, kernel_esp: bool) -> None:
        self.directory, self.namespace, self.kernel_esp = directory, namespace, kernel_esp
        self.run_dir = directory / "run"
        self.swanctl_dir = directory / "swanctl"
        self.vici = self.run_dir / "lab.vici"
        self.log = directory / "charon.log"
        self.process: subprocess.Popen[bytes] | None = None
        for folder in (self.run_dir, *(self.swanctl_dir / name for name in ("x509", "x509ca", "private"))):
            folder.mkdir(parents=True, exist_ok=True)
        self._environment = dict(os.environ, STRONGSWAN_CONF=str(directory / "strongswan.conf"), SWANCTL_DIR=str(self.swanctl_dir))

    def configure(self, authority: Authority, identity: str, connection: str) -> None:
        authority.issue(identity, self.swanctl_dir / "x509/self.pem", self.swanctl_dir / "private/self.pem")
        (self.swanctl_dir / "x509ca/ca.pem").write_bytes(authority.certificate.read_bytes())
        (self.swanctl_dir / "swanctl.conf").write_text(connection)
        # The first plugin that offers kernel-ipsec wins; without kernel ESP it must be libipsec (a TUN and AES in the process).
        kernel = "kernel-netlink" if self.kernel_esp else "kernel-libipsec kernel-netlink"
        (self.directory / "strongswan.conf").write_text(f"""
charon-systemd {{
    load = {CRYPTO} {kernel} socket-default vici
    plugins {{ vici {{ socket = unix:///run/lab.vici }} }}
    filelog {{ lab {{ path = {self.log}
        time_format = %H:%M:%S
        default = 1
        flush_line = yes }} }}
    journal {{ default = -1 }}
}}
swanctl {{ load = {CRYPTO} }}
""")

    def _setup(self) -> None:
        die_with_parent(signal.SIGKILL)
        self.namespace.enter()
        log = os.open(self.directory / "stderr.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        unshare(CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        # The lab's own directory is below /run: keep it reachable inside the private one.
        lab_root = self.run_dir / "penstock-lab"
        lab_root.mkdir(exist_ok=True)
        mount("/run/penstock-lab", str(lab_root), None, MS_BIND | MS_REC)
        mount(str(self.run_dir), "/run", None, MS_BIND | MS_REC)

    def start(self, seconds: float) -> None:
        self.process = subprocess.Popen(["/usr/sbin/charon-systemd"], env=self._environment, stdin=subprocess.DEVNULL,
                                        preexec_fn=self._setup)

        def ready() -> bool:
            assert self.process
            if self.process.poll() is not None:
                raise LabError(f"charon-systemd ended with {self.process.returncode}; see {self.log}\n{self.tail()}")
            with socket.socket(socket.AF_UNIX) as sock:
                return sock.connect_ex(str(self.vici)) == 0

        if not wait_until(ready, seconds, 0.02):
            raise LabError(f"charon-systemd does not answer; see {self.log}\n{self.tail()}")
        self.swanctl("--load-all")

    def tail(self) -> str:
        text = ""
        for path in (self.directory / "stderr.log", self.log):
            if path.exists():
                text += path.read_text(errors="replace")[-800:]
        return text

    def swanctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(["swanctl", *args, "--uri", f"unix://{self.vici}"], env=self._environment, check=check)

    def spis(self) -> dict[str, set[str]]:
        """SPIs of installed CHILD_SAs by direction, as this daemon sees it."""
        text = self.swanctl("--list-sas", "--raw").stdout
        return {"in": set(re.findall(r"spi-in=([0-9a-f]+)", text)), "out": set(re.findall(r"spi-out=([0-9a-f]+)", text))}

    def kill(self) -> None:
        """As a machine that loses its power: the other side hears nothing. It may be started again."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.namespace.ip("xfrm state flush\nxfrm policy flush")
        self.vici.unlink(missing_ok=True)
        (self.run_dir / "charon.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def cloud(directory: Path, namespace: Namespace, authority: Authority, kernel_esp: bool) -> StockDaemon:
    daemon = StockDaemon(directory, namespace, kernel_esp)
    daemon.configure(authority, CLOUD_ID, f"""
connections {{
    gateways {{
        version = 2
        local_addrs = {net.CLOUD4},{net.CLOUD6}
        proposals = {IKE_PROPOSALS}
        unique = replace
        dpd_delay = 30s
        local {{ auth = pubkey
                certs = self.pem
                id = {CLOUD_ID} }}
        remote {{ auth = pubkey
                 cacerts = ca.pem
                 id = {GATEWAY_ID} }}
        children {{ devices {{
            local_ts = {net.SERVICES4},{net.SERVICES6}
            remote_ts = {net.LAN4},{net.LAN6}
            esp_proposals = {esp_proposals(kernel_esp)}
            dpd_action = clear
        }} }}
    }}
}}
""")
    return daemon


def stock_gateway(directory: Path, namespace: Namespace, authority: Authority, kernel_esp: bool) -> StockDaemon:
    """What people have today, in the gateway's place: it proves the lab itself, and is the column to compare with."""
    daemon = StockDaemon(directory, namespace, kernel_esp)
    daemon.configure(authority, GATEWAY_ID, f"""
connections {{
    cloud {{
        version = 2
        local_addrs = {net.UPLINK4}
        remote_addrs = {net.CLOUD4}
        proposals = {IKE_PROPOSALS}
        local {{ auth = pubkey
                certs = self.pem
                id = {GATEWAY_ID} }}
        remote {{ auth = pubkey
                 id = {CLOUD_ID} }}
        children {{ devices {{
            local_ts = {net.LAN4},{net.LAN6}
            remote_ts = {net.SERVICES4},{net.SERVICES6}
            esp_proposals = {esp_proposals(kernel_esp)}
        }} }}
    }}
}}
""")
    return daemon
