"""A plugin installs pass policies of its own (bypass-lan, which Debian's libcharon package ships): the uplink's network in clear."""

from __future__ import annotations

from lab import topology as net
from scenario import THERMOSTAT, Scene

STOCK = True


def attack(scene: Scene) -> None:
    scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.ISP4, 4000), scene.datagram(THERMOSTAT, net.ISP6, 4000),
              scene.datagram(THERMOSTAT, "198.51.100.99", 4000), scene.datagram(THERMOSTAT, net.CLOUD4, 4000))


def provoke(scene: Scene) -> None:
    scene.tunnel("down")
    scene.tunnel("up")
    attack(scene)
    scene.sleep(0.2)
