"""One attempt by a device: ask a service over TCP or UDP, or send a frame that lies about its sender, and say what came of it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass

from . import frames
from . import topology as net
from .system import LabError, Namespace

ANSWERED, NO_ANSWER, REFUSED = "answered", "no answer", "refused"
SO_RST_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Target:
    """A service endpoint."""

    address: str
    protocol: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol}/{self.port} {host}"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


@dataclass(frozen=True)
class Answer:
    """What the device saw; the tag finds the attempt again in the cloud's memory."""

    result: str
    tag: bytes
    milliseconds: float = 0.0


def ask(namespace: Namespace, target: Target, marker: bytes, timeout: float, tries: int = 2) -> Answer:
    """A datagram (sent twice: the first may be lost to address resolution) or a connection, with the marker in it."""
    tag = os.urandom(8)
    payload = marker + tag + b"penstock lab"
    kind = socket.SOCK_STREAM if target.protocol == "tcp" else socket.SOCK_DGRAM
    with namespace.socket(target.family, kind) as sock:
        sock.settimeout(timeout / tries)
        try:
            if target.protocol == "tcp":
                sock.settimeout(timeout)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_RST_ON_CLOSE)  # nothing lingers into the next row
                sock.connect((target.address, target.port))
                sock.sendall(payload)
                data = sock.recv(4096)
            else:
                sock.connect((target.address, target.port))
                data = b""
                for _ in range(tries):
                    sock.send(payload)
                    try:
                        data = sock.recv(4096)
                        break
                    except TimeoutError:
                        continue
        except TimeoutError:
            return Answer(NO_ANSWER, tag)
        except OSError:
            return Answer(REFUSED, tag)
    return Answer(ANSWERED if data == payload else NO_ANSWER, tag)


def send(namespace: Namespace, source: str, target: str, port: int, data: bytes, ttl: int = 64, count: int = 5) -> None:
    """Datagrams that nobody has to answer. One that is refused on the way out is as good as dropped: the wire decides."""
    with namespace.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        level = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if ":" in target else (socket.IPPROTO_IP, socket.IP_TTL)
        sock.setsockopt(*level, ttl)
        sock.bind((source, 0))
        for _ in range(count):
            with contextlib.suppress(OSError):
                sock.sendto(data, (target, port))
            time.sleep(0.005)


def send_raw(namespace: Namespace, frame: bytes, interface: str = "eth0", count: int = 1) -> None:
    with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        for _ in range(count):
            sock.send(frame)


def lie(namespace: Namespace, mac: str, source: str, target: Target, marker: bytes, count: int = 5) -> bytes:
    """Datagrams with any MAC and source address; returns the tag to look for in the cloud."""
    if target.protocol != "udp":
        raise LabError("only datagrams can be forged without an answer")
    tag = os.urandom(8)
    frame = frames.udp_frame(net.GATEWAY_LAN_MAC, mac, source, target.address, 40000, target.port, marker + tag)
    send_raw(namespace, frame, count=count)
    return tag
