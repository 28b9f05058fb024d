"""LAN broadcast and multicast, and ethertypes that are not IP, reach the uplink (Mullvad known-issues)."""

from __future__ import annotations

from lab import noise
from lab.frames import ETH_P_ARP, ethernet, udp_frame
from scenario import NoGate, Scene, THERMOSTAT

STOCK = True
SEEN = "marker readable"


def attack(scene: Scene) -> None:
    marker = scene.lab.marker
    mac = THERMOSTAT.mac
    frames = [ethernet("ff:ff:ff:ff:ff:ff", mac, ethertype, marker + bytes(46)) for ethertype in (0x88CC, 0x8863, 0x8137, 0x22F0, 0x88F7, ETH_P_ARP, 0x8100, 0x86DD)]
    frames += [udp_frame("01:00:5e:00:00:fb", mac, THERMOSTAT.v4, "224.0.0.251", 5353, 5353, marker),
               udp_frame("01:00:5e:01:01:01", mac, THERMOSTAT.v4, "239.1.1.1", 5353, 4000, marker),
               udp_frame("ff:ff:ff:ff:ff:ff", mac, THERMOSTAT.v4, "255.255.255.255", 68, 67, marker),
               udp_frame("33:33:00:00:00:fb", mac, THERMOSTAT.v6, "ff05::fb", 5353, 5353, marker)]
    scene.raw(THERMOSTAT, *frames)
    noise.send(scene.of(THERMOSTAT), noise.handmade(), 0.001)
    scene.sleep(0.1)


def control(scene: NoGate) -> None:
    """A router does not carry these; a bridge between LAN and uplink does."""
    scene.gateway.ip("link add leak0 type bridge\nlink set lan0 master leak0\nlink set wan0 master leak0\nlink set leak0 up")
    try:
        attack(scene)
    finally:
        scene.gateway.ip("link set lan0 nomaster\nlink set wan0 nomaster\nlink del leak0", check=False)
