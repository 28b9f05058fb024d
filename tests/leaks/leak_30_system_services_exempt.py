"""The operating system's own connectivity checks and NTP are exempt (Mullvad docs/security.md)."""

from __future__ import annotations

from lab import topology as net
from scenario import CAMERA, THERMOSTAT, Scene

STOCK = True


def attack(scene: Scene) -> None:
    for target, port in (("8.8.8.8", 123), ("2001:4860:4860::8888", 123), (net.CLOUD4, 80), (net.ISP4, 123)):
        scene.from_gateway(target, port, source="", sport=123 if port == 123 else 0)
        for device in (THERMOSTAT, CAMERA):
            scene.raw(device, scene.datagram(device, target, port, sport=port))
    scene.sleep(0.1)
