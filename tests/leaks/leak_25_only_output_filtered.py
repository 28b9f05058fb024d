"""Only what the gateway itself sends is filtered, what it forwards passes (ivpn/desktop-app#217): tunnel down, every way forwarded."""

from __future__ import annotations

from lab import topology as net
from scenario import THERMOSTAT, Scene

STOCK = True


def provoke(scene: Scene) -> None:
    scene.tunnel("down")
    with scene.sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}):
        scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683), scene.datagram(THERMOSTAT, net.TELEMETRY6, 5683))
        scene.sleep(0.4)
    scene.tunnel("up")
