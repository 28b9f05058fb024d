"""The independent judge: reads what the far end of the uplink's wire recorded and believes nobody but that.

Every frame from the gateway is ESP to a peer with an SPI the agent logged, or one of the gateway's own enumerated flows
(IKE, and ARP/ND/MLD/DHCP of the uplink's own addresses). Anything else is CLEAR, and so is any frame, ESP too, in which the marker
of the lab's flows, a device's MAC, IPv6 address or name can be read.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import topology as net
from .capture import Frame
from .frames import ESP, ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ICMPV6, UDP, Packet, ip_bytes, ip_text, mac_bytes, mac_text, parse_ip

KEEPALIVE = b"\xff"
_IKE_VERSIONS = (0x20,)
_ROUTER_SOLICIT, _NEIGHBOUR_SOLICIT, _NEIGHBOUR_ADVERT, _MLD2_REPORT = 133, 135, 136, 143


@dataclass(frozen=True)
class Finding:
    """What one frame was. kind: esp, ike, arp, nd, mld, dhcp or clear."""

    kind: str
    detail: str = ""
    spi: str = ""


@dataclass(frozen=True)
class Expectation:
    """What may be on this wire: the uplink's own addresses, the peers, and what must never be readable."""

    marker: bytes
    uplink_mac: str = net.UPLINK_MAC
    uplink: frozenset[str] = frozenset({net.UPLINK4, net.UPLINK6})
    neighbours: frozenset[str] = frozenset({net.ISP4, net.ISP6})
    peers: frozenset[str] = frozenset({net.CLOUD4, net.CLOUD6})
    devices: tuple[net.Device, ...] = net.DEVICES
    also_secret: frozenset[str] = frozenset({net.GATEWAY_LAN4, net.GATEWAY_LAN6, net.GATEWAY_LAN_MAC})

    def own(self, address: str) -> bool:
        return address in self.uplink or address == self.link_local

    @property
    def link_local(self) -> str:
        mac = mac_bytes(self.uplink_mac)
        return ip_text(bytes.fromhex("fe80000000000000") + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])

    def secrets(self) -> list[tuple[str, bytes]]:
        """Byte strings too long to appear by chance, even in ciphertext."""
        found = [("the marker", self.marker), ("the marker as text", self.marker.hex().encode()), ("a reading", b'"temperature":')]
        for device in self.devices:
            found += [(f"{device.name}'s MAC", mac_bytes(device.mac)), (f"{device.name}'s IPv6 address", ip_bytes(device.v6)),
                      (f"the name {device.name}", device.name.encode()), (f"{device.name}'s address as text", device.v4.encode())]
        for text in self.also_secret:
            if text.count(":") == 5:
                found.append(("the gateway's LAN MAC", mac_bytes(text)))
            elif ":" in text:
                found.append(("the gateway's LAN address", ip_bytes(text)))
        return found

    def short_secrets(self) -> list[tuple[str, bytes]]:
        """Four bytes do appear in ciphertext by chance: looked for in every frame that is not ESP or IKE."""
        return [(f"{d.name}'s address", ip_bytes(d.v4)) for d in self.devices]


