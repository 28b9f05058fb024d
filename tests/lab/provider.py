"""What a provider runs beside its router: DHCP and DNS for the uplink (dnsmasq), and the gateway's own DHCP client (busybox udhcpc)."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

from . import topology as net
from .system import LabError, Namespace, die_with_parent, wait_until


def _spawn(argv: list[str], namespace: Namespace, log: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    def setup() -> None:
        die_with_parent(signal.SIGKILL)
        namespace.enter()

    with open(log, "wb") as out:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=setup, env=environment)


class Service:
    """A program in a namespace, and the log in which it says what it did."""

    def __init__(self, name: str, argv: list[str], namespace: Namespace, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, directory / f"{name}.log"
        self._process = _spawn(argv, namespace, self.log)

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.log.read_text(errors="replace"), re.MULTILINE))

    def wait_for(self, pattern: str, more_than: int, seconds: float) -> bool:
        return bool(wait_until(lambda: self.count(pattern) > more_than, seconds, 0.02))

    def signal(self, signum: int) -> None:
        self._process.send_signal(signum)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _dnsmasq(name: str, namespace: Namespace, directory: Path, *options: str) -> Service:
    service = Service(name, ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root", "--group=root",
                             "--pid-file", "--log-facility=-", "--log-queries", *options], namespace, directory)
    if not service.wait_for(r"started, version", 0, 10):
        raise LabError(f"dnsmasq did not start: {service.log.read_text(errors='replace')[-300:]}")
    return service


def provider(namespace: Namespace, directory: Path, lease: str = net.UPLINK4, *options: str) -> Service:
    """DHCP that leases that address, and DNS that knows every name under example."""
    return _dnsmasq("provider", namespace, directory, "--interface=up0", "--bind-interfaces", "--dhcp-authoritative", "--log-dhcp",
                    f"--dhcp-leasefile={directory}/leases", f"--dhcp-range={lease},{lease},255.255.255.0,2m", f"--dhcp-host={net.UPLINK_MAC},{lease}",
                    "--no-ping", f"--address=/example/{net.CLOUD4}", *options)


def resolver(namespace: Namespace, directory: Path) -> Service:
    """The gateway's own resolver, as people run it for their LAN: it asks the provider's."""
    return _dnsmasq("resolver", namespace, directory, "--interface=lan0", "--bind-interfaces", f"--server={net.ISP4}", "--cache-size=0")


def dhcp_client(namespace: Namespace, directory: Path, script: str = "/bin/true") -> Service:
    """On the gateway's uplink; SIGUSR1 makes it renew. The script is told what the server said; /bin/true ignores it."""
    return Service("udhcpc", ["busybox", "udhcpc", "-f", "-i", "wan0", "-t", "5", "-T", "1", "-A", "1", "-s", script], namespace, directory)
