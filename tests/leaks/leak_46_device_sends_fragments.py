"""A device sends IP fragments, which port-specific selectors do not match (kernel 6.1)."""

from __future__ import annotations

from lab import topology as net
from lab.frames import UDP, ethernet, ip_bytes, ipv4, udp
from scenario import CAMERA, THERMOSTAT, Scene

STOCK = True


def attack(scene: Scene) -> None:
    marker = scene.lab.marker
    for device, target, port in ((THERMOSTAT, net.TELEMETRY4, 5683), (CAMERA, net.VIDEO4, 4000), (THERMOSTAT, "8.8.8.8", 5683)):
        whole = udp(device.v4, target, 40000, port, marker * 12)
        for ident in (1, 2, 3):
            scene.raw(device, scene.ip_frame(device, ipv4(device.v4, target, UDP, whole[:96], ident=ident, frag=0x2000)),
                      scene.ip_frame(device, ipv4(device.v4, target, UDP, whole[96:], ident=ident, frag=12)))
        scene.raw(device, scene.ip_frame(device, ipv4(device.v4, target, UDP, marker, ident=9, frag=0x2000 | 5)))
    six = udp(THERMOSTAT.v6, net.TELEMETRY6, 40000, 5683, marker * 4)
    head = bytes([UDP, 0, 0, 1, 0, 0, 0, 7])  # RFC 8200, 4.5: offset 0, more to come
    packet = b"\x60\0\0\0" + (len(head) + len(six)).to_bytes(2, "big") + b"\x2c\x40" + ip_bytes(THERMOSTAT.v6) + ip_bytes(net.TELEMETRY6)
    scene.raw(THERMOSTAT, ethernet(net.GATEWAY_LAN_MAC, THERMOSTAT.mac, 0x86DD, packet + head + six))
    scene.sleep(0.1)
