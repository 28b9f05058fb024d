"""A new uplink appears, its own forwarding switch is 0 but the LAN's is 1, so traffic is forwarded.

The kernel asks the switch of the interface that a packet came in on, never of the one it leaves by."""

from __future__ import annotations

from lab import topology as net
from scenario import CAMERA, THERMOSTAT, Scene

SEEN = "second uplink: .*marker readable"
STOCK = True


def attack(scene: Scene) -> None:
    with scene.second_uplink():
        scene.gateway.ip(f"""route add default via 198.51.101.1 dev wan1 metric 0
            route add {net.SERVICES4} via 198.51.101.1 dev wan1
            route add {net.SERVICES6} via 2001:db8:52::1 dev wan1""", check=False)
        for device in (THERMOSTAT, CAMERA):
            scene.raw(device, scene.datagram(device, net.TELEMETRY4, 5683), scene.datagram(device, net.TELEMETRY6, 5683),
                      scene.datagram(device, "8.8.8.8", 5683))
        scene.from_gateway(net.TELEMETRY4, 5683)
        scene.sleep(0.3)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
