"""IPv6 is not covered (cilium#35308)."""

from __future__ import annotations

from lab import topology as net
from lab.frames import ICMPV6, ipv6
from scenario import CAMERA, INTRUDER, THERMOSTAT, Scene

SEEN = "2001:db8:203::10 .*marker readable"
STOCK = True


def attack(scene: Scene) -> None:
    for device in (THERMOSTAT, CAMERA, INTRUDER):
        scene.raw(device, scene.datagram(device, net.TELEMETRY6, 22), scene.datagram(device, net.ISP6, 53),
                  scene.datagram(device, "2001:db8:2::2", 5683), scene.datagram(device, "ff0e::1", 5683),
                  scene.ip_frame(device, ipv6(device.v6, net.TELEMETRY6, ICMPV6, b"\x80\0\0\0\0\1\0\1" + scene.lab.marker)))
    scene.sleep(0.1)


def provoke(scene: Scene) -> None:
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
    attack(scene)
