"""A steady flow of numbered datagrams from a device, with what came back counted, so that a gap can be measured to the millisecond."""

from __future__ import annotations

import mmap
import select
import signal
import socket
import struct
import time
from dataclasses import dataclass, field

from .probe import Target
from .system import Channel, Child, LabError, Namespace, wait_until

_PAYLOAD = struct.Struct("!16s8sQQ")   # marker, tag, sequence number, CLOCK_MONOTONIC ns when sent
_COUNTS = struct.Struct("=QQdd")       # sent, answered, last answer's arrival, first answer's arrival (monotonic seconds)


@dataclass(frozen=True)
class FlowReport:
    """The whole story of a flow; times are CLOCK_MONOTONIC seconds of the machine, the same for every process."""

    sent: int
    answered: int
    arrivals: list[float] = field(repr=False)

    @property
    def lost(self) -> int:
        return self.sent - self.answered

    def gap_after(self, moment: float) -> float | None:
        """Longest silence that began around or after the moment, in seconds; None if traffic never came back."""
        before = [t for t in self.arrivals if t <= moment]
        after = [t for t in self.arrivals if t > moment]
        if not after:
            return None
        points = [before[-1] if before else moment, *after]
        return max(b - a for a, b in zip(points, points[1:]))

    def last_arrival(self) -> float:
        return self.arrivals[-1] if self.arrivals else 0.0


def _send_and_count(target: Target, source: str, marker: bytes, tag: bytes, rate: float, shared: mmap.mmap, channel: Channel) -> None:
    stop = False

    def on_term(_signum: int, _frame: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, on_term)
    sock = socket.socket(target.family, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    sock.connect((target.address, target.port))
    sock.setblocking(False)
    seen: set[int] = set()
    arrivals: list[float] = []
    sent, interval, start = 0, 1.0 / rate, time.monotonic()
    while not stop:
        due = start + sent * interval
        now = time.monotonic()
        if now >= due:
            if now - due > 0.2:  # the machine stood still: go on from here rather than send a burst nobody asked for
                start += now - due
            try:
                sock.send(_PAYLOAD.pack(marker, tag, sent, time.monotonic_ns()))
            except OSError:  # an ICMP error, a full buffer: counted as sent and lost
                pass
            sent += 1
        elif not select.select([sock, channel.sock], [], [], due - now)[0]:
            continue
        if select.select([channel.sock], [], [], 0)[0]:
            channel.receive(0)
            break
        while True:
            try:
                data = sock.recv(2048)
            except OSError:
                break
            if len(data) == _PAYLOAD.size:
                number = _PAYLOAD.unpack(data)[2]
                if number not in seen:
                    seen.add(number)
                    arrivals.append(time.monotonic())
        _COUNTS.pack_into(shared, 0, sent, len(seen), arrivals[-1] if arrivals else 0.0, arrivals[0] if arrivals else 0.0)
    while chunk := arrivals[:4000]:
        channel.send({"arrivals": chunk})
        arrivals = arrivals[4000:]
    channel.send({"sent": sent, "answered": len(seen)})


class Flow:
    """Runs from `start` until `finish`; the counters can be read at any time."""

    def __init__(self, namespace: Namespace, source: str, target: Target, marker: bytes, rate: float) -> None:
        self.target = target
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        tag = b"flow" + struct.pack("!I", int(time.monotonic() * 1000) & 0xFFFFFFFF)
        self._child = Child.start("flow", lambda channel: _send_and_count(target, source, marker, tag, rate, self._shared, channel), namespace)
        self._report: FlowReport | None = None

    def _counts(self) -> tuple[int, int, float, float]:
        return _COUNTS.unpack_from(self._shared, 0)

    @property
    def sent(self) -> int:
        return self._counts()[0]

    @property
    def answered(self) -> int:
        return self._counts()[1]

    @property
    def first_answer(self) -> float:
        return self._counts()[3]

    def wait_for_answers(self, more: int, seconds: float) -> bool:
        goal = self.answered + more
        return bool(wait_until(lambda: self.answered >= goal, seconds))

    def wait_for_sent(self, more: int, seconds: float) -> bool:
        goal = self.sent + more
        return bool(wait_until(lambda: self.sent >= goal, seconds))

    def finish(self) -> FlowReport:
        if self._report is None:
            arrivals: list[float] = []
            self._child.channel.send("stop")
            while "sent" not in (message := self._child.channel.receive(10)):
                arrivals += message["arrivals"]
            self._report = FlowReport(message["sent"], message["answered"], arrivals)
            self._child.stop()
        return self._report

    def __enter__(self) -> "Flow":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.finish()
        except (LabError, OSError):
            self._child.stop(0.1)
