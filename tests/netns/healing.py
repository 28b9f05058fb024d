"""Somebody tears at the gate: what is taken away comes back, is told and counted; what cannot come back stops the forwarding."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from expect import Skip, must
from lab import probe
from lab import topology as net
from lab.bpf import PassAll
from lab.stage import READINGS4, READINGS6, Stage
from lab.system import Namespace, mount, run, umount, wait_until
from lab.topology import THERMOSTAT

ANNOUNCED_LIMIT = 3.0  # seconds; the figures are reported, and a busy machine must not make a failure of them
COMPARISON_LIMIT = 4.0
Tear = Callable[[], object]
Look = Callable[[], object]


def _ip(gateway: Namespace, *words: str) -> str:
    return run(["ip", "-n", gateway.name, *words], check=False).stdout


def _policies(gateway: Namespace) -> str:
    """Every policy by direction, selector and priority, without the sockets' own."""
    lines = [line.strip() for line in _ip(gateway, "xfrm", "policy", "show", "nosock").splitlines()]
    return "\n".join(sorted(f"{a} {b}" for a, b in zip(lines, lines[1:]) if a.startswith("src ") and b.startswith("dir ")))


def _rules(gateway: Namespace, family: str) -> list[str]:
    return [line for line in _ip(gateway, family, "rule").splitlines() if int(line.split(":")[0]) < 100]


def _flush_rules(gateway: Namespace, family: str) -> None:
    """`ip rule flush` takes the system's own along; those are the operator's to mend."""
    _ip(gateway, family, "rule", "flush")
    _ip(gateway, family, "rule", "add", "pref", "32766", "lookup", "main")


def _sysctl(gateway: Namespace, key: str) -> str:
    with gateway.inside():
        return Path("/proc/sys/net", key).read_text(encoding="ascii").strip()


def _filters(gateway: Namespace, interface: str) -> list[str]:
    """Names of the programs on clsact."""
    shown = "".join(run(["tc", "-n", gateway.name, "filter", "show", "dev", interface, way], check=False).stdout for way in ("ingress", "egress"))
    return sorted(re.findall(r" (\w+_(?:in|e)gress)\b", shown))


def _maps(stage: Stage) -> Path:
    """The folder of this version's map pins."""
    return next(stage.lab.agent.bpffs.glob("penstock/maps-*"))


def _repairs(stage: Stage) -> int:
    return int(stage.lab.agent.json("status")["gate"]["repairs"])


def _mended(stage: Stage, name: str, look: Look, tear: Tear, limit: float) -> float:
    """How long until what `look` shows is as before. Fails if the tear changed nothing, or if no repair was counted and told."""
    before, counted = look(), _repairs(stage)
    moment = time.monotonic()
    tear()
    must(wait_until(lambda: look() == before, limit * stage.lab.slowness, 0.002), f"{name}: not put back")
    took = time.monotonic() - moment
    must(wait_until(lambda: _repairs(stage) > counted, 2 * stage.lab.slowness), f"{name}: no repair counted")
    return took


def _is_closed(stage: Stage) -> bool:
    return stage.lab.agent.json("status")["gate"]["state"] == "closed"


def _wait_closed(stage: Stage, seconds: float, name: str) -> None:
    must(wait_until(lambda: _is_closed(stage), seconds * stage.lab.slowness, 0.05), f"{name}: the gate does not close again")


def heals_what_netlink_announces(stage: Stage) -> None:
    """Rules, routes, policies, defaults, forwarding (and clsact where that is the hook) flushed in mid-flow: back in milliseconds, no clear frame."""
    stage.open()
    lab, gateway = stage.lab, stage.lab.topology.gateway
    table = ("table", "20480")
    tears: list[tuple[str, Look, Tear]] = [
        ("ip rule flush", lambda: _rules(gateway, "-4"), lambda: _flush_rules(gateway, "-4")),
        ("ip -6 rule flush", lambda: _rules(gateway, "-6"), lambda: _flush_rules(gateway, "-6")),
        ("ip route flush", lambda: sorted(_ip(gateway, "route", "show", *table).splitlines()), lambda: _ip(gateway, "route", "flush", *table)),
        ("ip -6 route flush", lambda: sorted(_ip(gateway, "-6", "route", "show", *table).splitlines()), lambda: _ip(gateway, "-6", "route", "flush", *table)),
        ("xfrm policy flush", lambda: _policies(gateway), lambda: _ip(gateway, "xfrm", "policy", "flush")),
        ("xfrm setdefault", lambda: _ip(gateway, "xfrm", "policy", "getdefault"), lambda: _ip(gateway, "xfrm", "policy", "setdefault", "fwd", "accept")),
        ("an allow policy", lambda: _policies(gateway),
         lambda: _ip(gateway, "xfrm", "policy", "add", "src", "0.0.0.0/0", "dst", "203.0.113.0/24", "dir", "fwd", "action", "allow", "priority", "5")),
        ("a policy whose SA is optional", lambda: _policies(gateway),
         lambda: gateway.ip("xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir fwd tmpl proto esp mode tunnel level use")),
        ("a device to anywhere", lambda: _policies(gateway),
         lambda: gateway.ip("xfrm policy add src 10.20.0.0/24 dst 192.88.99.0/24 dir fwd action allow priority 2147483647")),
        ("lan0 forwarding", lambda: _sysctl(gateway, "ipv4/conf/lan0/forwarding"), lambda: gateway.sysctl({"ipv4/conf/lan0/forwarding": 0})),
        ("IPv6 forwarding", lambda: _sysctl(gateway, "ipv6/conf/all/forwarding"), lambda: gateway.sysctl({"ipv6/conf/all/forwarding": 0})),
    ]
    if lab.agent.json("status")["gate"]["hooks"] == "clsact":
        tears += [(f"clsact of {interface}", lambda i=interface: _filters(gateway, i), lambda i=interface: run(["tc", "-n", gateway.name, "qdisc", "del", "dev", i, "clsact"]))
                  for interface in ("lan0", "wan0")]
    place, figures = lab.watch(), {}
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 4) as flow:
        must(flow.wait_for_answers(20, 5 * lab.slowness), "no steady flow")
        for name, look, tear in tears:
            figures[name] = _mended(stage, name, look, tear, ANNOUNCED_LIMIT)
            _wait_closed(stage, 3, name)
        must(flow.wait_for_answers(20, 10 * lab.slowness), "traffic is not back")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp, "nothing moved")
    told = [json.loads(line) for line in lab.agent.cli("events", "--json").stdout.splitlines()]
    layers = {event["layer"] for event in told if event["event"] == "repaired"}
    must({"rules", "routes", "policies", "defaults", "forwarding"} <= layers, f"told of repairs of {layers} only")
    stage.notes["put back, ms"] = ", ".join(f"{name} {1000 * took:.0f}" for name, took in figures.items())


