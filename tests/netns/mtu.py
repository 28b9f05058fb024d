"""What is too large for the tunnel: senders are told, segments are made to fit, and who insists is cut into pieces and still gets there."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from expect import must
from lab import frames
from lab.stage import READINGS4, READINGS6, TELEMETRY4, TELEMETRY6, Stage
from lab.probe import Target
from lab.system import Namespace, run
from lab.topology import THERMOSTAT

# linux/in.h, linux/in6.h: (level, how to treat DF, the MTU that the socket knows of)
_OPTIONS = {socket.AF_INET: (socket.IPPROTO_IP, 10, 14), socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 24)}
NEVER_DF, AS_NEEDED, ALWAYS_DF = 0, 1, 2
LARGEST = 1500
BULK, CHUNK = 8, 16 << 10
DEAF = """table inet deaf { chain input { type filter hook input priority 0;
    icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }"""


def _headers(target: Target) -> int:
    return 48 if ":" in target.address else 28


def _forget_paths(stage: Stage) -> None:
    for namespace in (stage.lab.topology.of(THERMOSTAT), stage.lab.topology.gateway, stage.lab.topology.cloud):
        for family in ("-4", "-6"):
            run(["ip", "-n", namespace.name, family, "route", "flush", "cache"], check=False)


@contextmanager
def _fresh(stage: Stage) -> Iterator[None]:
    """Nobody knows of any path before; afterwards nothing has left in clear."""
    stage.open()
    _forget_paths(stage)
    place = stage.lab.watch()
    try:
        yield
    finally:
        _forget_paths(stage)
    verdict = stage.lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp, "nothing moved")


class _Datagrams:
    """A device's socket, and what its kernel has learnt of the path."""

    def __init__(self, device: Namespace, target: Target, fragmentation: int) -> None:
        self.target = target
        self.level, discover, self.known = _OPTIONS[target.family]
        self.sock = device.socket(target.family, socket.SOCK_DGRAM)
        self.sock.setsockopt(self.level, discover, fragmentation)
        self.sock.connect((target.address, target.port))
        self.sock.settimeout(0.3)

    @property
    def mtu(self) -> int:
        return self.sock.getsockopt(self.level, self.known)

    def echoed(self, packet: int | None, seconds: float) -> bool:
        """Is a packet of that size (None: the largest that fits, by what is known then) answered whole, at last?"""
        end, sent = time.monotonic() + seconds, set()
        while time.monotonic() < end:
            data = os.urandom((packet or self.mtu) - _headers(self.target))
            try:
                self.sock.send(data)
                sent.add(data)
                if self.sock.recv(65536) in sent:  # on a slow machine an earlier one
                    return True
            except OSError:  # too large, or lost: the next one may know better
                time.sleep(0.02)
        return False

    def __enter__(self) -> "_Datagrams":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


def _bulk(device: Namespace, target: Target, seconds: float) -> int:
    """Sends and gets back 128 KiB over one connection; the size of its segments."""
    with device.socket(target.family, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        sock.connect((target.address, target.port))
        for _ in range(BULK):
            data, back = os.urandom(CHUNK), b""
            sock.sendall(data)
            while len(back) < CHUNK and (more := sock.recv(65536)):
                back += more
            must(back == data, f"{target}: something else came back")
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def too_large_is_said(stage: Stage) -> None:
    """Packets of 1,500 bytes: with DF their sender is told what fits, and that fits; without they get there in pieces."""
    lab, device = stage.lab, stage.lab.topology.of(THERMOSTAT)
    with _fresh(stage):
        for target in (READINGS4, READINGS6):
            with _Datagrams(device, target, ALWAYS_DF) as sock:
                must(not sock.echoed(LARGEST, min(2.0, lab.slowness)), f"{target}: {LARGEST} bytes with DF through a tunnel over {LARGEST}")
                end = time.monotonic() + 3 * lab.slowness
                while sock.mtu >= LARGEST and time.monotonic() < end:
                    sock.echoed(LARGEST, 0.1)
                must(1280 <= sock.mtu < LARGEST, f"{target}: the device was not told, it still takes {sock.mtu}")
                must(sock.echoed(None, 3 * lab.slowness), f"{target}: {sock.mtu} bytes, as told, are not answered")
                stage.notes[f"MTU told to a device, {target}"] = str(sock.mtu)
            with _Datagrams(device, target, AS_NEEDED if ":" in target.address else NEVER_DF) as sock:
                must(sock.echoed(LARGEST, 3 * lab.slowness), f"{target}: {LARGEST} bytes without DF are not answered")


def _too_big(target: Target, sport: int, mtu: int) -> bytes:
    """What a router behind the tunnel says of a datagram of the device (RFC 792, RFC 4443)."""
    source = THERMOSTAT.address(6 if ":" in target.address else 4)
    datagram = frames.udp(source, target.address, sport, target.port, bytes(1000))
    if ":" in target.address:
        quote = frames.ipv6(source, target.address, frames.UDP, datagram)
        return struct.pack("!BBHI", 2, 0, 0, mtu) + quote[:1000]  # the kernel adds the checksum
    quote = frames.ipv4(source, target.address, frames.UDP, datagram, frag=0x4000)
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quote[:500]
    return message[:2] + struct.pack("!H", frames.checksum(message)) + message[4:]


def a_router_behind_the_tunnel_is_heard(stage: Stage) -> None:
    """"Fragmentation needed" and "packet too big" out of the tunnel, about a flow that the device has, change what the device sends."""
    lab, device, cloud = stage.lab, stage.lab.topology.of(THERMOSTAT), stage.lab.topology.cloud
    with _fresh(stage):
        for target, proto in ((READINGS4, socket.IPPROTO_ICMP), (READINGS6, socket.IPPROTO_ICMPV6)):
            with _Datagrams(device, target, ALWAYS_DF) as sock, cloud.socket(target.family, socket.SOCK_RAW, proto) as router:
                must(sock.echoed(200, 3 * lab.slowness), f"{target}: no flow")
                router.bind((target.address, 0))
                router.sendto(_too_big(target, sock.sock.getsockname()[1], 1290), (THERMOSTAT.address(6 if ":" in target.address else 4), 0))
                end = time.monotonic() + 3 * lab.slowness
                while sock.mtu != 1290 and time.monotonic() < end:
                    time.sleep(0.02)
                must(sock.mtu == 1290, f"{target}: the device was told nothing, it still takes {sock.mtu}")


def connections_fit_by_themselves(stage: Stage) -> None:
    """A device that is deaf to ICMP, as many are: its connections use segments that fit from their first packet on."""
    lab, device = stage.lab, stage.lab.topology.of(THERMOSTAT)
    with _fresh(stage):
        run(["nft", "-f", "-"], stdin=DEAF, setup=device.enter)
        try:
            for target in (TELEMETRY4, TELEMETRY6):
                size = _bulk(device, target, 5 * lab.slowness)
                stage.notes[f"segments, {target}"] = str(size)
        finally:
            run(["nft", "delete", "table", "inet", "deaf"], setup=device.enter, check=False)


def a_narrow_path_is_no_black_hole(stage: Stage) -> None:
    """The provider's own line takes 1,400 bytes: ESP is cut, or the device told; nothing is lost for good, in either direction."""
    lab, topology = stage.lab, stage.lab.topology
    device = topology.of(THERMOSTAT)
    stage.open()

    def narrow(mtu: int) -> None:
        topology.cloud.ip(f"link set wan0 mtu {mtu}")
        topology.isp.ip(f"link set cl0 mtu {mtu}")

    with _fresh(stage):
        narrow(1400)
        try:
            for target in (READINGS4, READINGS6):
                with _Datagrams(device, target, ALWAYS_DF) as sock:
                    must(sock.echoed(None, 5 * lab.slowness), f"{target}: {sock.mtu} bytes with DF")
                with _Datagrams(device, target, AS_NEEDED if ":" in target.address else NEVER_DF) as sock:
                    must(sock.echoed(LARGEST, 5 * lab.slowness), f"{target}: {LARGEST} bytes without DF")
            for target in (TELEMETRY4, TELEMETRY6):
                _bulk(device, target, 8 * lab.slowness)
        finally:
            narrow(1500)
            topology.isp.ip("route flush cache", check=False)


CASES: dict[str, Callable[[Stage], None]] = {
    "too_large_is_said": too_large_is_said,
    "a_router_behind_the_tunnel_is_heard": a_router_behind_the_tunnel_is_heard,
    "connections_fit_by_themselves": connections_fit_by_themselves,
    "a_narrow_path_is_no_black_hole": a_narrow_path_is_no_black_hole,
}
