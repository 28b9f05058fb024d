"""A device forges ESP, or UDP 4500, to the tunnel's own peer with a live SPI (the tc hook sees proto 50)."""

from __future__ import annotations

from lab import topology as net
from lab.frames import ESP, ipv4, ipv6
from scenario import INTRUDER, THERMOSTAT, Penstock, Scene

STOCK = True


def _forge(scene: Scene, spi: bytes) -> None:
    body = spi + b"\0\0\xff\0" + scene.lab.marker * 4
    for device in (THERMOSTAT, INTRUDER):
        for source in (device.v4, net.UPLINK4):
            scene.raw(device, scene.ip_frame(device, ipv4(source, net.CLOUD4, ESP, body)),
                      scene.datagram(device, net.CLOUD4, 4500, sport=4500, source=source), scene.datagram(device, net.CLOUD4, 500, sport=500, source=source))
        scene.raw(device, scene.ip_frame(device, ipv6(device.v6, net.CLOUD6, ESP, body)))
    scene.sleep(0.1)


def attack(scene: Scene) -> None:
    _forge(scene, b"\xc0\0\0\1")


def provoke(scene: Scene) -> None:
    spis = scene.agent.spis() if isinstance(scene, Penstock) else scene.lab.cloud.spis()["in"]
    for spi in spis:
        _forge(scene, bytes.fromhex(spi.zfill(8)))
