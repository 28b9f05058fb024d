"""The uplink's side of the gate: what somebody out there may send, and what the gateway itself may."""

from __future__ import annotations

import socket
import struct
import time

from expect import must
from lab import frames, probe
from lab.capture import Capture
from lab.frames import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMP, ICMPV6, UDP, ethernet, ip_bytes, ipv4, ipv6, mac_bytes
from lab.stage import READINGS4, READINGS6, VIDEO6, Stage
from lab.system import run, wait_until
from lab.topology import (CAMERA, GATEWAY_LAN4, GATEWAY_LAN_MAC, ISP4, ISP_MAC, LAN6, SERVICES6, TELEMETRY4, TELEMETRY6, THERMOSTAT, UPLINK4, UPLINK6,
                          UPLINK_MAC)

_CLOSED_PORT = 9999
_EACH = 5
_HOP_BY_HOP, _DESTINATION = 0, 60  # extension headers of IPv6


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
               and not (packet.protocol == ICMPV6 and packet.payload[0] in (*range(130, 138), 143))]
    must(not answers, f"{len(answers)} packets reached the device, first {answers[0] if answers else ''}")
    must(not verdict.clear and not verdict.esp, f"on the uplink: {verdict}")
    drops = agent.json("status")["drops"]
    told = sum(drops.get(name, 0) - before.get(name, 0) for name in ("uplink_clear", "uplink_neighbour"))
    must(told >= _EACH * len(forged), f"{told} of {_EACH * len(forged)} forged frames are among the drops")
    for target in (READINGS4, READINGS6):
        must(probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, "no traffic afterwards")


def _odd_fragments(header: int, source: str, destination: str, data: bytes) -> list[bytes]:
    """IPv6 packets that a gateway which reassembles must cut in another way than they came: the first piece has a long header, of
    an option that whoever does not know it skips."""
    datagram = frames.udp(source, destination, 7, _CLOSED_PORT, data)
    options = struct.pack("!BBBB", 44, 31, 0x1E, 252) + bytes(252)
    packets, cut = [], 256
    packets.append(ipv6(source, destination, header, options + struct.pack("!BBHI", UDP, 0, 1, 77) + datagram[:cut]))
    while cut < len(datagram):
        piece = datagram[cut:cut + 1000]
        more = 1 if cut + len(piece) < len(datagram) else 0
        packets.append(ipv6(source, destination, 44, struct.pack("!BBHI", UDP, 0, cut | more, 77) + piece))
        cut += len(piece)
    return packets


def fragments_made_anew_are_nobodys(stage: Stage) -> None:
    """Connection tracking puts fragments together and cuts them anew, without the interface they came in on: a device gets none of them."""
    stage.open()
    lab, gateway = stage.lab, stage.lab.topology.gateway
    device = Capture.start(lab.topology.of(THERMOSTAT), "eth0", lab.directory / "refragmented.pcapng")
    run(["nft", "-f", "-"], stdin="table inet tracking { chain forward { type filter hook forward priority 0; ct state established accept; }; }",
        setup=gateway.enter)
    try:
        with lab.topology.cloud.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            for header in (_HOP_BY_HOP, _DESTINATION) * _EACH:
                for packet in _odd_fragments(header, TELEMETRY6, THERMOSTAT.v6, lab.marker * 130):
                    sock.sendto(packet, (THERMOSTAT.v6, 0))
                time.sleep(0.02)
        time.sleep(0.3 * lab.slowness)
        seen = [frame for frame in device.read_new() if frame.inbound and lab.marker in frame.data]
        must(not seen, f"{len(seen)} frames that no policy allows reached {THERMOSTAT.name}")
    finally:
        run(["nft", "delete", "table", "inet", "tracking"], setup=gateway.enter, check=False)
        device.child.stop()


def addresses_given_by_a_rogue(stage: Stage) -> None:
    """A lease and a prefix out of the devices' and the services' networks: nothing is said from them, nothing latches, traffic goes on."""
    stage.open()
    lab, gateway = stage.lab, stage.lab.topology.gateway
    own_half = lab.expect.link_local.removeprefix("fe80::")  # as addresses out of advertised prefixes have it
    given = [f"{THERMOSTAT.v4}/32", f"{LAN6.split('::')[0]}::{own_half}/64", f"{SERVICES6.split('::')[0]}::{own_half}/64"]
    place = lab.watch()
    try:
        for address in given:
            gateway.ip(f"addr add {address} dev wan0 {'nodad' if ':' in address else ''}")
        time.sleep(1.5)
        for target in (ISP4, TELEMETRY4):
            probe.send(gateway, THERMOSTAT.v4, target, 9, lab.marker)
        for device, target in ((THERMOSTAT, READINGS4), (CAMERA, VIDEO6)):
            must(wait_until(lambda: probe.ask(lab.topology.of(device), target, lab.marker, lab.slowness).result == probe.ANSWERED, 10 * lab.slowness),
                 f"{device.name}'s traffic does not go on")
        gate = lab.agent.json("status")["gate"]
        must(gate["state"] == "closed", f"{gate}")
        must("address_problem" in lab.agent.cli("events", "--json").stdout, "nobody is told")
    finally:
        for address in given:
            gateway.ip(f"addr del {address} dev wan0", check=False)
    stage.restart_tunnel()
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
