"""Overlapping networks, or the gateway's own address, are exempt (cilium encryption.rst)."""

from __future__ import annotations

from lab import topology as net
from scenario import INTRUDER, THERMOSTAT, Scene

STOCK = True


def attack(scene: Scene) -> None:
    for device in (THERMOSTAT, INTRUDER):
        scene.raw(device, scene.datagram(device, net.TELEMETRY4, 4000, source=net.UPLINK4), scene.datagram(device, net.TELEMETRY4, 4000, source=net.GATEWAY_LAN4),
                  scene.datagram(device, net.TELEMETRY6, 4000, source=net.UPLINK6), scene.datagram(device, net.TELEMETRY4, 4000, source="203.0.113.77"),
                  scene.datagram(device, net.UPLINK4, 4000), scene.datagram(device, net.UPLINK6, 4000), scene.datagram(device, "198.51.100.255", 4000))
    scene.sleep(0.1)
