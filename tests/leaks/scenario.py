"""What a row of the leak catalogue is made of: a steady flow of two devices, somebody who provokes the row, and a judge on the far end of the wire."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from lab import probe
from lab import topology as net
from lab.capture import Capture, Frame
from lab.flow import Flow
from lab.frames import ethernet, udp_frame
from lab.lab import Lab
from lab.stage import READINGS4, READINGS6, VIDEO6, Stage
from lab.strongswan import StockDaemon
from lab.system import LabError, Namespace, run, wait_until
from lab.topology import CAMERA, INTRUDER, THERMOSTAT, Device
from lab.witness import Expectation, Verdict, judge

FOLDER = Path(__file__).parent
DELIVERED = 1000

# Every reason for which a row may be n/a. A row that is neither judged nor n/a is open, and says what it needs.
NO_ESP = "this kernel has no ESP"
NO_MODULE = "this kernel has no such module"
USER_ESP = "ESP is in user space here, and the row is about the kernel's"
NO_HARDWARE = "needs a network card with packet offload"
ROOT = "needs root on the gateway: a limit, stated in the README"
REASONS = (NO_ESP, NO_MODULE, USER_ESP, NO_HARDWARE, ROOT)


class NotApplicable(Exception):
    """With one of REASONS."""


class Open(Exception):
    """With what the row needs before it can be judged."""


class Failed(Exception):
    """With what was not as promised."""


def must(condition: object, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


@dataclass(frozen=True)
class Row:
    """One file leak_NN_name.py. `provoke(scene)` makes it happen and undoes it. Where the row is about frames that something else than
    the steady flow sends, `attack(scene)` sends them, and on a gateway without a gate the judge must see what `SEEN` matches."""

    number: int
    name: str
    what: str
    module: ModuleType

    @property
    def attack(self) -> "Callable[[Scene], None] | None":
        return getattr(self.module, "attack", None)

    @property
    def control(self) -> "Callable[[Scene], None] | None":
        """What shows the judge the leak once the gate is gone: the row's own control, else its attack, else nothing but the flow."""
        return getattr(self.module, "control", self.attack)

    @property
    def seen(self) -> str:
        return getattr(self.module, "SEEN", "marker readable")

    @property
    def stock(self) -> bool:
        """Whether stock strongSwan with a forward-drop rule can be asked the same."""
        return getattr(self.module, "STOCK", False)


