"""A packet decrypted from the tunnel is routed back out of the uplink in clear (kernel 6.1)."""

from __future__ import annotations

from lab import topology as net
from scenario import NoGate, Scene

LOST = "10.20.0.99"
STOCK = True


def attack(scene: Scene) -> None:
    """Routes that send a part of the LAN to the uplink, and one that sends everything there."""
    routes = (f"{LOST}/32 via {net.ISP4}", f"10.20.0.64/26 via {net.ISP4}")
    scene.gateway.ip("\n".join(f"route add {route} dev wan0" for route in routes), check=False)
    try:
        scene.cloud_sends(LOST, ttl=6)  # the provider sends it back: a loop that must end
        scene.cloud_sends("10.20.0.66", ttl=6)
        scene.sleep(0.2)
    finally:
        scene.gateway.ip("\n".join(f"route del {route} dev wan0" for route in routes), check=False)


def control(scene: NoGate) -> None:
    """In clear the provider sends what is for the LAN to the gateway; a router sends it back."""
    attack(scene)
