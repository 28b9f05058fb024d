"""What the gateway itself may say while the gate is closed: services by owner, and nobody in their place."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from expect import must
from lab.lab import Lab
from lab.stage import Stage
from lab.system import Channel, Child, mount, wait_until
from lab.topology import CLOUD4, ISP4, ISP6, UPLINK4, UPLINK6

_SSH, _CLOCK = 2222, 1123  # ports of the lab's own services
_BANNER = b"welcome"
_CONFIGURATION = """
[[essential]]
name = "management"
proto = "tcp"
local_port = {ssh}
cgroups = ["{base}/service"]
networks = ["198.51.100.0/24", "2001:db8:51::/64"]
[[essential]]
name = "clock"
proto = "udp"
remote_port = {clock}
cgroups = ["{base}/service"]
networks = ["198.51.100.0/24", "2001:db8:51::/64"]
"""


def _hierarchy(lab: Lab) -> Path:
    """Where cgroup v2 is mounted; by the lab, if the machine has not."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    own = lab.directory / "cgroup"
    own.mkdir()
    mount("cgroup2", str(own), "cgroup2")
    return own


class _Process:
    """A process of the gateway whose sockets are made in a cgroup."""

    def __init__(self, lab: Lab, cgroup: Path) -> None:
        self._patience = 0.5 * lab.slowness
        self.child = Child.start(cgroup.name, lambda channel: self._live(cgroup, channel), lab.topology.gateway)
        self.child.channel.receive(5)

    def _live(self, cgroup: Path, channel: Channel) -> None:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        channel.send("ready")
        while True:
            address, port, listen = channel.receive(None)
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM if listen else socket.SOCK_DGRAM) as sock:
                if not listen:
                    try:
                        sock.sendto(_BANNER, (address, port))
                    except OSError:
                        pass
                    channel.send("sent")
                    continue
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
                sock.listen()
                sock.settimeout(2 * self._patience)
                channel.send("listening")
                try:
                    peer, _ = sock.accept()
                    peer.sendall(_BANNER)
                    peer.close()
                except OSError:
                    pass
                channel.send("done")

    def answers(self, lab: Lab, address: str, port: int, asker: str = "isp") -> bool:
        """Whether somebody out there gets the banner from it."""
        self.child.ask((address, port, True))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with lab.topology.all[asker].socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(self._patience)
                sock.connect((address, port))
                return sock.recv(64) == _BANNER
        except OSError:
            return False
        finally:
            self.child.channel.receive(10 + 4 * self._patience)

    def reaches(self, lab: Lab, address: str, port: int) -> bool:
        """Whether what it sends arrives at the provider."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with lab.topology.isp.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, port))
            sock.settimeout(self._patience)
            for _ in range(2):  # the first may be lost to address resolution
                self.child.ask((address, port, False))
                try:
                    return sock.recv(64) == _BANNER
                except TimeoutError:
                    continue
        return False


def essentials_work_for_their_owner_only(stage: Stage) -> None:
    """With the gate closed: management answers and the clock asks from their cgroup; another process at the same port is not heard."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    root = _hierarchy(lab)
    base = root / f"penstock-lab-{lab.id}"
    configuration = agent.etc / "penstock.toml"
    before = configuration.read_text()
    for folder in (base, base / "service", base / "other"):
        folder.mkdir()
    processes = []
    try:
        configuration.write_text(before + _CONFIGURATION.format(ssh=_SSH, clock=_CLOCK, base=f"/{base.name}"))
        agent.stop()
        agent.start()
        owner, other = _Process(lab, base / "service"), _Process(lab, base / "other")
        processes += [owner, other]
        must(agent.json("status")["gate"]["state"] == "closed", "the gate is not closed")
        must(owner.answers(lab, UPLINK4, _SSH) and owner.answers(lab, UPLINK6, _SSH), "management does not answer")
        must(owner.reaches(lab, ISP4, _CLOCK) and owner.reaches(lab, ISP6, _CLOCK), "the clock is not asked")
        place = lab.watch()
        must(not other.answers(lab, UPLINK4, _SSH) and not other.answers(lab, UPLINK6, _SSH), "another process answers in place of management")
        must(not other.reaches(lab, ISP4, _CLOCK) and not other.reaches(lab, ISP6, _CLOCK), "another process uses the clock's port")
        must(not owner.answers(lab, UPLINK4, _SSH + 1), "the owner answers at another port")
        must(not owner.reaches(lab, ISP4, _CLOCK + 1), "the owner asks at another port")
        must(not owner.answers(lab, UPLINK4, _SSH, "cloud"), f"management answers {CLOUD4}, which is in no network of the list")
        verdict = lab.since(place)
        must(not verdict.clear, f"of the others: {verdict}")
        # systemd makes a service's cgroup anew when the service starts again.
        owner.child.stop()
        must(wait_until(lambda: _remove(base / "service"), 2), "the old cgroup stays")
        (base / "service").mkdir()
        owner = _Process(lab, base / "service")
        processes.append(owner)
        time.sleep(1.2)
        must(owner.reaches(lab, ISP4, _CLOCK), "a service that was started again is not known")
    finally:
        for process in processes:
            process.child.stop()
        configuration.write_text(before)
        agent.stop()
        for folder in (base / "service", base / "other", base):
            wait_until(lambda: _remove(folder), 2)
        agent.start()
    stage.restart_tunnel()


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True
