"""Outer fragments of UDP-encapsulated ESP have no ports; inner and outer MTU do not fit (kernels 6.1, 6.12)."""

from __future__ import annotations

import os
import socket

from lab import topology as net
from scenario import THERMOSTAT, Scene

IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
STOCK = True


def attack(scene: Scene) -> None:
    """Datagrams as large as the LAN carries, with and without DF, over an uplink that is narrower."""
    for dont in (True, False):
        with scene.of(THERMOSTAT).socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            if dont:
                sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
            for size in (1200, 1350, 1400, 1430, 1472):
                for _ in range(4):
                    try:
                        sock.sendto(scene.lab.marker + os.urandom(size - 16), (net.TELEMETRY4, 5683))
                    except OSError:  # too big, says the path
                        pass
    scene.sleep(0.2)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.gateway.ip("link set wan0 mtu 1300")
    try:
        attack(scene)
    finally:
        scene.gateway.ip("link set wan0 mtu 1500")
