"""Frames by hand: what a raw sender needs to lie about who it is, and what the witness needs to read what went by."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ESP, ICMPV6 = 1, 6, 17, 50, 58
PROTOCOL_NAMES = {ICMP: "ICMP", 2: "IGMP", TCP: "TCP", UDP: "UDP", 41: "IPv6-in-IPv4", 47: "GRE", ESP: "ESP", 51: "AH", ICMPV6: "ICMPv6"}
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
_FRAGMENT = 44


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def mac_text(raw: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


def ip_bytes(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def ip_text(raw: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6 if len(raw) == 16 else socket.AF_INET, raw)


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(dst: str, src: str, ethertype: int, payload: bytes) -> bytes:
    return mac_bytes(dst) + mac_bytes(src) + struct.pack("!H", ethertype) + payload


def ipv4(src: str, dst: str, protocol: int, payload: bytes, ttl: int = 64, ident: int = 0, frag: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, ttl, protocol, 0, ip_bytes(src), ip_bytes(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src: str, dst: str, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, hops, ip_bytes(src), ip_bytes(dst)) + payload


def udp(src: str, dst: str, sport: int, dport: int, data: bytes) -> bytes:
    """A datagram with its checksum, over either family's pseudo header."""
    length = 8 + len(data)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    if ":" in src:
        pseudo = ip_bytes(src) + ip_bytes(dst) + struct.pack("!II", length, UDP)
    else:
        pseudo = ip_bytes(src) + ip_bytes(dst) + struct.pack("!BBH", 0, UDP, length)
    value = checksum(pseudo + head + data) or 0xFFFF
    return head[:6] + struct.pack("!H", value) + data


def tcp(src: str, dst: str, sport: int, dport: int, data: bytes = b"", flags: int = 0x18, seq: int = 1, ack: int = 1) -> bytes:
    """A segment with its checksum; PSH and ACK unless told otherwise."""
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0)
    length = len(head) + len(data)
    pseudo = ip_bytes(src) + ip_bytes(dst) + (struct.pack("!II", length, TCP) if ":" in src else struct.pack("!BBH", 0, TCP, length))
    return head[:16] + struct.pack("!H", checksum(pseudo + head + data)) + head[18:] + data


def udp_frame(eth_dst: str, eth_src: str, src: str, dst: str, sport: int, dport: int, data: bytes) -> bytes:
    datagram = udp(src, dst, sport, dport, data)
    if ":" in src:
        return ethernet(eth_dst, eth_src, ETH_P_IPV6, ipv6(src, dst, UDP, datagram))
    return ethernet(eth_dst, eth_src, ETH_P_IP, ipv4(src, dst, UDP, datagram))


@dataclass(frozen=True)
class Packet:
    """An IP packet as far as it can be read. `first` is false for later fragments, which have no ports."""

    version: int
    src: str
    dst: str
    protocol: int
    payload: bytes
    ident: int = 0
    first: bool = True
    more: bool = False

    @property
    def ports(self) -> tuple[int, int] | None:
        if self.protocol in (TCP, UDP) and self.first and len(self.payload) >= 4:
            return struct.unpack("!HH", self.payload[:4])  # type: ignore[return-value]
        return None

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, f"protocol {self.protocol}")
        ports = self.ports
        tail = f" port {ports[1]}" if ports else ""
        if self.protocol in (ICMP, ICMPV6) and len(self.payload) >= 2:
            tail = f" type {self.payload[0]} code {self.payload[1]}"
        return f"{name} {self.src} > {self.dst}{tail}" + ("" if self.first else " (later fragment)")


def parse_ip(data: bytes) -> Packet | None:
    """The packet, or None where the bytes are not a whole IP header."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        length = (data[0] & 15) * 4
        total, ident, frag = struct.unpack("!HHH", data[2:8])
        end = total if length <= total <= len(data) else len(data)  # 0 or short: GSO, or a liar; then look at everything
        return Packet(4, ip_text(data[12:16]), ip_text(data[16:20]), data[9], data[length:end], ident, not frag & 0x1FFF, bool(frag & 0x2000))
    if len(data) >= 40 and data[0] >> 4 == 6:
        protocol, at, ident, first, more = data[6], 40, 0, True, False
        while protocol in _EXTENSIONS and first and len(data) >= at + 8:
            protocol, at = data[at], at + 8 + data[at + 1] * 8
        if protocol == _FRAGMENT and len(data) >= at + 8:
            offset, ident = struct.unpack("!HI", data[at + 2:at + 8])
            first, more = not offset & 0xFFF8, bool(offset & 1)
            protocol, at = data[at], at + 8
        return Packet(6, ip_text(data[8:24]), ip_text(data[24:40]), protocol, data[at:], ident, first, more)
    return None
