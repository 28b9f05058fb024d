"""The services in the cloud: they send back what they get, and remember who reached them (the first time each)."""

from __future__ import annotations

import selectors
import socket
from dataclasses import dataclass

from . import topology as net
from .system import Channel, Child, LabError, Namespace

MARKER_LENGTH = 16
_ADDRESSES = (net.TELEMETRY4, net.TELEMETRY6, net.VIDEO4, net.VIDEO6)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _serve(channel: Channel) -> None:
    selector = selectors.DefaultSelector()
    reached: dict[tuple[str, str, str, int], int] = {}
    tags: set[str] = set()

    def note(protocol: str, source: str, service: str, port: int, data: bytes) -> None:
        key = (protocol, source, service, port)
        reached[key] = reached.get(key, 0) + 1
        if protocol == "udp" and len(tags) < 100_000:
            tags.add(data[MARKER_LENGTH:MARKER_LENGTH + 8].hex())  # which attempt this was: see probe.py

    for address in _ADDRESSES:
        for port in net.UDP_PORTS:
            sock = socket.socket(_family(address), socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind((address, port))
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, ("udp", address, port))
        for port in net.TCP_PORTS:
            sock = socket.socket(_family(address), socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(64)
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ, ("accept", address, port))
    selector.register(channel.sock, selectors.EVENT_READ, ("lab", "", 0))
    channel.send("ready")
    while True:
        for key, _ in selector.select():
            kind, address, port = key.data
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                if kind == "lab":
                    tag = channel.receive(0)
                    channel.send(tag in tags)
                elif kind == "accept":
                    connection, peer = sock.accept()
                    connection.setblocking(False)
                    note("tcp", peer[0], address, port, b"")
                    selector.register(connection, selectors.EVENT_READ, ("tcp", address, port))
                elif kind == "tcp":
                    if data := sock.recv(65536):
                        sock.send(data)
                    else:
                        selector.unregister(sock)
                        sock.close()
                else:
                    for _ in range(64):
                        data, peer = sock.recvfrom(65536)
                        note("udp", peer[0], address, port, data)
                        sock.sendto(data, peer)
            except BlockingIOError:
                continue
            except OSError:  # a reset connection, or no way back: the asker notices
                if kind == "tcp":
                    selector.unregister(sock)
                    sock.close()
            except LabError:
                return


@dataclass
class EchoServer:
    """The server process, and the question whether an attempt got there at all."""

    child: Child

    @staticmethod
    def start(namespace: Namespace) -> "EchoServer":
        child = Child.start("echo", _serve, namespace)
        if child.channel.receive(10) != "ready":
            raise LabError("the echo server did not start")
        return EchoServer(child)

    def was_reached_by(self, tag: bytes) -> bool:
        return bool(self.child.ask(tag.hex()))
