"""Addresses that devices learn: who says first that one is its own, has it; nobody else gets it, and nothing that is no device's."""

from __future__ import annotations

import json

from expect import must
from lab import probe
from lab import topology as net
from lab.probe import ANSWERED, Target
from lab.stage import READINGS4, READINGS6, Stage
from lab.system import Namespace, wait_until
from lab.topology import CAMERA, THERMOSTAT

MOVED = "10.20.0.112"
LEARNING = {f'addresses: [{device.v4}, "{device.v6}"]': "addresses: learn" for device in (THERMOSTAT, CAMERA)}
CAMERA_READS = {"allow: [video] }": "allow: [video, readings] }"}
NOBODYS = ("203.0.113.77", "169.254.7.7", net.GATEWAY_LAN4, net.UPLINK4, "10.20.0.0", "10.20.0.255", "10.30.0.9")


def _addresses(stage: Stage, name: str) -> set[str]:
    return next(set(device["addresses"]) for device in stage.lab.agent.json("devices")["devices"] if device["name"] == name)


def _move(device: Namespace, old: str, new: str) -> None:
    device.ip(f"addr del {old}/24 dev eth0\naddr add {new}/24 dev eth0\nroute replace default via {net.GATEWAY_LAN4}")


def devices_learn_their_addresses(stage: Stage) -> None:
    """Traffic from the first packets on, both families; another address is taken up by itself; what is another device's, the gateway's
    or no device's is refused, in clear nothing leaves; a restart keeps what was learnt."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    thermostat, camera = lab.topology.of(THERMOSTAT), lab.topology.of(CAMERA)
    place = lab.watch()

    def answered(target: Target) -> bool:
        return bool(wait_until(lambda: probe.ask(thermostat, target, lab.marker, 1).result == ANSWERED, 10 * lab.slowness))

    def reaches(device: Namespace, mac: str, source: str) -> bool:
        tag = probe.lie(device, mac, source, READINGS4, lab.marker)
        return bool(wait_until(lambda: lab.echo.was_reached_by(tag), stage.refusal))

    push = agent.push(lab.bundles.make("learning", replace=LEARNING | CAMERA_READS))
    must(push.accepted, push.reason)
    try:
        for target in (READINGS4, READINGS6):
            must(answered(target), f"no answer from {target}: {_addresses(stage, THERMOSTAT.name)}")
        must(_addresses(stage, THERMOSTAT.name) == {THERMOSTAT.v4, THERMOSTAT.v6}, f"learnt: {_addresses(stage, THERMOSTAT.name)}")
        told = [json.loads(line) for line in agent.cli("events", "--json").stdout.splitlines()]
        must(any(event["event"] == "address_learnt" and event["address"] == THERMOSTAT.v4 for event in told), "not told")

        _move(thermostat, THERMOSTAT.v4, MOVED)
        must(answered(READINGS4), "no answer at another address")
        must(not reaches(camera, CAMERA.mac, MOVED), "another device speaks from a learnt address")
        must(not reaches(camera, CAMERA.mac, net.BULB.v4), "a device learns an address that the policy gives to another")
        for address in NOBODYS:
            must(not reaches(camera, CAMERA.mac, address), f"a device learns {address}")
        must(not _addresses(stage, CAMERA.name) & {MOVED, net.BULB.v4, *NOBODYS}, f"learnt: {_addresses(stage, CAMERA.name)}")
        must(wait_until(lambda: reaches(camera, CAMERA.mac, "10.20.0.107"), 5 * lab.slowness), "a free address is not learnt from a packet")
        allowed = agent.json("explain", "--device", CAMERA.name, "--to", READINGS4.address, "--proto", "udp", "--port", "5683")
        must(allowed["allow"], f"explain says: {allowed}")

        agent.stop()
        agent.start()
        must(agent.wait_tunnel("up"), "no tunnel after a restart")
        must({THERMOSTAT.v6, MOVED} <= _addresses(stage, THERMOSTAT.name), "a restart forgets what was learnt")
        must(answered(READINGS4), "no answer after a restart")
    finally:
        thermostat.ip(f"addr del {MOVED}/24 dev eth0", check=False)
        thermostat.ip(f"addr add {THERMOSTAT.v4}/24 dev eth0", check=False)
        thermostat.ip(f"route replace default via {net.GATEWAY_LAN4}", check=False)
        stage.push_base()
    must(answered(READINGS4), "no answer where the addresses are listed again")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp, "nothing moved")
