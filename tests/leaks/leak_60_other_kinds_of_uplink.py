"""VLAN, bridge, bond and raw-IP carriers: other ethertypes, no Ethernet header.

A program that reads every frame as Ethernet and IP sees neither the inner packet nor, without the header, the right bytes."""

from __future__ import annotations

import fcntl
import os
import struct

from lab import topology as net
from scenario import THERMOSTAT, Scene, must

STOCK = True
SEEN = "marker readable|0x8100"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
# Name, what makes it, what puts it between the uplink and the wire, and what takes it away again.
KINDS = (("wan0.5", "link wan0 name wan0.5 type vlan id 5", ""), ("mac0", "link wan0 name mac0 type macvlan mode bridge", ""),
         ("ip0", "link wan0 name ip0 type ipvlan", ""), ("greleak", f"name greleak type gre local {net.UPLINK4} remote {net.CLOUD4}", ""),
         ("br9", "name br9 type bridge", "link set wan0 master br9"),
         ("bond9", "name bond9 type bond mode active-backup miimon 100", "link set wan0 down\nlink set wan0 master bond9\nlink set wan0 up"))


def _kinds(scene: Scene) -> list[tuple[str, str, str]]:
    """Those that this kernel has."""
    found = []
    for kind in KINDS:
        scene.gateway.ip(f"link add {kind[1]}", check=False)
        if kind[0] in scene.in_gateway("ip", "-o", "link"):
            found.append(kind)
        scene.gateway.ip(f"link del {kind[0]}", check=False)
    return found


def _send(scene: Scene) -> None:
    scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683), scene.datagram(THERMOSTAT, "8.8.8.8", 53))
    scene.from_gateway(net.TELEMETRY4, 5683)
    scene.from_gateway("8.8.8.8", 5683)
    scene.sleep(0.15)


def _over(scene: Scene, name: str, make: str, enslave: str) -> None:
    scene.gateway.ip(f"link add {make}\nlink set {name} up", check=False)
    try:
        scene.gateway.ip(f"""{enslave or f'link set {name} up'}
            addr add 198.51.102.2/24 dev {name}
            neigh add 198.51.102.1 lladdr {net.ISP_MAC} dev {name}
            route add {net.SERVICES4} via 198.51.102.1 dev {name} onlink
            route add 8.8.8.8/32 dev {name}""", check=False)
        _send(scene)
    finally:
        scene.gateway.ip(f"link set {name} down\nlink set wan0 nomaster\nlink del {name}", check=False)
        if "down" in enslave:  # what goes with the link does not come back by itself
            scene.gateway.ip(f"""link set wan0 down
                link set wan0 address {net.UPLINK_MAC}
                link set wan0 up
                addr add {net.UPLINK6}/64 dev wan0 nodad
                route add default via {net.ISP4}
                route add default via {net.ISP6}""", check=False)


def _raw_ip(scene: Scene) -> bool:
    """An LTE modem's kind of interface, without any header before IP; we are the modem. Was the marker in what it got?"""
    with scene.gateway.inside():
        modem = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(modem, TUNSETIFF, struct.pack("16sH22x", b"lte9", IFF_TUN | IFF_NO_PI))
    heard = b""
    try:
        scene.gateway.ip(f"link set lte9 up\naddr add 198.51.103.2/30 dev lte9\nroute add {net.SERVICES4} dev lte9\nroute add 8.8.8.8/32 dev lte9")
        _send(scene)
        while True:
            heard += os.read(modem, 4096)
    except BlockingIOError:
        return scene.lab.marker in heard
    finally:
        os.close(modem)


def attack(scene: Scene) -> None:
    for kind in _kinds(scene):
        _over(scene, *kind)
    must(not _raw_ip(scene), "the marker left over a raw-IP interface")


def control(scene: Scene) -> None:
    must(_raw_ip(scene), "control: nothing leaves over a raw-IP interface without a gate")
    kinds = _kinds(scene)
    for kind in kinds:
        _over(scene, *kind)
    if not kinds:
        scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, "8.8.8.8", 53))
        scene.sleep(0.1)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
    must(scene.in_gateway("ip", "-o", "link", "show", "wan0"), "the uplink is gone")
