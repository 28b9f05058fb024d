"""Frames of a VM, a container or a bridge port bypass the host's filter (Mullvad known-issues)."""

from __future__ import annotations

from lab import probe
from lab import topology as net
from lab.frames import udp_frame
from scenario import INTRUDER, Scene

STOCK = True
MAC = "02:00:00:00:d0:01"


def attack(scene: Scene) -> None:
    """What container engines do: a bridge with a network of its own, forwarding on everywhere, a default route through the uplink."""
    gateway, inside = scene.gateway, scene.of(INTRUDER)
    gateway.ip(f"link add docker0 type bridge\nlink set docker0 address {MAC}\nlink add veth0 type veth peer name ct0 netns {inside.name}\n"
               "link set veth0 master docker0 up\nlink set docker0 up\naddr add 172.17.0.1/16 dev docker0")
    inside.ip("link set ct0 up")
    try:
        with scene.sysctl({"ipv4/ip_forward": 1, "ipv4/conf/docker0/forwarding": 1, "ipv4/conf/wan0/forwarding": 1}):
            for target in (net.TELEMETRY4, "8.8.8.8", net.CLOUD4):
                for source in ("172.17.0.2", "10.20.0.12"):
                    frame = udp_frame(MAC, "02:00:00:00:d0:02", source, target, 40000, 5683, scene.lab.marker)
                    probe.send_raw(inside, frame, "ct0", 5)
            scene.sleep(0.3)
    finally:
        gateway.ip("link del veth0\nlink del docker0", check=False)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
