"""A proxy or resolver on the gateway sends on a device's behalf (GHSA-v6q2-4qr3-5cw6)."""

from __future__ import annotations

from lab import topology as net
from scenario import Scene

STOCK = True


def attack(scene: Scene) -> None:
    for target in (net.TELEMETRY4, net.TELEMETRY6, net.CLOUD4, "8.8.8.8"):
        for port in (443, 53, 5683):
            scene.from_gateway(target, port)
    scene.from_gateway(net.TELEMETRY4, 5683, source=net.GATEWAY_LAN4)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
