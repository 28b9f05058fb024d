"""The gateway answers for a device: an ICMP error that quotes decrypted payload leaves in clear.

The kernel sends it from the gateway's own address, so that no rule about devices meets it."""

from __future__ import annotations

from lab import topology as net
from scenario import THERMOSTAT, Scene

STOCK = True


def attack(scene: Scene) -> None:
    """Out of the tunnel come datagrams that cannot be delivered: time exceeded at once, host unreachable after three tries."""
    with scene.sysctl({"ipv4/icmp_ratelimit": 0}):  # else the kernel's own patience would make the row pass
        scene.cloud_sends(THERMOSTAT.v4, ttl=2)  # on a plain router the provider takes one off before the gateway does
        scene.cloud_sends(THERMOSTAT.v4, ttl=1)
        scene.cloud_sends(net.GATEWAY_LAN4)
        scene.cloud_sends("10.20.0.98")
        scene.sleep(0.2)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")  # the error for the host that does not answer comes when there is no tunnel any more
    scene.sleep(1.2)
    scene.tunnel("up")
    attack(scene)
    scene.sleep(3.3 / min(3.0, scene.lab.slowness))
