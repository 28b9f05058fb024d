"""What leaves the gateway about a device is pseudonymous, unless the operator says otherwise, and who looked behind it is on record."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

from expect import must
from lab import probe
from lab.probe import ANSWERED
from lab.stage import READINGS4, READINGS6, VIDEO4, Stage
from lab.system import wait_until
from lab.topology import CAMERA, DEVICES, INTRUDER, THERMOSTAT
from learning import CAMERA_READS, LEARNING

CLAIMED = "10.20.0.107"  # by the camera
STRANGE = "198.18.7.77"  # so does somebody who is not even of this network
TELLING = [text for device in DEVICES for text in (device.mac, device.v4, device.v6)] + [CLAIMED, STRANGE, READINGS4.address, READINGS6.address]


def _restart(stage: Stage, identities: str) -> None:
    agent = stage.lab.agent
    agent.stop()
    agent.configure(stage.lab.authority, stage.lab.bundles.root(), identities=identities)
    agent.start()
    must(agent.wait_tunnel("up"), f"no tunnel with identities = {identities!r}")


def _everything_said(stage: Stage, log_before: int) -> dict[str, str]:
    """Every output of the gateway by its name."""
    agent = stage.lab.agent
    commands = [("status",), ("devices",), ("devices", THERMOSTAT.name), ("events",), ("tunnel", "list"), ("guard", "status"), ("audit", "show"),
                ("audit", "verify"), ("doctor", "--config", str(agent.etc / "penstock.toml")),
                ("explain", "--device", THERMOSTAT.name, "--to", "203.0.113.77", "--proto", "udp", "--port", "5683"),
                ("explain", "--device", CAMERA.name, "--from", "203.0.113.77", "--proto", "tcp", "--port", "22")]
    said = {"journal": agent.log.read_text(errors="replace")[log_before:]}
    for command in commands:
        for form in (command, (*command, "--json")):
            done = agent.cli(*form, check=False)
            said[" ".join(form)] = done.stdout + done.stderr
    said["devices, guessed"] = _guess(agent.run_dir / "control.sock")
    return said


def _guess(control: Path) -> str:
    """What devices answers to somebody who says addresses, to see which of them it knows."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(control))
        client.sendall(json.dumps({"op": "devices", "guess": THERMOSTAT.v4, "to": THERMOSTAT.v6, "device": CAMERA.v4}).encode() + b"\n")
        with client.makefile() as answer:
            return answer.readline()


def _told(text: str) -> list[str]:
    """Which of the lab's addresses it says, not as a part of another one."""
    return [one for one in TELLING if re.search(rf"(?<![0-9a-f:.]){re.escape(one)}(?![0-9a-f:]|\.[0-9])", text, re.IGNORECASE)]


def _live(stage: Stage) -> None:
    """Traffic that is allowed and that is dropped, strangers, and addresses that are learnt and refused."""
    lab = stage.lab
    thermostat, camera, intruder = (lab.topology.of(device) for device in (THERMOSTAT, CAMERA, INTRUDER))
    must(lab.agent.push(lab.bundles.make("private", replace=LEARNING | CAMERA_READS)).accepted, "refused")
    for target in (READINGS4, READINGS6):
        must(wait_until(lambda: probe.ask(thermostat, target, lab.marker, 1).result == ANSWERED, 10 * lab.slowness), f"no answer from {target}")
    probe.lie(camera, CAMERA.mac, CLAIMED, READINGS4, lab.marker)
    probe.lie(camera, CAMERA.mac, THERMOSTAT.v4, READINGS4, lab.marker)
    probe.lie(camera, CAMERA.mac, STRANGE, READINGS4, lab.marker)
    probe.lie(thermostat, THERMOSTAT.mac, THERMOSTAT.v4, VIDEO4, lab.marker)
    probe.lie(intruder, INTRUDER.mac, INTRUDER.v4, READINGS4, lab.marker)
    must(wait_until(lambda: '"not_allowed"' in lab.agent.cli("events", "--json").stdout, 5 * lab.slowness), "no drop was told")


def identities_stay_inside(stage: Stage) -> None:
    """Neither journal nor any answer names a MAC or IP address of a device, whatever happens; the same pseudonyms after a restart; with
    --reveal devices, events and audit show name them, and each time is on record."""
    stage.open()
    agent = stage.lab.agent
    _restart(stage, "pseudonyms")
    log_before = len(agent.log.read_text(errors="replace"))
    try:
        _live(stage)
        said = _everything_said(stage, log_before)
        for name, text in said.items():
            must(text.strip() or name.startswith("audit show"), f"{name} says nothing")
            must(not _told(text), f"{name} tells {_told(text)}: " + next((line for line in text.splitlines() if _told(line)), ""))
        must(re.search(r"event=address_learnt address=ip-[0-9a-f]{10}\b.* device=thermostat-12", said["journal"]), "no pseudonym in the journal")
        macs = {one["name"]: one["mac"] for one in agent.json("devices")["devices"]}
        must(re.fullmatch(r"mac-[0-9a-f]{10}", macs[THERMOSTAT.name]), f"{macs}")
        must(len(set(macs.values())) == len(macs), f"two devices have one pseudonym: {macs}")
        must(any("mac-" in line and '"drop"' in line for line in said["events --json"].splitlines()), "no pseudonym of a stranger")

        revealed = agent.json("devices", "--reveal")["devices"]
        must({THERMOSTAT.mac, CAMERA.mac} <= {one["mac"] for one in revealed}, f"{revealed}")
        events = agent.cli("events", "--json", "--reveal").stdout
        must(INTRUDER.mac in events and CLAIMED in events and READINGS4.address in events, "events --reveal hides something")
        agent.cli("audit", "show", "--reveal")
        records = [json.loads(line) for line in agent.cli("audit", "show", "--json", "--event", "identities_revealed").stdout.splitlines()]
        must([(one["in"], one["uid"]) for one in records[-3:]] == [("devices", 0), ("events", 0), ("audit", 0)], f"on record: {records[-3:]}")

        agent.stop()
        agent.start()
        must({one["name"]: one["mac"] for one in agent.json("devices")["devices"]} == macs, "other pseudonyms after a restart")
    finally:
        _restart(stage, "full")
        stage.push_base()
