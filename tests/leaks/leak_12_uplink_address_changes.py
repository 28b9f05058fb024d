"""The uplink loses its address, has another, and gets the first one back (strongSwan NEWS 5.6.2)."""

from __future__ import annotations

from dataclasses import replace

from lab import topology as net
from scenario import Scene

OTHER = "198.51.100.77"
STOCK = True


def provoke(scene: Scene) -> None:
    scene.expect = replace(scene.expect, uplink=scene.expect.uplink | {OTHER})
    gateway = scene.gateway
    gateway.ip(f"addr del {net.UPLINK4}/24 dev wan0")
    scene.sleep(0.3)
    gateway.ip(f"addr add {OTHER}/24 dev wan0\nroute add default via {net.ISP4}", check=False)
    scene.sleep(0.7)
    gateway.ip(f"addr del {OTHER}/24 dev wan0")
    gateway.ip(f"addr add {net.UPLINK4}/24 dev wan0\nroute add default via {net.ISP4}", check=False)
    scene.sleep(0.3)
    scene.tunnel("down")
    scene.tunnel("up")
