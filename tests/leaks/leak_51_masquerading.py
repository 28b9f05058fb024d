"""Masquerading rewrites the device's address before the egress hook (NAT on the gateway)."""

from __future__ import annotations

from lab import topology as net
from scenario import CAMERA, THERMOSTAT, Scene

NAT = """table inet nat51 {
    chain post { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }
}"""
STOCK = True


def _send(scene: Scene) -> None:
    for device in (THERMOSTAT, CAMERA):
        scene.raw(device, scene.datagram(device, net.TELEMETRY4, 5683), scene.datagram(device, "8.8.8.8", 53), scene.datagram(device, net.CLOUD4, 4500, sport=4500))
    scene.sleep(0.2)


def attack(scene: Scene) -> None:
    with scene.nft(NAT):
        _send(scene)


def provoke(scene: Scene) -> None:
    with scene.nft(NAT):
        _send(scene)
        scene.tunnel("down")
        _send(scene)
    scene.tunnel("up")
