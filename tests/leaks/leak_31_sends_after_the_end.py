"""Something sends for a device after its connection ended (Android 16): closing a connection whose tunnel is gone."""

from __future__ import annotations

import socket

from lab import topology as net
from lab.stage import TELEMETRY4, TELEMETRY6
from scenario import THERMOSTAT, Scene

STOCK = True
SEEN = "TCP (10.20.0.12|fd20::12) "


def _connections(scene: Scene) -> list[socket.socket]:
    found = []
    for target in (TELEMETRY4, TELEMETRY6):
        sock = scene.of(THERMOSTAT).socket(target.family, socket.SOCK_STREAM)
        sock.settimeout(3 * scene.lab.slowness)
        sock.connect((target.address, target.port))
        sock.sendall(scene.lab.marker)
        sock.recv(100)
        found.append(sock)
    return found


def attack(scene: Scene) -> None:
    for sock in _connections(scene):
        sock.close()
    scene.sleep(0.1)


def provoke(scene: Scene) -> None:
    for reset in (False, True):
        sockets = _connections(scene)
        scene.tunnel("down")
        for sock in sockets:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
        scene.cloud_sends(THERMOSTAT.v4, source=net.TELEMETRY4)
        scene.sleep(0.5)
        scene.tunnel("up")
