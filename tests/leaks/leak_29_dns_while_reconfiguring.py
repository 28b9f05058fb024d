"""DNS while the network is being reconfigured (Mullvad known-issues): the gateway's own processes ask about a device."""

from __future__ import annotations

from lab import topology as net
from scenario import Scene, THERMOSTAT

SEEN = "readable"
STOCK = True


def _ask(scene: Scene) -> None:
    for server in (net.ISP4, "8.8.8.8"):
        scene.from_gateway(server, 53, data=THERMOSTAT.name.encode() + b".example")


def attack(scene: Scene) -> None:
    _ask(scene)


def provoke(scene: Scene) -> None:
    gateway = scene.gateway
    _ask(scene)
    gateway.ip(f"addr del {net.UPLINK4}/24 dev wan0")
    _ask(scene)
    gateway.ip(f"addr add {net.UPLINK4}/24 dev wan0\nroute add default via {net.ISP4}", check=False)
    _ask(scene)
    gateway.ip("link set wan0 down")
    gateway.ip(f"link set wan0 up\nroute add default via {net.ISP4}\naddr add {net.UPLINK6}/64 dev wan0 nodad\nroute add default via {net.ISP6}", check=False)
    _ask(scene)
    scene.tunnel("down")
    scene.tunnel("up")
