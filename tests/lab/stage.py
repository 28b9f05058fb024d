"""A lab with its agent running, on which scenes are played; what each one showed becomes a row a person can read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from . import probe
from . import topology as net
from .flow import FlowReport
from .hub import STORED
from .lab import Lab
from .probe import ANSWERED, Target
from .system import LabError, Namespace, wait_until
from .topology import Device
from .witness import Verdict

READINGS4, READINGS6 = Target(net.TELEMETRY4, "udp", 5683), Target(net.TELEMETRY6, "udp", 5683)
TELEMETRY4, TELEMETRY6 = Target(net.TELEMETRY4, "tcp", 8883), Target(net.TELEMETRY6, "tcp", 8883)
VIDEO4, VIDEO6 = Target(net.VIDEO4, "udp", 4000), Target(net.VIDEO6, "udp", 4000)


@dataclass(frozen=True)
class Row:
    """One line of the table. `why` is empty where everything was as expected."""

    device: str
    flow: str
    policy: str
    observed: str
    witness: str
    why: str = ""

    @property
    def ok(self) -> bool:
        return not self.why

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


class Stage:
    """Plays scenes and collects rows. Scenes leave the stage as they found it: agent up, tunnel up, base policy in force."""

    def __init__(self, lab: Lab, on_row: Callable[[Row], None] = lambda row: None) -> None:
        self.lab, self.on_row = lab, on_row
        self.rows: list[Row] = []
        self.notes: dict[str, str] = {}
        self._opened = False

    # Rows

    def row(self, device: str, flow: str, policy: str, observed: str, verdict: Verdict | None, *problems: str) -> Row:
        """Whatever else is expected, a clear frame spoils any row."""
        wrong = [problem for problem in problems if problem]
        if verdict and verdict.clear:
            wrong.insert(0, str(verdict))
        row = Row(device, flow, policy, observed, str(verdict) if verdict else "-", "; ".join(wrong))
        self.rows.append(row)
        self.on_row(row)
        return row

    def ask(self, device: Device, target: Target, policy: str, allowed: bool, tried: str = "") -> Row:
        """One honest attempt by a device."""
        place = self.lab.watch()
        answer = probe.ask(self.lab.topology.of(device), target, self.lab.marker, 2.0 * self.lab.slowness if allowed else self.refusal)
        verdict = self.lab.since(place)
        problems = []
        if allowed:
            problems = ["" if answer.result == ANSWERED else "not answered", "" if verdict.esp else "no ESP on the wire"]
        else:
            problems = [*self._nothing(verdict, answer.tag), "answered" if answer.result == ANSWERED else ""]
        return self.row(device.name, tried or str(target), policy, answer.result, verdict, *problems)

    def lie(self, sender: Device, tried: str, mac: str, source: str, target: Target, policy: str) -> Row:
        """Datagrams that lie about who sent them."""
        place = self.lab.watch()
        tag = probe.lie(self.lab.topology.of(sender), mac, source, target, self.lab.marker)
        time.sleep(self.refusal / 2)
        verdict = self.lab.since(place)
        problems = self._nothing(verdict, tag)
        return self.row(sender.name, tried, policy, "reached the cloud" if problems[1] else "dropped", verdict, *problems)

    def use(self, device: Device, tried: str, policy: str, attempt: Callable[[Namespace, float], str], allowed: bool) -> Row:
        """One attempt with a real client, which says `stored` only if the server did."""
        place = self.lab.watch()
        result = attempt(self.lab.topology.of(device), 3.0 * self.lab.slowness if allowed else 2 * self.refusal)
        verdict = self.lab.since(place)
        if allowed:
            problems = ["" if result == STORED else "not stored", "" if verdict.esp else "no ESP on the wire"]
        else:
            # Where policy requires TLS, a connection may be made: what it asks for is known when the first data comes.
            problems = ["it left in ESP" if verdict.esp and not policy.startswith("require TLS") else "", "stored" if result == STORED else ""]
        return self.row(device.name, tried, policy, result, verdict, *problems)

    def _nothing(self, verdict: Verdict, tag: bytes) -> list[str]:
        return ["it left in ESP" if verdict.esp else "", "it reached the cloud" if self.lab.echo.was_reached_by(tag) else ""]

    # Getting ready

    @property
    def refusal(self) -> float:
        """How long no answer means refused; what is allowed is answered in a fraction of it, also on slow machines."""
        return 0.3 * min(2.0, self.lab.slowness)

    @property
    def used_agent(self) -> bool:
        return self.lab.has_agent and self.lab.agent.log.exists()

    @property
    def rate(self) -> float:
        return max(150.0, 1000.0 / self.lab.slowness)

    def open(self) -> None:
        """Agent running with the base policy, tunnel up, traffic proven to move. Cheap when that is so already."""
        agent = self.lab.agent
        if not self._opened:
            agent.start()
            self.push_base()
            self._opened = True
        if not agent.wait_tunnel("up"):
            agent.cli("tunnel", "up", "cloud", check=False, timeout=10 * self.lab.slowness)
            if not agent.wait_tunnel("up"):
                raise LabError(f"the tunnel does not come up: {agent.last_words()}")

    def opened(self) -> None:
        self._opened = True

    def after_failure(self) -> None:
        """A case that failed must not fail the next ones too, by what it let out in clear or by its policy. After one that passed, a latch
        stays, and is found."""
        if self.used_agent:
            with contextlib.suppress(LabError):
                self.lab.agent.cli("guard", "clear-witness", check=False)
                self.push_base()

    def push_base(self) -> None:
        push = self.lab.agent.push(self.lab.bundles.make("base"))
        if not push.accepted:
            raise LabError(f"the base policy was refused: {push.reason}")

    def restart_tunnel(self) -> None:
        """Start negotiating anew rather than wait for a retransmission."""
        self.lab.agent.cli("tunnel", "down", "cloud", check=False, timeout=10 * self.lab.slowness)
        self.lab.agent.cli("tunnel", "up", "cloud", check=False, timeout=10 * self.lab.slowness)
        self.open()

    # Killing

    def kill(self, pid: int, device: Device, target: Target) -> tuple[FlowReport, float | None, Verdict]:
        """kill -9 in mid-flow; ends when traffic is back for a while and at least 1,000 datagrams were answered."""
        lab = self.lab
        place = lab.watch()
        with lab.flow(device, target, self.rate) as flow:
            if not flow.wait_for_answers(300, 10 * lab.slowness):
                raise LabError(f"no steady flow before the kill: {flow.answered} of {flow.sent} answered")
            moment = lab.agent.kill(pid)
            flow.wait_for_sent(int(self.rate), 10 * lab.slowness)
            if flow.wait_for_answers(200, 12 * lab.slowness):
                wait_until(lambda: flow.answered >= 1000, 10 * lab.slowness)
                flow.wait_for_answers(100, 2 * lab.slowness)
            report = flow.finish()
        return report, report.gap_after(moment), lab.since(place)

    def play(self, scene: Callable[["Stage"], None]) -> list[Row]:
        """One scene; a lab that fails in the middle of it is a failed row, not an excuse."""
        first = len(self.rows)
        try:
            scene(self)
        except (LabError, OSError, ValueError, KeyError) as error:
            self.row("-", scene.__name__.replace("_", " "), "-", "the scene could not be played", None, str(error))
        finally:
            self.lab.topology.silence_peer(False)
        return self.rows[first:]

