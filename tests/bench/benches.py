"""What is measured: which gateways stand side by side, and what each bench makes of them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import memory
from filters import NFTables, Policy
from gateways import Bench, Gateway, Size
from lab.system import LabError, Namespace, run
from results import Row

NAMES = ("forward", "new_flow", "unknown_flood", "tcp", "replace", "memory", "pushes")
PUSHES = 250            # by rounds: ten thousand in 40
ROLES = 100             # of "100 distinct policies"
LINEAR_UP_TO = 1000     # devices: beyond, a list of rules is no picture but a wait
LONG, ENOUGH = 60.0, 3  # seconds of replacing, after which as many rounds are enough


@dataclass(frozen=True)
class Plan:
    devices: list[int]
    families: list[bool]  # IPv6?
    names: list[str]
    rounds: int
    slot: float

    def wants(self, *names: str) -> bool:
        return any(name in self.names for name in names)


class Side:
    """Gateways of one size and family, made when a bench first wants them."""

    def __init__(self, bench: Bench, plan: Plan, size: Size) -> None:
        self.bench, self.plan, self.size = bench, plan, size
        self._gateways: dict[str, Gateway] = {}
        self._policy: Policy | None = None

    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = self.bench.policies(self.size)[0]
        return self._policy

    def gateway(self, name: str) -> Gateway:
        if name not in self._gateways:
            made = self._gateways[name] = Gateway(self.bench, name, self.size)
            rules = NFTables(self.policy(), self.size.ipv6, flowtable=name == "nft_flowtable")
            makers: dict[str, Callable[[], Any]] = {
                "plain": made.plain, "hooks": made.empty, "xdp_drop": made.drop, "penstock": made.penstock,
                "penstock_xdp": lambda: made.penstock("--early-drop"),
                "nft": lambda: made.nftables(rules.ruleset()), "nft_flowtable": lambda: made.nftables(rules.ruleset()),
                "nft_netdev": lambda: made.nftables(rules.early()), "iptables": lambda: made.iptables(self.policy())}
            makers[name]()
        return self._gateways[name]

    def remove(self) -> None:
        for gateway in self._gateways.values():
            gateway.remove()

    def filters(self) -> list[str]:
        """nft, and with a flowtable where the kernel has them."""
        probe = "table ip probe { flowtable fast { hook ingress priority 0; devices = { lan0 }; }\n }\n"
        known = self.gateway("plain").gateway.run(["nft", "-c", "-f", "-"], stdin=probe, check=False).returncode == 0
        return ["nft", "nft_flowtable"] if known else ["nft"]

    def flows(self) -> int:
        """Of a device: conntrack, whose limit is the machine's, must hold all of them."""
        try:
            limit = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text(encoding="ascii"))
        except FileNotFoundError:
            limit = 65536
        return max(1, min(4, limit * 4 // 5 // self.size.devices))

    def rounds(self, command: str, names: list[str], *options: str) -> dict[str, list[dict[str, Any]]]:
        """Interleaved rounds through these gateways: name -> what each round measured."""
        for name in names:
            self.gateway(name)
        asked = [word for name in names for word in ("--gateway", name)]
        asked += [word for name in names if name.startswith("nft") for word in ("--answered", name)]
        asked += ["--encrypted", "penstock"] if "penstock" in names else []
        lines = self.bench.lines(command, *asked, *self.size.arguments(), "--flows", str(self.flows()), "--rounds", str(self.plan.rounds),
                                 "--slot", str(self.plan.slot), *options)
        return {name: [line for line in lines if line["gateway"] == name] for name in names}

    def compare(self, bench: str, base: str, rival: str, measured: dict[str, list[dict[str, Any]]], unit: str = "ns/packet") -> Iterator[Row]:
        cost = {name: [line["cpu_ns"] / max(1, line["packets"]) for line in lines] for name, lines in measured.items()}
        for name, costs in cost.items():
            row = Row(bench, self.size.devices, self.size.ipv6, name, costs, unit=unit)
            row.vs_plain = [plain / own for plain, own in zip(cost[base], costs)] if base in cost else []
            row.vs_nft = [other / own for other, own in zip(cost[rival], costs)] if rival in cost else []
            if unit == "Gbit/s":
                row.samples = [8 / own for own in costs]
            yield row


def passing(measured: dict[str, list[dict[str, Any]]], names: list[str], share: tuple[float, float]) -> None:
    """A filter that drops what it should forward is fast, and measured in vain."""
    for name in names:
        sent, out = (sum(line[key] for line in measured[name]) for key in ("packets", "delivered"))
        if not share[0] <= out / max(1, sent) <= share[1]:
            raise LabError(f"{name}: {out} of {sent} packets came through")


def linear(side: Side) -> list[str]:
    return ["iptables"] if side.size.devices <= LINEAR_UP_TO else []


def forward(side: Side) -> Iterator[Row]:
    names = ["plain", "hooks", "penstock", *side.filters(), *linear(side)]
    measured = side.rounds("traffic", [*names, "xdp_drop"])
    passing(measured, names, (0.99, 1.01))
    passing(measured, ["xdp_drop"], (0, 0))
    yield from side.compare("forward", "plain", "nft", measured)


def new_flow(side: Side) -> Iterator[Row]:
    names = ["plain", "hooks", "penstock", "nft", *linear(side)]
    side.gateway("nft").conntrack(2, 2)  # or its table would be full
    measured = side.rounds("traffic", names, "--new-flows")
    side.gateway("nft").conntrack(300, 3600)
    passing(measured, names, (0.99, 1.01))
    yield from side.compare("new_flow", "plain", "nft", measured)


def unknown_flood(side: Side) -> Iterator[Row]:
    names = ["xdp_drop", "penstock_xdp", "penstock", "nft_netdev", "nft"]
    measured = side.rounds("traffic", names, "--strangers")
    passing(measured, names, (0, 0))
    yield from side.compare("unknown_flood", "xdp_drop", "nft_netdev", measured)


def tcp(side: Side) -> Iterator[Row]:
    measured = side.rounds("tcp", ["plain", "hooks", "penstock", *side.filters()])
    yield from side.compare("tcp", "plain", "nft", measured, unit="Gbit/s")


def replace(bench: Bench, plan: Plan, size: Size, suffix: str) -> Iterator[Row]:
    """The whole policy, by turns: `penstock push` from its first byte to the switch, and `nft -f`."""
    space = Namespace("replace")
    run(["ip", "netns", "add", space.name])
    folder = bench.folder / "replace"
    (folder / "bpf").mkdir(parents=True)
    run(["mount", "-t", "bpf", "bpf", str(folder / "bpf")])
    files = []
    for number, policy in enumerate(bench.policies(size)):
        files.append(folder / f"{number}.nft")
        files[-1].write_text(NFTables(policy, size.ipv6).ruleset(), encoding="ascii")
    argv = [str(bench.program), "replace", "--folder", str(folder), *size.arguments(), "--rounds", str(plan.rounds)]
    pushed: list[float] = []
    loaded: list[float] = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=space.enter) as child:
        assert child.stdin and child.stdout
        try:
            space.run(["nft", "-f", str(files[1])], timeout=900)
            begun = time.monotonic()
            while len(pushed) < min(plan.rounds, ENOUGH) or (len(pushed) < plan.rounds and time.monotonic() - begun < LONG):
                print(file=child.stdin, flush=True)
                answer = child.stdout.readline()
                if not answer:
                    raise LabError("penstock-bench replace has ended")
                pushed.append(float(answer) / 1e6)
                start = time.monotonic()
                space.run(["nft", "-f", str(files[len(loaded) % 2])], timeout=900)
                loaded.append((time.monotonic() - start) * 1e3)
        finally:
            child.stdin.close()
    run(["umount", str(folder / "bpf")], check=False)
    run(["ip", "netns", "del", space.name], check=False)
    shutil.rmtree(folder)
    yield Row("replace", size.devices, size.ipv6, "penstock" + suffix, pushed, vs_nft=[n / p for n, p in zip(loaded, pushed)], unit="ms")
    yield Row("replace", size.devices, size.ipv6, "nft" + suffix, loaded, unit="ms")


def measure(bench: Bench, plan: Plan) -> Iterator[Row]:
    for devices in plan.devices:
        for ipv6 in plan.families:
            own = Size(devices, devices, ipv6)  # every device has its own ten rules
            side = Side(bench, plan, own)
            try:
                for name, run_bench in (("forward", forward), ("new_flow", new_flow), ("unknown_flood", unknown_flood), ("tcp", tcp)):
                    if plan.wants(name):
                        yield from run_bench(side)
            finally:
                side.remove()
            for suffix, size in (("", Size(devices, min(ROLES, devices), ipv6)), ("_own", own)):
                if plan.wants("replace"):
                    yield from replace(bench, plan, size, suffix)
                if plan.wants("memory"):
                    yield from memory.measure(bench, size, suffix)
            if plan.wants("pushes") and devices == min(plan.devices):
                yield from memory.pushes(bench, own, PUSHES * plan.rounds)
