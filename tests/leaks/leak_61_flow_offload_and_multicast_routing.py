"""An nft flowtable forwards past the routing tables; multicast routing ignores the device table.

A flowtable keeps the route of a flow and hands packets to the driver at ingress; multicast has routes of its own."""

from __future__ import annotations

import socket
import struct

from lab import topology as net
from lab.frames import udp_frame
from lab.system import LabError
from scenario import THERMOSTAT, Scene

STOCK = True
FLOWTABLE = """table inet fast {
    flowtable f { hook ingress priority 0; devices = { lan0, wan0 }; }
    chain forward { type filter hook forward priority 0; ip protocol { tcp, udp } flow add @f; }
}"""
MRT_INIT, MRT_DONE, MRT_ADD_VIF, MRT_ADD_MFC = 200, 201, 202, 204
GROUP = "239.1.2.3"


def _route_multicast(scene: Scene) -> None:
    """What a multicast routing daemon does: lan0 in, wan0 out, for one group."""
    with scene.gateway.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_IP, MRT_INIT, 1)
        except OSError:
            return  # this kernel does not route multicast
        for vif, address in ((0, net.GATEWAY_LAN4), (1, net.UPLINK4)):
            sock.setsockopt(socket.IPPROTO_IP, MRT_ADD_VIF, struct.pack("=HBBI4s4s", vif, 0, 1, 0, socket.inet_aton(address), bytes(4)))
        ttls = bytes([0, 1]) + bytes(30)
        entry = struct.pack("=4s4sH", socket.inet_aton(THERMOSTAT.v4), socket.inet_aton(GROUP), 0) + ttls + bytes(2) + struct.pack("=IIIi", 0, 0, 0, 0)
        sock.setsockopt(socket.IPPROTO_IP, MRT_ADD_MFC, entry)
        scene.raw(THERMOSTAT, *[udp_frame("01:00:5e:01:02:03", THERMOSTAT.mac, THERMOSTAT.v4, GROUP, 40000, 5000, scene.lab.marker)] * 3)
        scene.sleep(0.2)
        sock.setsockopt(socket.IPPROTO_IP, MRT_DONE, 1)


def _offload(scene: Scene) -> None:
    try:
        with scene.nft(FLOWTABLE):
            scene.raw(THERMOSTAT, *[scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683)] * 3)
            scene.sleep(0.4)
            scene.tunnel("down")
            scene.raw(THERMOSTAT, *[scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683)] * 3)
            scene.sleep(0.4)
    except LabError:
        return  # no flowtables in this kernel
    scene.tunnel("up")


def control(scene: Scene) -> None:
    _route_multicast(scene)
    scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683))
    scene.sleep(0.1)


def provoke(scene: Scene) -> None:
    _route_multicast(scene)
    _offload(scene)