def heals_what_nobody_announces(stage: Stage) -> None:
    """tcx links detached or unpinned, a stranger's program in front of ours, map pins, silent sysctls: found by comparing."""
    stage.open()
    lab, gateway, agent = stage.lab, stage.lab.topology.gateway, stage.lab.agent
    tcx = agent.json("status")["gate"]["hooks"] == "tcx"
    links, maps = agent.bpffs / "penstock/links", _maps(stage)

    def pins(folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    tears: list[tuple[str, Look, Tear]] = [
        ("disable_xfrm", lambda: _sysctl(gateway, "ipv4/conf/wan0/disable_xfrm"), lambda: gateway.sysctl({"ipv4/conf/wan0/disable_xfrm": 1})),
        ("disable_policy", lambda: _sysctl(gateway, "ipv4/conf/lan0/disable_policy"), lambda: gateway.sysctl({"ipv4/conf/lan0/disable_policy": 1})),
        ("route_localnet", lambda: _sysctl(gateway, "ipv4/conf/lan0/route_localnet"), lambda: gateway.sysctl({"ipv4/conf/lan0/route_localnet": 1})),
        ("send_redirects", lambda: _sysctl(gateway, "ipv4/conf/wan0/send_redirects"), lambda: gateway.sysctl({"ipv4/conf/wan0/send_redirects": 1})),
        ("a map's pin", lambda: pins(maps), (maps / "sas").unlink),
    ]
    if tcx:
        egress = next(path for path in links.iterdir() if path.name.endswith("uplink_egress"))
        tears.append(("a link's pin", lambda: pins(links), egress.unlink))
    figures = {name: _mended(stage, name, look, tear, COMPARISON_LIMIT) for name, look, tear in tears}
    place = lab.watch()
    for interface, direction in (("wan0", "egress"), ("lan0", "ingress"), ("lan0", "egress")):
        counted, moment = _repairs(stage), time.monotonic()
        stranger = PassAll(gateway, interface, direction, tcx)
        must(wait_until(lambda: _repairs(stage) > counted, COMPARISON_LIMIT * lab.slowness, 0.01), f"a program before ours on {interface} {direction} was not noticed")
        figures[f"first on {interface} {direction}"] = time.monotonic() - moment
        _wait_closed(stage, 3, "a stranger in front")
        must(probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, "no traffic")
        stranger.close()
    if tcx:
        for path in sorted(links.iterdir()):
            counted, moment = _repairs(stage), time.monotonic()
            run(["bpftool", "link", "detach", "pinned", str(path)], setup=gateway.enter)
            must(wait_until(lambda: _repairs(stage) > counted, COMPARISON_LIMIT * lab.slowness, 0.01), f"{path.name} was not attached again")
            figures[f"detached {path.name.split('-')[1]}"] = time.monotonic() - moment
    _wait_closed(stage, 3, "after all")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(probe.ask(lab.topology.of(THERMOSTAT), READINGS6, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, "no traffic afterwards")
    stage.notes["found by comparing, ms"] = ", ".join(f"{name} {1000 * took:.0f}" for name, took in figures.items())


def two_managers_fight(stage: Stage) -> None:
    """Somebody removes a rule whenever it comes back: said once, slowed down, nothing forwarded; over when he stops."""
    stage.open()
    lab, gateway, agent = stage.lab, stage.lab.topology.gateway, stage.lab.agent
    rule = ["pref", "11", "iif", "lan0", "lookup", "20480"]

    def there() -> bool:
        return "iif lan0 lookup 20480" in _ip(gateway, "rule")

    place, removed, end = lab.watch(), 0, time.monotonic() + 6 * lab.slowness
    while time.monotonic() < end:
        if wait_until(there, 0.3):
            _ip(gateway, "rule", "del", *rule)
            removed += 1
    gate = agent.json("status")["gate"]
    must(gate["state"] == "problem" and gate["fights"], f"not recognised: {gate}")
    must(removed < 5 + 2 + 1.5 * 6 * lab.slowness, f"put back {removed} times: not slowed down")
    must(_sysctl(gateway, "ipv4/conf/lan0/forwarding") == "0", "forwarding is on in a fight")
    answer = probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 0.5 * lab.slowness)
    must(answer.result != probe.ANSWERED, "forwarded in a fight")
    told = [json.loads(line)["event"] for line in agent.cli("events", "--json").stdout.splitlines()]
    must(told.count("fight") == 1, f"said {told.count('fight')} times")
    _wait_closed(stage, 14, "the fight is over")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(wait_until(lambda: probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, lab.slowness).result == probe.ANSWERED, 5 * lab.slowness), "no traffic afterwards")


