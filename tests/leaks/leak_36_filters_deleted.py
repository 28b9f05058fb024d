"""Two agents with the same tc priority and handle delete each other's filters (datadog-agent#13692)."""

from __future__ import annotations

from lab import topology as net
from scenario import Penstock


def provoke(scene: Penstock) -> None:
    tc = ("tc", "-n", scene.gateway.name)
    scene.tunnel("down")
    for direction in ("ingress", "egress"):
        scene.in_gateway(*tc, "filter", "del", "dev", "wan0", direction)
    scene.sleep(0.3)
    scene.in_gateway(*tc, "filter", "del", "dev", "lan0", "ingress")
    scene.sleep(0.3)
    scene.recover()
    for target in (net.TELEMETRY4, net.ISP4, net.CLOUD4):
        scene.from_gateway(target, 4500)
    scene.sleep(0.1)
