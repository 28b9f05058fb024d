"""Layer 5: the witness program, alone."""

from __future__ import annotations

import json
import os
import signal
import time

from expect import Skip, must
from lab import probe, sabotage
from lab.lab import Lab
from lab.stage import READINGS4, READINGS6, Stage
from lab.system import mount, run, wait_until
from lab.topology import THERMOSTAT

_LATCH = 2  # enum penstock_gate_entry


def _take_four_layers_away(lab: Lab) -> None:
    """From outside, with the agent unable to notice: hooks, routing, XFRM; what forwards is a plain router."""
    gateway, links = lab.topology.gateway, lab.agent.bpffs / "penstock" / "links"
    for link in links.iterdir():
        run(["bpftool", "link", "detach", "pinned", str(link)], check=False, setup=gateway.enter)
    for interface in ("lan0", "wan0"):
        run(["tc", "-n", gateway.name, "qdisc", "del", "dev", interface, "clsact"], check=False)
    gateway.ip("xfrm policy flush", check=False)
    gateway.ip("xfrm policy setdefault in accept fwd accept out accept", check=False)
    for family in ("-4", "-6"):
        run(["ip", "-n", gateway.name, family, "rule", "flush"], check=False)
        for rule in (["pref", "30000", "lookup", "local"], ["pref", "32766", "lookup", "main"]):
            run(["ip", "-n", gateway.name, family, "rule", "add", *rule], check=False)
    sabotage.open_router(gateway)


def _latched(lab: Lab) -> bool:
    """As the kernel has it; nobody needs to be alive for that."""
    gate = next((lab.agent.bpffs / "penstock").glob("maps-*/gate"))
    entries = json.loads(run(["bpftool", "-j", "map", "dump", "pinned", str(gate)]).stdout)
    for entry in entries:
        found = entry.get("formatted", entry)
        if found["key"] == _LATCH:
            return bool(found["value"])
    return False


def a_frame_in_clear_latches_the_gate(stage: Stage) -> None:
    """Layers 1 to 4 gone and penstockd stopped: the kernel itself remembers the first frame in clear, and nothing passes until it is cleared."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    if (witness := agent.json("status")["gate"]["witness"])["state"] == "absent":
        raise Skip(f"no layer 5: {witness['why']}")
    must(wait_until(lambda: agent.json("status")["gate"]["witness"]["state"] == "watching", 5 * lab.slowness), "the witness does not watch")
    pid = agent.pid
    must(not _latched(lab), "latched before anything happened")
    os.kill(pid, signal.SIGSTOP)
    try:
        _take_four_layers_away(lab)
        place = lab.watch()
        for target in (READINGS4, READINGS6):
            probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, lab.slowness)
        verdict = lab.since(place)
        must(verdict.clear, f"no frame left in clear, so nothing was shown: {verdict}")
        must(_latched(lab), f"{len(verdict.clear)} frames in clear, and the gate is not latched")
    finally:
        os.kill(pid, signal.SIGCONT)
    must(wait_until(lambda: agent.json("status")["gate"]["state"] == "problem", 5 * lab.slowness), "the status does not say it")
    must(wait_until(lambda: all(one["guarded"] for one in agent.json("status")["gate"]["interfaces"] if one["role"] != "tunnel"), 5 * lab.slowness),
         "the layers are not put back")
    gate = agent.json("status")["gate"]
    first = gate["witness"]["first"]  # of whichever device was first: the LAN is not quiet
    must("10.20.0." in first or "fd20:" in first or "203.0.113." in first or "2001:db8:203:" in first, f"witness: {gate['witness']}")
    for target in (READINGS4, READINGS6):
        place = lab.watch()
        answer = probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, stage.refusal)
        verdict = lab.since(place)
        must(answer.result != probe.ANSWERED and not verdict.clear and not verdict.esp, f"after a frame in clear, {target}: {answer.result}, {verdict}")
    stage.notes["witness"] = first
    agent.cli("guard", "clear-witness")
    stage.restart_tunnel()
    must(agent.json("status")["gate"]["state"] == "closed", "cleared, and still not well")
    for target in (READINGS4, READINGS6):
        must(probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, f"{target} after it was cleared")


def a_latch_outlives_a_reboot(stage: Stage) -> None:
    """Everything that was pinned is gone, as after power-up; what the witness saw is not, until an operator clears it."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    if (witness := agent.json("status")["gate"]["witness"])["state"] == "absent":
        raise Skip(f"no layer 5: {witness['why']}")

    def problem() -> str:
        return str(agent.json("status")["gate"].get("problem", ""))

    def power_cycle() -> None:
        agent.stop()
        agent.lose_bpffs()
        mount("bpf", str(agent.bpffs), "bpf")
        agent.start()

    gate = next((agent.bpffs / "penstock").glob("maps-*/gate"))
    run(["bpftool", "map", "update", "pinned", str(gate), "key", str(_LATCH), "0", "0", "0", "value", "1", "0", "0", "0"])
    must(wait_until(lambda: "the witness saw" in problem(), 5 * lab.slowness), "the latch is not noticed")
    power_cycle()
    must("the witness saw" in problem() and _latched(lab), f"forgotten by a reboot: {agent.json('status')['gate']}")
    answer = probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, stage.refusal)
    must(answer.result != probe.ANSWERED, "forwarded after a reboot")
    agent.cli("guard", "clear-witness")
    power_cycle()
    must(agent.json("status")["gate"]["state"] == "closed", "cleared, and remembered all the same")
    stage.restart_tunnel()


def clearing_the_witness_puts_no_released_gate_up(stage: Stage) -> None:
    """The guard was released: to forget what the witness saw is to forget it, and nothing else, until penstockd starts again."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    if (witness := agent.json("status")["gate"]["witness"])["state"] == "absent":
        raise Skip(f"no layer 5: {witness['why']}")
    gate = next((agent.bpffs / "penstock").glob("maps-*/gate"))
    agent.cli("guard", "release", "--yes")
    try:
        run(["bpftool", "map", "update", "pinned", str(gate), "key", str(_LATCH), "0", "0", "0", "value", "1", "0", "0", "0"])
        agent.cli("guard", "clear-witness")
        must(not _latched(lab), "cleared, and still latched")
        time.sleep(1.5)  # longer than penstockd waits before it looks again
        must(agent.json("status")["gate"]["state"] == "released", "the gate was released, and is up again")
        rules = run(["ip", "-n", lab.topology.gateway.name, "rule"]).stdout
        must("unreachable" not in rules and " 20480" not in rules, f"the gate was released, and its rules are back: {rules}")
    finally:
        agent.stop()
        agent.start()
    stage.restart_tunnel()
    must(agent.json("status")["gate"]["state"] == "closed", "started again, and the gate is not closed")