def rows() -> list[Row]:
    found = []
    for path in sorted(FOLDER.glob("leak_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        number, name = re.fullmatch(r"leak_(\d+)_(\w+)", path.stem).groups()  # type: ignore[union-attr]
        found.append(Row(int(number), name, (module.__doc__ or "").strip().splitlines()[0], module))
    return found


class Scene:
    """A lab in which rows are played one after the other, and what they need to provoke something. Who is in the gateway's place
    (penstock, nobody, or stock strongSwan) is the subclass's business."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.gateway, self.isp, self.cloud, self.switch = lab.topology.gateway, lab.topology.isp, lab.topology.cloud, lab.topology.switch
        self.expect: Expectation = lab.expect
        self._extra: list[tuple[Capture, Expectation, list[Frame]]] = []

    # What may be done to the one in the gateway's place; each leaves it to the row to bring things back.

    def kill(self) -> None:
        raise NotImplementedError

    def kill_ike(self, signum: int = signal.SIGKILL) -> None:
        raise NotImplementedError

    def terminate(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def tunnel(self, verb: str) -> None:
        raise NotImplementedError

    def recover(self) -> None:
        """Somebody tore at the gateway: what its owner does then."""
        self.terminate()
        self.start()

    # Tools

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds * min(3.0, self.lab.slowness))

    def of(self, device: Device) -> Namespace:
        return self.lab.topology.of(device)

    def raw(self, device: Device, *frames: bytes, interface: str = "eth0") -> None:
        for frame in frames:
            probe.send_raw(self.of(device), frame, interface, 3)

    def datagram(self, device: Device, target: str, port: int, *, source: str = "", sport: int = 40000, data: bytes = b"") -> bytes:
        """A datagram with the marker from a device to anywhere, as a frame to the gateway."""
        return udp_frame(net.GATEWAY_LAN_MAC, device.mac, source or device.address(6 if ":" in target else 4), target, sport, port,
                         self.lab.marker + data)

    def ip_frame(self, device: Device, packet: bytes) -> bytes:
        return ethernet(net.GATEWAY_LAN_MAC, device.mac, 0x86DD if packet[0] >> 4 == 6 else 0x0800, packet)

    def from_gateway(self, target: str, port: int, *, source: str = "", sport: int = 0, data: bytes = b"", count: int = 3) -> None:
        """A process of the gateway, no service of ours, sends the marker somewhere."""
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with self.gateway.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                if source or sport:
                    sock.bind((source, sport))
                for _ in range(count):
                    sock.sendto(self.lab.marker + data, (target, port))
            except OSError:  # refused on the way out: as good as dropped, the wire decides
                pass

    def in_gateway(self, *argv: str, check: bool = False) -> str:
        return run(list(argv), setup=self.gateway.enter, check=check).stdout

    @contextmanager
    def sysctl(self, settings: dict[str, object]) -> Iterator[None]:
        """Changed from outside for the length of a block."""
        with self.gateway.inside():
            before = {key: Path("/proc/sys/net/" + key).read_text(encoding="ascii").strip() for key in settings}
        self.gateway.sysctl(settings)
        try:
            yield
        finally:
            self.gateway.sysctl(before)

    @contextmanager
    def nft(self, text: str) -> Iterator[None]:
        run(["nft", "-f", "-"], stdin=text, setup=self.gateway.enter)
        try:
            yield
        finally:
            table = re.search(r"table (\w+ \w+)", text)
            assert table
            run(["nft", "delete", "table", *table[1].split()], setup=self.gateway.enter, check=False)

    @contextmanager
    def second_uplink(self, name: str = "wan1") -> Iterator[None]:
        """A wire nobody configured, from the gateway to the provider, with a witness of its own at the far end."""
        mac = "02:00:00:00:52:02"
        self.isp.ip(f"link add up1 type veth peer name {name} address {mac} netns {self.gateway.name}\nlink set up1 up\n"
                    "addr add 198.51.101.1/24 dev up1\naddr add 2001:db8:52::1/64 dev up1 nodad")
        witness = Capture.start(self.isp, "up1", self.lab.directory / "uplink2.pcapng")
        expect = replace(self.lab.expect, uplink_mac=mac, uplink=frozenset({"198.51.101.2", "2001:db8:52::2"}),
                         neighbours=frozenset({"198.51.101.1", "2001:db8:52::1"}))
        frames: list[Frame] = []
        self._extra.append((witness, expect, frames))
        try:
            self.gateway.ip(f"link set {name} up\naddr add 198.51.101.2/24 dev {name}\naddr add 2001:db8:52::2/64 dev {name} nodad")
            yield
            self.sleep(0.05)
            frames += witness.read_new()
        finally:
            witness.child.stop()
            self.isp.ip("link del up1", check=False)

    def cloud_sends(self, target: str, *, source: str = net.TELEMETRY4, port: int = 7777, ttl: int = 64, count: int = 5) -> None:
        """The cloud sends the marker towards a device; through the tunnel, where its selectors cover that."""
        probe.send(self.cloud, source, target, port, self.lab.marker, ttl, count)

    # Judging

    def verdict(self, place: int, spis: set[str]) -> Verdict:
        time.sleep(0.02 * self.lab.slowness)
        self.lab.watch()
        whole = judge(self.lab.frames[place:], self.expect, spis)
        for _, expect, frames in self._extra:
            other = judge(frames, expect, spis)
            whole.clear += [f"second uplink: {detail}" for detail in other.clear]
        self._extra.clear()
        return whole


class Penstock(Scene):
    """The agent in the gateway's place."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.stage = Stage(lab)
        self.agent = lab.agent

    def kill(self) -> None:
        self.agent.kill(self.agent.pid)

    def kill_ike(self, signum: int = signal.SIGKILL) -> None:
        pid = wait_until(self.agent.ike_pid, 5 * self.lab.slowness)
        must(pid, "penstock-ike does not run")
        os.kill(pid, signum)

    def terminate(self) -> None:
        self.agent.stop()

    def start(self) -> None:
        self.agent.start()

    def tunnel(self, verb: str) -> None:
        self.agent.cli("tunnel", verb, "cloud", check=False, timeout=15 * self.lab.slowness)

    def recover(self) -> None:
        """Nothing: the agent puts back what is missing."""
        self.tunnel("up")

    def flow(self, device: Device, target: probe.Target) -> Flow:
        return self.lab.flow(device, target, max(100.0, 500.0 / self.lab.slowness))

    def play(self, row: Row) -> None:
        """Traffic before, the row, traffic after; then the verdict. Raises what went wrong."""
        lab, module = self.lab, row.module
        self.stage.open()
        self.expect = lab.expect
        place = lab.watch()
        with self.flow(THERMOSTAT, READINGS4) as four, self.flow(CAMERA, VIDEO6) as six:
            must(four.wait_for_answers(50, 8 * lab.slowness) and six.wait_for_answers(50, 8 * lab.slowness), "nothing moved before")
            trouble: Exception | None = None
            try:
                (module.provoke if hasattr(module, "provoke") else row.attack)(self)
            except (Failed, LabError, OSError) as error:
                trouble = error
            self.stage.open()
            back = four.wait_for_answers(50, 15 * lab.slowness) and six.wait_for_answers(50, 15 * lab.slowness)
            if back:
                wait_until(lambda: four.answered + six.answered >= DELIVERED, 15 * lab.slowness)
            delivered = four.finish().answered + six.finish().answered
        verdict = self.verdict(place, self.agent.spis())
        must(not verdict.clear, str(verdict))
        if trouble:
            raise Failed(str(trouble)) from trouble
        must(back, "traffic did not come back")
        must(delivered >= DELIVERED, f"only {delivered} packets were delivered")
        must(verdict.esp >= DELIVERED, f"only {verdict.esp} ESP frames on the wire")


class NoGate(Scene):
    """Nobody in the gateway's place: a plain router, on which the judge must see what each row is about."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        lab.cloud.swanctl("--terminate", "--ike", "gateways", "--force", check=False)  # or it would go on encrypting its answers

    def control(self, row: Row) -> None:
        place = self.lab.watch()
        if row.control:
            try:
                row.control(self)
            except (NotApplicable, Open):
                return
        else:
            for device, target in ((THERMOSTAT, READINGS4), (CAMERA, VIDEO6)):
                probe.ask(self.of(device), target, self.lab.marker, self.lab.slowness)
        verdict = self.verdict(place, set())
        must(re.search(row.seen, "\n".join(verdict.clear)), f"control: without a gate the judge saw: {verdict}")


# What people have today: the rule is the one that is recommended for "no clear traffic without IPsec".
FORWARD_DROP = {
    True: "table inet guard { chain forward { type filter hook forward priority 0; policy accept; "
          'iifname "lan0" oifname "wan0" rt ipsec missing drop; }; }',
    False: 'table inet guard { chain forward { type filter hook forward priority 0; policy accept; iifname "lan0" oifname "wan0" drop; }; }',
}


class Stock(Scene):
    """Stock strongSwan and the forward-drop rule in the gateway's place."""

    def __init__(self, lab: Lab, daemon: StockDaemon) -> None:
        super().__init__(lab)
        self.daemon = daemon
        self.spis: set[str] = set()

    def start(self) -> None:
        if not self.daemon.process or self.daemon.process.poll() is not None:
            self.daemon.vici.unlink(missing_ok=True)
            (self.daemon.run_dir / "charon.pid").unlink(missing_ok=True)
            self.daemon.start(10 * self.lab.slowness)
        self.tunnel("up")

    def _end(self, signum: int) -> None:
        assert self.daemon.process
        self.daemon.process.send_signal(signum)
        self.daemon.process.wait(10)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def kill_ike(self, signum: int = signal.SIGKILL) -> None:
        self._end(signum)

    def terminate(self) -> None:
        self._end(signal.SIGTERM)

    def tunnel(self, verb: str) -> None:
        if verb == "up":
            self.daemon.swanctl("--initiate", "--child", "devices", check=False)
        elif verb == "rekey":
            self.daemon.swanctl("--rekey", "--child", "devices", check=False)
        else:
            self.daemon.swanctl("--terminate", "--ike", "cloud", check=False)
        self.note()

    def note(self) -> None:
        self.spis |= self.daemon.spis()["out"]

    def play(self, row: Row) -> str:
        """`holds`, or what the judge saw."""
        self.expect = self.lab.expect
        self.lab.topology.silence_peer(False)
        run(["nft", "-f", "-"], stdin="flush ruleset\n" + FORWARD_DROP[self.lab.kernel_esp], setup=self.gateway.enter)
        self.start()
        place = self.lab.watch()
        rate = max(100.0, 500.0 / self.lab.slowness)
        with self.lab.flow(THERMOSTAT, READINGS4, rate) as four, self.lab.flow(CAMERA, READINGS6, rate) as six:
            if not four.wait_for_answers(50, 8 * self.lab.slowness):
                raise LabError("stock strongSwan carried nothing before")
            (row.module.provoke if hasattr(row.module, "provoke") else row.attack)(self)  # type: ignore[misc]
            four.finish()
            six.finish()
        self.note()
        verdict = self.verdict(place, self.spis)
        # Only what can be read counts: that it also lets the gateway's own frames out is another matter.
        readable = [detail for detail in verdict.clear if detail.endswith("readable")]
        return f"leaks {len(readable)}" if readable else "holds"

