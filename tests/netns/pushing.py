"""What `penstock push` says and does: the change in words and how long it took."""

from __future__ import annotations

import json
from pathlib import Path

from expect import must
from lab import probe
from lab.stage import READINGS4, Stage
from lab.topology import THERMOSTAT

STEPS = ("verify", "parse", "compile", "tables", "store", "switch", "compare")


def push_says_what_changes(stage: Stage) -> None:
    """A dry run and the push say the words of `bundle diff`, and how long each step took; the dry run changes nothing, on disk neither."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    before, after = lab.bundles.make("before"), lab.bundles.without_readings()
    must(agent.push(before).accepted, "a good bundle was refused")
    words = agent.cli("bundle", "diff", str(before), str(after)).stdout.splitlines()
    must(any("no longer reach" in line for line in words), f"the diff says {words}")
    generation, version = agent.json("guard", "status")["gate"]["generation"], agent.json("status")["policy"]["version"]
    stored = {path: path.read_bytes() for path in Path(agent.state).iterdir() if path.is_file()}
    tried = agent.json("push", "--dry-run", str(after))
    must(tried["changed"] == words, f"dry run: {tried['changed']}, not {words}")
    must(tuple(sorted(tried["took_ms"])) == tuple(sorted(set(STEPS) - {"tables", "store", "switch"})), f"dry run: {tried['took_ms']}")
    must(agent.json("guard", "status")["gate"]["generation"] == generation, "a dry run switched")
    must(agent.json("status")["policy"]["version"] == version, "a dry run changed the policy")
    must({path: path.read_bytes() for path in stored} == stored, "a dry run changed what is stored")
    said = agent.cli("push", str(after)).stdout
    for line in words:
        must(line in said, f"{line!r} is not in {said!r}")
    for step in STEPS:
        must(f"{step} " in said.splitlines()[-1] + said.splitlines()[-2], f"no time of {step} in {said!r}")
    must(probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, stage.refusal).result != probe.ANSWERED, "the right goes on")
    again = agent.json("push", str(after))
    must("already in force" in again["message"] and "changed" not in again, json.dumps(again))
    stage.push_base()


CASES = {case.__name__: case for case in (push_says_what_changes,)}
