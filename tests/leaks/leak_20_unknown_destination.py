"""A destination is not known yet, counts as "world", and goes in clear (cilium encryption.rst)."""

from __future__ import annotations

from scenario import CAMERA, THERMOSTAT, Scene

STOCK = True
TARGETS = ("8.8.8.8", "192.0.2.99", "203.0.114.10", "198.18.0.1", "2001:db8:204::10", "2001:4860:4860::8888")


def attack(scene: Scene) -> None:
    for device in (THERMOSTAT, CAMERA):
        scene.raw(device, *(scene.datagram(device, target, 5683) for target in TARGETS))
    scene.sleep(0.1)
