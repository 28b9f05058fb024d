"""What real devices say besides their job: captures of devices being set up, rewritten to the lab's bulb, and hand-made frames of the same kinds.

The captures are not part of the project: they are read from PENSTOCK_CAPTURES, or from shared/data/pcap beside the checkout, where they are there.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from . import topology as net
from .frames import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, TCP, UDP, checksum, ethernet, ip_bytes, ipv4, ipv6, mac_bytes, tcp, udp_frame
from .system import Channel, Child, Namespace

CAPTURES = Path(os.environ.get("PENSTOCK_CAPTURES", Path(__file__).resolve().parents[3] / "shared/data/pcap"))
NTP = 123
_ALL, _ROUTERS6 = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:02"


def captures() -> list[Path]:
    return sorted(CAPTURES.glob("*.pcap")) if CAPTURES.is_dir() else []


def _records(path: Path) -> Iterator[bytes]:
    """Frames of a classic pcap file (Ethernet)."""
    data = path.read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from(order + "I", data, at + 8)[0]
        yield data[at + 16:at + 16 + length]
        at += 16 + length


def _ip_parts(frame: bytes) -> tuple[int, int] | None:
    """Protocol and the offset of what it carries, of an IPv4 packet that is whole."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4:
        return None
    return frame[23], 14 + (frame[14] & 15) * 4


def _port(frame: bytes, source: bool) -> int:
    parts = _ip_parts(frame)
    if not parts or parts[0] not in (TCP, UDP) or len(frame) < parts[1] + 4:
        return 0
    return struct.unpack_from("!H", frame, parts[1] + (0 if source else 2))[0]


def _sender(frames: list[bytes]) -> bytes:
    """The device that the capture is about: who asked for an address; else who spoke most."""
    asked = Counter(frame[6:12] for frame in frames if _port(frame, True) == 68)
    spoke = Counter(frame[6:12] for frame in frames)
    return (asked or spoke).most_common(1)[0][0]


def _with_checksums(frame: bytes) -> bytes:
    parts = _ip_parts(frame)
    if not parts:
        return frame
    protocol, at = parts
    head = frame[14:24] + b"\0\0" + frame[26:at]
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    body, field = frame[at:], {TCP: 16, UDP: 6}.get(protocol)
    if field is not None and len(body) >= field + 2:
        body = body[:field] + b"\0\0" + body[field + 2:]
        pseudo = head[12:20] + struct.pack("!BBH", 0, protocol, len(body))
        body = body[:field] + struct.pack("!H", checksum(pseudo + body) or 0xFFFF) + body[field + 2:]
    return frame[:14] + head + body


def rewritten(path: Path) -> list[bytes]:
    """What the captured device sent, as if the lab's bulb had: MAC everywhere, IPv4 source, the router's MAC; NTP goes to the lab's server."""
    frames = list(_records(path))
    device = _sender(frames)
    mine, router = mac_bytes(net.BULB.mac), mac_bytes(net.GATEWAY_LAN_MAC)
    result = []
    for frame in frames:
        if frame[6:12] != device or len(frame) < 14:
            continue
        unicast = not frame[0] & 1
        frame = (router if unicast else frame[:6]) + frame[6:]
        frame = frame.replace(device, mine)
        if _ip_parts(frame):
            source = frame[26:30] if frame[26:30] == bytes(4) else ip_bytes(net.BULB.v4)
            target = ip_bytes(net.TELEMETRY4) if _port(frame, False) == NTP else frame[30:34]
            frame = frame[:26] + source + target + frame[34:]
        elif frame[12:14] == b"\x08\x06" and len(frame) >= 42 and frame[28:32] != bytes(4):
            frame = frame[:28] + ip_bytes(net.BULB.v4) + frame[32:]
        result.append(_with_checksums(frame))
    return result