def what_cannot_be_repaired_stops_forwarding(stage: Stage) -> None:
    """bpffs unmounted under the agent, a stranger's rule before ours: forwarding off, status red; heals when the cause is gone.
    All that was pinned in the old bpffs lives on meanwhile, as somebody (here: this case) still holds it."""
    stage.open()
    lab, gateway, agent = stage.lab, stage.lab.topology.gateway, stage.lab.agent

    def broken() -> bool:
        return agent.json("status")["gate"]["state"] == "problem" and _sysctl(gateway, "ipv4/conf/lan0/forwarding") == "0"

    had_witness = agent.json("status")["gate"]["witness"]["state"] != "absent"
    old_bpffs = os.open(agent.bpffs, os.O_RDONLY)
    place = lab.watch()
    for name, tear, mend in (("bpffs unmounted", lambda: umount(str(agent.bpffs)), lambda: mount("bpf", str(agent.bpffs), "bpf")),
                             ("a rule before ours", lambda: _ip(gateway, "rule", "add", "pref", "5", "from", "10.20.0.0/24", "lookup", "main"),
                              lambda: _ip(gateway, "rule", "del", "pref", "5"))):
        tear()
        must(wait_until(broken, 4 * lab.slowness, 0.05), f"{name}: not noticed")
        must(agent.cli("status").stdout.count("problem"), f"{name}: the status does not say so")
        answer = probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 0.5 * lab.slowness)
        must(answer.result != probe.ANSWERED, f"{name}: still forwarded")
        mend()
        _wait_closed(stage, 5, name)
        must(wait_until(lambda: probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, lab.slowness).result == probe.ANSWERED, 5 * lab.slowness),
             f"{name}: no traffic afterwards")
        witness = agent.json("status")["gate"]["witness"]
        must(not had_witness or witness["state"] != "absent", f"{name}: {witness}")
    os.close(old_bpffs)
    must(any(_maps(stage).iterdir()), "the maps are not pinned again")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))


def foreign_sas_go(stage: Stage) -> None:
    """Somebody else's SA with a reqid of ours would be believed: it is taken away. One with another reqid stays, and so do ours."""
    stage.open()
    lab, gateway, agent = stage.lab, stage.lab.topology.gateway, stage.lab.agent
    if not lab.kernel_esp:
        raise Skip("this kernel has no ESP")
    aead = f"mode tunnel aead rfc4106(gcm(aes)) 0x{'5a' * 36} 128"
    for spi, reqid in (("0x00001001", 1), ("0x00001002", 16), ("0x00001003", 99)):
        gateway.ip(f"xfrm state add src {net.CLOUD4} dst {net.UPLINK4} proto esp spi {spi} reqid {reqid} {aead}")
    try:
        must(wait_until(lambda: not {"0x00001001", "0x00001002"} & set(_ip(gateway, "xfrm", "state").split()), 3 * lab.slowness, 0.05),
             "they are still there")
        must("0x00001003" in _ip(gateway, "xfrm", "state"), "an SA that is none of our business is gone")
        must("foreign_sa_deleted" in agent.cli("events", "--json").stdout, "nobody is told")
        answer = probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 2 * lab.slowness)
        must(answer.result == probe.ANSWERED, f"our own SAs: {answer.result}")
    finally:
        gateway.ip(f"xfrm state delete src {net.CLOUD4} dst {net.UPLINK4} proto esp spi 0x00001003", check=False)


CASES: dict[str, Callable[[Stage], None]] = {
    "foreign_sas_go": foreign_sas_go,
    "heals_what_netlink_announces": heals_what_netlink_announces,
    "heals_what_nobody_announces": heals_what_nobody_announces,
    "two_managers_fight": two_managers_fight,
    "what_cannot_be_repaired_stops_forwarding": what_cannot_be_repaired_stops_forwarding,
}