class Judge:
    """Classifies frames one by one; remembers which datagrams began as ESP or IKE, for their later fragments."""

    def __init__(self, expect: Expectation, spis: Iterable[str]) -> None:
        self._expect = expect
        self._spis = frozenset(spis)
        self._secrets, self._short = expect.secrets(), expect.short_secrets()
        self._begun: dict[tuple[str, str, int, int], Finding] = {}
        joined = [ip_bytes(a)[13:] for a in (*expect.uplink, expect.link_local) if ":" in a]
        joined.append(bytes(3))  # a forwarding host also joins the subnet-router anycast address of its prefix
        self._groups = {bytes.fromhex("ff0200000000000000000001ff") + low for low in joined}

    def judge(self, frame: bytes) -> Finding:
        finding = self._classify(frame)
        for name, secret in self._secrets:
            if secret in frame:
                return Finding("clear", f"{self._describe(frame)}, {name} readable")
        if finding.kind not in ("esp", "ike"):
            for name, secret in self._short:
                if secret in frame:
                    return Finding("clear", f"{self._describe(frame)}, {name} readable")
        return finding

    def _describe(self, frame: bytes) -> str:
        if len(frame) < 14:
            return f"{len(frame)} bytes"
        ethertype = struct.unpack("!H", frame[12:14])[0]
        packet = parse_ip(frame[14:]) if ethertype in (ETH_P_IP, ETH_P_IPV6) else None
        if packet:
            return str(packet)
        return f"ARP from {mac_text(frame[6:12])}" if ethertype == ETH_P_ARP else f"ethertype 0x{ethertype:04x} from {mac_text(frame[6:12])}"

    def _classify(self, frame: bytes) -> Finding:
        clear = Finding("clear", self._describe(frame))
        if len(frame) < 14 or frame[6:12] != mac_bytes(self._expect.uplink_mac):
            return Finding("clear", self._describe(frame) + ", not the uplink's MAC")
        ethertype = struct.unpack("!H", frame[12:14])[0]
        if ethertype == ETH_P_ARP:
            return Finding("arp") if self._own_arp(frame[14:]) else clear
        packet = parse_ip(frame[14:]) if ethertype in (ETH_P_IP, ETH_P_IPV6) else None
        if not packet or (packet.version == 6) != (ethertype == ETH_P_IPV6):
            return clear
        if packet.protocol == ICMPV6 and packet.version == 6:
            return self._own_icmpv6(packet) or clear
        if packet.ports == (68, 67):
            return Finding("dhcp") if self._own_dhcp(packet) else clear
        if not self._expect.own(packet.src) or packet.dst not in self._expect.peers:
            return clear
        key = (packet.src, packet.dst, packet.protocol, packet.ident)
        if not packet.first:
            return self._begun.get(key, clear)
        finding = self._to_peer(packet) or clear
        if packet.more:
            self._begun[key] = finding
        return finding

    def _to_peer(self, packet: Packet) -> Finding | None:
        data = packet.payload
        if packet.protocol == ESP:
            return self._esp(data)
        if packet.protocol != UDP or len(data) < 9 or packet.ports not in ((500, 500), (4500, 4500)):
            return None
        data = data[8:]
        if packet.ports == (4500, 4500):
            if data == KEEPALIVE:
                return Finding("ike", "keep-alive")
            if data[:4] != b"\0\0\0\0":
                return self._esp(data)
            data = data[4:]
        # An IKE header says how long the message is: nothing may ride behind it.
        if len(data) >= 28 and data[17] in _IKE_VERSIONS and (packet.more or struct.unpack("!I", data[24:28])[0] == len(data)):
            return Finding("ike")
        return None

    def _esp(self, data: bytes) -> Finding:
        if len(data) < 8 + 8 + 16:  # header, IV, tag
            return Finding("clear", f"{len(data)} bytes after an ESP header")
        spi = data[:4].hex()
        if spi not in self._spis:
            return Finding("clear", f"ESP with SPI {spi}, which the agent never logged")
        return Finding("esp", spi=spi)

    def _own_arp(self, arp: bytes) -> bool:
        if len(arp) < 28 or arp[:6] != bytes.fromhex("000108000604"):
            return False
        sender_mac, sender, target = arp[8:14], ip_text(arp[14:18]), ip_text(arp[24:28])
        ours = sender in self._expect.uplink or sender == "0.0.0.0"  # 0.0.0.0: duplicate address detection
        return sender_mac == mac_bytes(self._expect.uplink_mac) and ours and target in self._expect.neighbours | self._expect.uplink

    def _own_dhcp(self, packet: Packet) -> bool:
        """A request (RFC 2131) for the uplink's own MAC, from no address yet or from its own, whole, to whoever answers on this wire."""
        data = packet.payload[8:]
        if packet.version != 4 or packet.protocol != UDP or packet.more or not packet.first or len(data) < 240:
            return False
        source = packet.src == "0.0.0.0" or self._expect.own(packet.src)
        target = packet.dst == "255.255.255.255" or packet.dst in self._expect.neighbours
        return source and target and data[:3] == b"\1\1\6" and data[28:34] == mac_bytes(self._expect.uplink_mac)

    def _own_icmpv6(self, packet: Packet) -> Finding | None:
        data = packet.payload
        if len(data) < 8 or not (self._expect.own(packet.src) or packet.src == "::"):
            return None
        kind = data[0]
        if kind == _ROUTER_SOLICIT:
            return Finding("nd")
        if kind in (_NEIGHBOUR_SOLICIT, _NEIGHBOUR_ADVERT) and len(data) >= 24:
            target = ip_text(data[8:24])
            on_link = target in self._expect.neighbours or target.startswith("fe80:")
            return Finding("nd") if self._expect.own(target) or (on_link and kind == _NEIGHBOUR_SOLICIT) else None
        if kind == _MLD2_REPORT:
            groups, at = [], 8
            for _ in range(struct.unpack("!H", data[6:8])[0]):
                groups.append(data[at + 4:at + 20])
                at += 20 + data[at + 1] * 4 + struct.unpack("!H", data[at + 2:at + 4])[0] * 16 if len(data) >= at + 4 else 20
            return Finding("mld") if all(self._own_group(group) for group in groups) else None
        return None

    def _own_group(self, group: bytes) -> bool:
        """A solicited-node group names the last three bytes of an address: only the uplink's own may be joined there."""
        if len(group) != 16:
            return False
        return group in self._groups or (group[0] == 0xFF and group[2:14] == bytes(12))


@dataclass
class Verdict:
    """What the wire showed between two moments."""

    kinds: Counter[str] = field(default_factory=Counter)
    spis: Counter[str] = field(default_factory=Counter)
    clear: list[str] = field(default_factory=list)

    @property
    def esp(self) -> int:
        return self.kinds["esp"]

    def __str__(self) -> str:
        if self.clear:
            return f"CLEAR x{len(self.clear)}: {self.clear[0]}"
        if self.spis:
            return "ESP " + ", ".join(self.spis)
        own = [kind.upper() for kind in ("ike", "dhcp") if self.kinds[kind]]
        return f"nothing but {' and '.join(own)}" if own else "nothing"


def judge(frames: Iterable[Frame], expect: Expectation, spis: Iterable[str]) -> Verdict:
    """The verdict on everything the gateway sent; what was sent to it is only kept in the file."""
    verdict, bench = Verdict(), Judge(expect, spis)
    for frame in frames:
        if frame.inbound:
            finding = bench.judge(frame.data)
            verdict.kinds[finding.kind] += 1
            if finding.kind == "esp":
                verdict.spis[finding.spi] += 1
            elif finding.kind == "clear":
                verdict.clear.append(finding.detail)
    return verdict