def handmade() -> list[bytes]:
    """One of each kind, for machines without the captures: ARP, DHCP, EAPoL, mDNS, SSDP, IGMP, LLC, ND, DNS, NTP, HTTP, TLS."""
    bulb, gateway = net.BULB, net.GATEWAY_LAN_MAC
    arp = struct.pack("!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, mac_bytes(bulb.mac), ip_bytes(bulb.v4), bytes(6), ip_bytes("10.20.0.254"))
    dhcp = struct.pack("!BBBBIHH", 1, 1, 6, 0, 7, 0, 0x8000) + bytes(16) + mac_bytes(bulb.mac) + bytes(202) + b"\x63\x82\x53\x63\x35\x01\x01\xff"
    dns = b"\0\1\1\0\0\1\0\0\0\0\0\0\6bulb-3\7example\0\0\1\0\1"
    ssdp = b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nST: upnp:rootdevice\r\n\r\n'
    solicit = b"\x85\0\0\0\0\0\0\0\1\1" + mac_bytes(bulb.mac)
    pseudo = ip_bytes(bulb.v6) + ip_bytes("ff02::2") + struct.pack("!II", len(solicit), 58)
    solicit = solicit[:2] + struct.pack("!H", checksum(pseudo + solicit)) + solicit[4:]
    return [
        ethernet(_ALL, bulb.mac, ETH_P_ARP, arp),
        udp_frame(_ALL, bulb.mac, "0.0.0.0", "255.255.255.255", 68, 67, dhcp),
        ethernet(gateway, bulb.mac, 0x888E, b"\1\3\0\x5f" + bytes(95)),
        udp_frame("01:00:5e:00:00:fb", bulb.mac, bulb.v4, "224.0.0.251", 5353, 5353, dns),
        udp_frame("01:00:5e:7f:ff:fa", bulb.mac, bulb.v4, "239.255.255.250", 50000, 1900, ssdp),
        ethernet("01:00:5e:00:00:16", bulb.mac, ETH_P_IP, ipv4(bulb.v4, "224.0.0.22", 2, b"\x22\0\xf9\2\0\0\0\1\4\0\0\0\xe0\0\0\xfb", ttl=1)),
        ethernet("01:80:c2:00:00:00", bulb.mac, 8, b"\x42\x42\3\0\0\0\0\0"),  # a length, not a type: LLC
        ethernet(_ROUTERS6, bulb.mac, ETH_P_IPV6, ipv6(bulb.v6, "ff02::2", 58, solicit, hops=255)),
        udp_frame(gateway, bulb.mac, bulb.v4, "8.8.8.8", 50001, 53, dns),
        udp_frame(gateway, bulb.mac, bulb.v6, "2001:4860:4860::8888", 50001, 53, dns),
        udp_frame(gateway, bulb.mac, bulb.v4, net.TELEMETRY4, 50002, NTP, b"\x23" + bytes(47)),
        ethernet(gateway, bulb.mac, ETH_P_IP, ipv4(bulb.v4, "93.184.216.34", TCP, tcp(bulb.v4, "93.184.216.34", 50003, 80, b"GET / HTTP/1.1\r\n\r\n"))),
        ethernet(gateway, bulb.mac, ETH_P_IP, ipv4(bulb.v4, "93.184.216.34", TCP, tcp(bulb.v4, "93.184.216.34", 50004, 443, b"\x16\3\1\0\x2f" + bytes(47)))),
    ]


def all_frames() -> list[bytes]:
    return handmade() + [frame for path in captures() for frame in rewritten(path)]


def is_ntp(frame: bytes) -> bool:
    return _port(frame, False) == NTP


def send(namespace: Namespace, frames: list[bytes], pause: float) -> None:
    """Once through, oversized frames (captured with segmentation offload) left out."""
    with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        for frame in frames:
            if len(frame) <= 1514:
                sock.send(frame)
                time.sleep(pause)


def _play(namespace: Namespace, frames: list[bytes], pause: float, channel: Channel) -> None:
    try:
        while True:
            send(namespace, frames, pause)
    except OSError:  # the lab is being taken down
        pass


def start(namespace: Namespace, rate: float) -> Child:
    """All of it again and again in the background, but for what policy lets pass (NTP): a refused row wants a silent wire."""
    frames = [frame for frame in all_frames() if not is_ntp(frame)]
    return Child.start("noise", lambda channel: _play(namespace, frames, 1 / rate, channel))
