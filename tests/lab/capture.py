"""Records every frame of one interface into a pcapng file, in a process of its own; it reads headers no further than a VLAN tag."""

from __future__ import annotations

import mmap
import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from .system import Channel, Child, LabError, Namespace

ETH_P_ALL = 3
SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 5, 6, 10
TPACKET_V3, TP_STATUS_KERNEL, TP_STATUS_USER = 2, 0, 1
PACKET_OUTGOING = 4
# Frames stand in a block one behind the other: the ring holds tens of thousands, however long this process has to wait for a CPU.
# Its memory is the kernel's, bounded. A block is handed over when it is full, or RETIRE_MS after its first frame.
BLOCK, BLOCKS, RETIRE_MS = 1 << 20, 64, 2
_BLOCK_HEAD = struct.Struct("=IIIII")  # struct tpacket_block_desc: version, offset_to_priv, block_status, num_pkts, offset_to_first_pkt
_BLOCK_STATUS = 8
_FRAME_HEAD = struct.Struct("=IIIIIIHHIIH")  # struct tpacket3_hdr: next_offset, sec, nsec, snaplen, len, status, mac, net, rxhash, vlan_tci, vlan_tpid
_PKTTYPE = 48 + 10  # struct sockaddr_ll stands behind it
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
_EPB_HEAD = struct.Struct("<IIIIIII")
_EPB_TAIL_INBOUND = struct.pack("<HHIHH", 2, 4, 1, 0, 0)   # option epb_flags: bits 0-1 = 1 inbound, 2 outbound
_EPB_TAIL_OUTBOUND = struct.pack("<HHIHH", 2, 4, 2, 0, 0)


def _file_head() -> bytes:
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack("<IIHHI", 1, 32, 1, 0, 0) + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0) + struct.pack("<I", 32)  # nanoseconds
    return section + interface


def _block(data: bytes, stamp: int, outbound: bool) -> bytes:
    pad = -len(data) % 4
    tail = _EPB_TAIL_OUTBOUND if outbound else _EPB_TAIL_INBOUND
    total = _EPB_HEAD.size + len(data) + pad + len(tail) + 4
    return _EPB_HEAD.pack(6, total, 0, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)) + data + b"\0" * pad + tail + struct.pack("<I", total)


def _with_vlan_tag(frame: bytes, status: int, tci: int, tpid: int) -> bytes:
    """The kernel takes a VLAN tag out of the frame and tells it beside; a witness must see what was on the wire."""
    if not status & TP_STATUS_VLAN_VALID:
        return frame
    return frame[:12] + struct.pack("!HH", tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100, tci) + frame[12:]


def _capture(interface: str, path: Path, channel: Channel) -> None:
    # A ring, because the kernel copies each frame into it at once. A plain packet socket keeps a reference to the frame's pages,
    # and ESP of the cloud, on this same machine, decrypts in place in those pages: the capture would show what the wire did not.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
    sock.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("IIIIIII", BLOCK, BLOCKS, BLOCK, BLOCKS, RETIRE_MS, 0, 0))
    ring = mmap.mmap(sock.fileno(), BLOCK * BLOCKS)
    try:  # a machine that is busy elsewhere must not make the witness miss anything
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass
    sock.bind((interface, ETH_P_ALL))
    out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(out, _file_head())
    recorded = arrived = lost = turn = 0

    def record_block() -> bool:
        """What the next block holds goes to the file, if the kernel has handed it over."""
        nonlocal turn, recorded
        start = turn * BLOCK
        _, _, status, count, first = _BLOCK_HEAD.unpack_from(ring, start)
        if not status & TP_STATUS_USER:
            return False
        blocks = []
        at = start + first
        for _ in range(count):
            step, seconds, nanos, kept, _, status, mac, _, _, tci, tpid = _FRAME_HEAD.unpack_from(ring, at)
            frame = _with_vlan_tag(ring[at + mac:at + mac + kept], status, tci, tpid)
            blocks.append(_block(frame, seconds * 10**9 + nanos, ring[at + _PKTTYPE] == PACKET_OUTGOING))
            at += step
        os.write(out, b"".join(blocks))
        struct.pack_into("=I", ring, start + _BLOCK_STATUS, TP_STATUS_KERNEL)
        turn = (turn + 1) % BLOCKS
        recorded += count
        return True

    channel.send("ready")
    while True:
        readable = select.select([sock, channel.sock], [], [])[0]
        while record_block():
            pass
        if channel.sock in readable:
            channel.receive(0)  # any request: everything that has arrived by now is in the file when we answer
            packets, drops, _ = struct.unpack("III", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))  # since the last look
            arrived, lost = arrived + packets - drops, lost + drops
            while recorded < arrived:
                if not record_block():
                    select.select([sock], [], [])
            channel.send({"frames": recorded, "lost": lost})


class WitnessLost(LabError):
    """The record has a hole: nothing can be said about the time since the last look."""


@dataclass(frozen=True)
class Frame:
    """One frame with its time in seconds since 1970; inbound = it came from the gateway."""

    time: float
    inbound: bool
    data: bytes


@dataclass
class Capture:
    """The recorder as seen from the lab: sync, then read what is new in the file."""

    path: Path
    child: Child
    _offset: int = field(default=len(_file_head()))
    _lost: int = 0

    @staticmethod
    def start(namespace: Namespace, interface: str, path: Path) -> "Capture":
        child = Child.start("witness", lambda channel: _capture(interface, path, channel), namespace)
        if child.channel.receive(10) != "ready":
            raise LabError("the witness did not start")
        return Capture(path, child)

    def read_new(self) -> list[Frame]:
        answer = self.child.ask("sync")
        lost, self._lost = answer["lost"] - self._lost, answer["lost"]
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        if lost:
            raise WitnessLost(f"the witness lost {lost} frames: its word is worth nothing")
        return list(parse_blocks(data))


def parse_blocks(data: bytes):  # type: ignore[no-untyped-def]
    at = 0
    while at < len(data):
        _, total, _, high, low, length, _ = _EPB_HEAD.unpack_from(data, at)
        start = at + _EPB_HEAD.size
        flags = struct.unpack_from("<I", data, at + total - 12)[0]
        yield Frame((high << 32 | low) / 1e9, flags & 3 == 1, data[start:start + length])
        at += total
