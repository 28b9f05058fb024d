"""Each of the layers 1 to 4 alone: the other three taken away from outside, with penstockd stopped, and the wire stays clean.

Stopped, not dead: nothing heals. Afterwards penstockd goes on and puts everything back, which is looked at too.
Layer 1 passes what a tunnel that is up covers: alone it is asked with the tunnel down.
"""

from __future__ import annotations

from collections.abc import Callable

from expect import must
from lab import probe, sabotage
from lab import topology as net
from lab.stage import READINGS4, READINGS6, Stage
from lab.system import wait_until
from lab.topology import CAMERA, THERMOSTAT

LAYERS: dict[int, Callable[[Stage], None]] = {
    1: lambda stage: _at_least_one(sabotage.detach_programs(stage.lab, ("lan_ingress", "lan_egress")), "layer 1"),
    2: lambda stage: sabotage.remove_routing(stage.lab.topology.gateway),
    3: lambda stage: sabotage.remove_xfrm(stage.lab.topology.gateway),
    4: lambda stage: _at_least_one(sabotage.detach_programs(stage.lab, ("uplink_egress", "uplink_ingress")), "layer 4"),
}


def _at_least_one(detached: int, what: str) -> None:
    must(detached, f"no program of {what} was found to detach")


def _devices_try(stage: Stage) -> None:
    """Both families, what is allowed and what is not, with the marker in every datagram."""
    lab = stage.lab
    for device in (THERMOSTAT, CAMERA):
        for target in (READINGS4, READINGS6):
            probe.ask(lab.topology.of(device), target, lab.marker, 0.3 * lab.slowness)


def _alone(stage: Stage, alone: int, tunnel_up: bool) -> None:
    stage.open()
    lab = stage.lab
    if not tunnel_up:
        lab.agent.cli("tunnel", "down", "cloud")
        must(lab.agent.wait_tunnel("down"), "the tunnel does not go down")
    with lab.agent.stopped():
        for layer, take_away in LAYERS.items():
            if layer != alone:
                take_away(stage)
        sabotage.open_router(lab.topology.gateway)
        place = lab.watch()
        _devices_try(stage)
        verdict = lab.since(place)
        must(not verdict.clear, f"layer {alone} alone: {verdict}")
    _closes_again(stage, latched=False)
    must(wait_until(lambda: probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, lab.slowness).result == probe.ANSWERED, 10 * lab.slowness),
         "no traffic after everything was put back")
    verdict = lab.since(place)
    must(not verdict.clear and verdict.esp, f"while it was put back: {verdict}")


def layer_1_alone(stage: Stage) -> None:
    """LAN ingress without routing, XFRM and uplink egress; the tunnel is down."""
    _alone(stage, 1, tunnel_up=False)


def layer_2_alone(stage: Stage) -> None:
    """The table of our own without programs and XFRM: what layer 1 has not marked has no way."""
    _alone(stage, 2, tunnel_up=True)
    _alone(stage, 2, tunnel_up=False)


def layer_3_alone(stage: Stage) -> None:
    """XFRM's blocks without programs and routing."""
    _alone(stage, 3, tunnel_up=True)
    _alone(stage, 3, tunnel_up=False)


def layer_4_alone(stage: Stage) -> None:
    """Uplink egress without LAN ingress, routing and XFRM."""
    _alone(stage, 4, tunnel_up=True)
    _alone(stage, 4, tunnel_up=False)


def _cloud_sends_while_the_lan_is_down(stage: Stage, alone: int) -> str:
    """The tunnel goes on delivering, and without the LAN the default route is the way to a device. What the witness saw in clear."""
    stage.open()
    lab, gateway = stage.lab, stage.lab.topology.gateway
    with lab.agent.stopped():
        for layer, take_away in LAYERS.items():
            if layer == 3 != alone:
                sabotage.remove_xfrm(gateway, keep_sas=True)
            elif layer != alone:
                take_away(stage)
        sabotage.open_router(gateway)
        gateway.ip("link set lan0 down")
        place = lab.watch()
        for target, source in ((THERMOSTAT.v4, net.TELEMETRY4), (THERMOSTAT.v6, net.TELEMETRY6)):
            probe.send(lab.topology.cloud, source, target, 7777, lab.marker)
        seen = " ".join(lab.since(place).clear)
        gateway.ip(f"link set lan0 up\naddr replace {net.GATEWAY_LAN6}/64 dev lan0 nodad")
    _closes_again(stage, latched=alone == 0 or bool(seen))
    return seen


def nothing_turns_back_while_the_lan_is_down(stage: Stage) -> None:
    """Layers 2, 3 and 4, each alone, with something out of the tunnel for a device whose LAN is gone. With ESP in the kernel, layer 2
    stops the packet, but not the error about it that the kernel sends back and that only 3 and 4 keep from the wire."""
    for layer in (3, 4) if stage.lab.kernel_esp else (2, 3, 4):
        seen = _cloud_sends_while_the_lan_is_down(stage, layer)
        must(not seen, f"layer {layer} alone: {seen}")
    seen = _cloud_sends_while_the_lan_is_down(stage, 0)
    must(THERMOSTAT.v4 in seen or THERMOSTAT.v6 in seen, f"control, no layer at all: the witness saw {seen or 'nothing'}")


def no_layer_at_all(stage: Stage) -> None:
    """Control of the four above: the same with nothing left, and the witness sees both families in clear."""
    stage.open()
    lab = stage.lab
    with lab.agent.stopped():
        for take_away in LAYERS.values():
            take_away(stage)
        sabotage.open_router(lab.topology.gateway)
        place = lab.watch()
        _devices_try(stage)
        seen = " ".join(lab.since(place).clear)
        must(THERMOSTAT.v4 in seen and THERMOSTAT.v6 in seen, f"the witness saw: {seen or 'nothing'}")
    _closes_again(stage, latched=True)


def _closes_again(stage: Stage, latched: bool) -> None:
    """The agent, which goes on, puts every layer back; what the witness in the kernel latched is cleared by hand."""
    agent, patience = stage.lab.agent, 15 * stage.lab.slowness
    if latched:
        must(wait_until(lambda: "the witness saw" in agent.json("status")["gate"].get("problem", ""), patience, 0.02),
             "the witness in the kernel saw nothing")
        agent.cli("guard", "clear-witness")
    must(wait_until(lambda: agent.json("status")["gate"]["state"] == "closed", patience, 0.02),
         f"the gate does not close again: {agent.json('status')['gate']}")
    stage.restart_tunnel()


CASES: dict[str, Callable[[Stage], None]] = {
    "layer_1_alone": layer_1_alone,
    "layer_2_alone": layer_2_alone,
    "layer_3_alone": layer_3_alone,
    "layer_4_alone": layer_4_alone,
    "no_layer_at_all": no_layer_at_all,
    "nothing_turns_back_while_the_lan_is_down": nothing_turns_back_while_the_lan_is_down,
}
