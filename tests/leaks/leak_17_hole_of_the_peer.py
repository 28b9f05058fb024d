"""The hole for the peer's address and port is used by another process, or by a device (Mullvad docs/security.md)."""

from __future__ import annotations

from lab import topology as net
from scenario import INTRUDER, THERMOSTAT, Scene

STOCK = True


def attack(scene: Scene) -> None:
    for port in (500, 4500):
        scene.from_gateway(net.CLOUD4, port)
        scene.from_gateway(net.CLOUD4, port, sport=port)
        for device in (THERMOSTAT, INTRUDER):
            scene.raw(device, scene.datagram(device, net.CLOUD4, port, sport=port),
                      scene.datagram(device, net.CLOUD4, port, sport=port, source=net.UPLINK4))
    scene.sleep(0.1)
