"""Stray SYN-ACK, ACK, FIN and RST of connections that are no more (cilium#37120, #37718; Android passes RST)."""

from __future__ import annotations

from lab import topology as net
from lab.frames import TCP, ipv4, ipv6, tcp
from scenario import CAMERA, THERMOSTAT, Scene

STOCK = True
FLAGS = (0x12, 0x10, 0x11, 0x04, 0x14, 0x19, 0x00, 0x3F)


def attack(scene: Scene) -> None:
    for device in (THERMOSTAT, CAMERA):
        for flags in FLAGS:
            for port in (443, 8883):
                for target in (net.TELEMETRY4, "8.8.8.8"):
                    scene.raw(device, scene.ip_frame(device, ipv4(device.v4, target, TCP, tcp(device.v4, target, 50123, port, scene.lab.marker, flags))))
                scene.raw(device, scene.ip_frame(device, ipv6(device.v6, net.TELEMETRY6, TCP,
                                                              tcp(device.v6, net.TELEMETRY6, 50123, port, scene.lab.marker, flags))))


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
