"""The uplink's side of the gate: what somebody out there may send, and what the gateway itself may."""

from __future__ import annotations

import struct
import time

from expect import must
from lab import frames, probe
from lab.capture import Capture
from lab.frames import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMP, ICMPV6, UDP, ethernet, ip_bytes, ipv4, ipv6, mac_bytes
from lab.stage import READINGS4, READINGS6, Stage
from lab.topology import GATEWAY_LAN4, GATEWAY_LAN_MAC, ISP4, ISP_MAC, TELEMETRY4, THERMOSTAT, UPLINK4, UPLINK6, UPLINK_MAC

_CLOSED_PORT = 9999
_EACH = 5


def _echo(source: str, destination: str, data: bytes) -> bytes:
    kind, version = (128, 6) if ":" in source else (8, 4)
    head = struct.pack("!BBHHH", kind, 0, 0, 7, 7)
    pseudo = ip_bytes(source) + ip_bytes(destination) + struct.pack("!II", 8 + len(data), ICMPV6) if version == 6 else b""
    message = head[:2] + struct.pack("!H", frames.checksum(pseudo + head + data)) + head[4:] + data
    if version == 6:
        return ethernet(UPLINK_MAC, ISP_MAC, ETH_P_IPV6, ipv6(source, destination, ICMPV6, message))
    return ethernet(UPLINK_MAC, ISP_MAC, ETH_P_IP, ipv4(source, destination, ICMP, message))


def _fragments(source: str, destination: str, data: bytes) -> list[bytes]:
    """A datagram in two pieces, which the gateway would put together again."""
    datagram = frames.udp(source, destination, 7, _CLOSED_PORT, data + bytes(-len(data) % 8))
    cut = 24
    if ":" in source:
        head = [struct.pack("!BBHI", UDP, 0, offset | more, 99) for offset, more in ((0, 1), (cut, 0))]
        pieces = [head[0] + datagram[:cut], head[1] + datagram[cut:]]
        return [ethernet(UPLINK_MAC, ISP_MAC, ETH_P_IPV6, ipv6(source, destination, 44, piece)) for piece in pieces]
    return [ethernet(UPLINK_MAC, ISP_MAC, ETH_P_IP, ipv4(source, destination, UDP, piece, ident=99, frag=frag))
            for piece, frag in ((datagram[:cut], 0x2000), (datagram[cut:], cut // 8))]


def _arp(sender: str, target: str) -> bytes:
    return ethernet(UPLINK_MAC, ISP_MAC, ETH_P_ARP, struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + mac_bytes(ISP_MAC) + ip_bytes(sender)
                    + bytes(6) + ip_bytes(target))


def forged_frames_from_the_uplink_reach_nobody(stage: Stage) -> None:
    """The provider speaks for a device, or to one: the gateway answers neither towards the device nor towards the provider."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    forged = []
    for source, own in ((THERMOSTAT.v4, UPLINK4), (THERMOSTAT.v6, UPLINK6)):
        forged += [_echo(source, own, lab.marker), *_fragments(source, own, lab.marker * 3),
                   frames.udp_frame(UPLINK_MAC, ISP_MAC, source, own, 7, _CLOSED_PORT, lab.marker)]
    forged += [_echo(TELEMETRY4, UPLINK4, lab.marker), _echo(ISP4, GATEWAY_LAN4, lab.marker), _arp(ISP4, GATEWAY_LAN4), _arp(THERMOSTAT.v4, UPLINK4)]
    before = agent.json("status")["drops"]
    device = Capture.start(lab.topology.of(THERMOSTAT), "eth0", lab.directory / "thermostat.pcapng")
    try:
        place = lab.watch()
        for frame in forged:
            probe.send_raw(lab.topology.isp, frame, "up0", _EACH)
        time.sleep(0.2 * lab.slowness)
        verdict = lab.since(place)
        heard = [frame.data for frame in device.read_new()
                 if frame.inbound and frame.data[6:12] == mac_bytes(GATEWAY_LAN_MAC) and frame.data[12:14] in (b"\x08\x00", b"\x86\xdd")]
    finally:
        device.child.stop()
    answers = [packet for frame in heard if (packet := frames.parse_ip(frame[14:])) and packet.protocol in (ICMP, ICMPV6, UDP)
               and not (packet.protocol == ICMPV6 and packet.payload[0] in range(130, 138))]
    must(not answers, f"{len(answers)} packets reached the device, first {answers[0] if answers else ''}")
    must(not verdict.clear and not verdict.esp, f"on the uplink: {verdict}")
    drops = agent.json("status")["drops"]
    told = sum(drops.get(name, 0) - before.get(name, 0) for name in ("uplink_clear", "uplink_neighbour"))
    must(told >= _EACH * len(forged), f"{told} of {_EACH * len(forged)} forged frames are among the drops")
    for target in (READINGS4, READINGS6):
        must(probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, "no traffic afterwards")
