"""The command line as scripts rely on it: the JSON of every command is as agent/cli/README.md says, key by key."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from harness import Case, Desk, must
from lab import probe
from lab.stage import VIDEO4
from lab.system import wait_until
from lab.topology import THERMOSTAT

DOCUMENT = Path(__file__).resolve().parents[2] / "agent/cli/README.md"


def _documented(section: str) -> dict[str, bool]:
    """Key -> whether it is always there."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    must(found, f"no section {section!r} in {DOCUMENT.name}")
    assert found
    keys = {}
    for line in found[1].splitlines():
        cells = line.split("|")
        if len(cells) > 3 and "`" in cells[1]:
            for key in re.findall(r"`([^`]+)`", cells[1]):
                keys[key.rstrip("?")] = not key.endswith("?")
    must(keys, f"no keys in section {section!r}")
    return keys


def _keys(value: Any, path: str = "") -> set[str]:
    """Paths of all members; lists as `[]`."""
    if isinstance(value, dict):
        return set().union(*({f"{path}.{key}".lstrip(".")} | _keys(member, f"{path}.{key}".lstrip(".")) for key, member in value.items()), set())
    if isinstance(value, list):
        plain = {f"{path}[]"} if any(not isinstance(member, (dict, list)) for member in value) else set()
        return plain.union(*(_keys(member, f"{path}[]") for member in value))
    return set()


def _compare(section: str, value: Any, see: dict[str, str] | None = None) -> None:
    """What is printed is documented, and what is documented as always there is printed."""
    documented, printed = _documented(section), _keys(value)
    for key, other in (see or {}).items():  # "see there": documented under another command
        documented.update({name: always for name, always in _documented(other).items() if name == key or name.startswith((f"{key}.", f"{key}["))})

    def covered(key: str) -> bool:
        parent = re.sub(r"\.[^.]*$", ".*", key)
        return key in documented or parent in documented or any(name.startswith((f"{key}.", f"{key}[")) for name in documented)
    unknown = sorted(key for key in printed if not covered(key))
    must(not unknown, f"{section}: not in the document: {unknown}")
    absent = sorted(key for key, always in documented.items() if always and not key.endswith("*") and key not in printed)
    must(not absent, f"{section}: documented but not printed: {absent}")


def json_is_as_documented(desk: Desk) -> None:
    desk.running()
    desk.passes()
    probe.ask(desk.lab.topology.of(THERMOSTAT), VIDEO4, desk.lab.marker, 0.3 * desk.lab.slowness)
    must(wait_until(lambda: desk.agent.json("status")["drops"], 5 * desk.lab.slowness, 0.1), "no drop is counted")
    see = {"gate": "guard status", "tunnels": "tunnel list"}
    _compare("status", desk.agent.json("status"), see)
    _compare("guard status", desk.agent.json("guard", "status"))
    _compare("tunnel list", desk.agent.json("tunnel", "list"))
    _compare("devices", desk.agent.json("devices"))
    _compare("audit verify", desk.agent.json("audit", "verify"))
    _compare("explain", desk.agent.json("explain", "--device", THERMOSTAT.name, "--to", VIDEO4.address, "--proto", "udp", "--port", str(VIDEO4.port)))
    _compare("doctor", json.loads(desk.penstock("doctor", "--config", str(desk.config), "--json").out))
    for bundle in (desk.lab.bundles.make("documented"), desk.lab.bundles.without_readings()):
        _compare("push", desk.agent.json("push", "--dry-run", str(bundle)))
        _compare("push", desk.agent.json("push", str(bundle)))
    desk.stage.push_base()
    drops = [json.loads(line) for line in desk.penstock("events", "--json").out.splitlines() if '"drop"' in line]
    must(drops, "no drop among the events")
    for drop in drops[:20]:
        _compare("events", drop)


def json_of_a_failure(desk: Desk) -> None:
    """The sentence as a value, and nothing else on either stream."""
    for command in (["status"], ["tunnel", "list"], ["push", str(desk.config)]):
        said = desk.penstock(*command, "--json", socket=str(desk.folder / "absent.sock"))
        must(said.code == 1 and not said.err, f"{command}: exit {said.code}, {said.err!r}")
        answer = json.loads(said.out)
        must(set(answer) == {"ok", "error"} and answer["ok"] is False and "not running" in answer["error"], f"{command}: {answer}")


def tables_fit_eighty_columns(desk: Desk) -> None:
    desk.running()
    for command in (["status"], ["devices"], ["tunnel", "list"], ["guard", "status"]):
        said = desk.penstock(*command)
        must(said.code == 0, f"{command}: exit {said.code}: {said.err}")
        longest = max(said.out.splitlines(), key=len)
        must(len(longest) <= 80, f"{command}: {len(longest)} columns: {longest!r}")
        must("\033" not in said.out, f"{command}: colours although it is no terminal")


def status_again_and_again(desk: Desk) -> None:
    """`status --watch` goes on, also while the agent is away; with --json one object a line."""
    desk.running()
    command = [str(desk.agent.binaries / "penstock"), "--socket", str(desk.agent.run_dir / "control.sock"), "status", "--watch", "--interval", "0.2"]
    watch = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    wait_until(lambda: False, 1.0)
    desk.agent.stop()
    wait_until(lambda: False, 0.6 * desk.lab.slowness)
    desk.restart()
    wait_until(lambda: False, 0.6 * desk.lab.slowness)
    watch.terminate()
    answers = [json.loads(line)["ok"] for line in watch.communicate(timeout=10)[0].splitlines()]
    must(answers[0] and not all(answers) and answers[-1], f"not up, away, up again: {answers}")
    desk.passes()


def drops_are_summed_up(desk: Desk) -> None:
    """Hundreds of drops a second are a few lines; a program that asks for JSON gets each."""
    desk.running()
    follow = subprocess.Popen([str(desk.agent.binaries / "penstock"), "--socket", str(desk.agent.run_dir / "control.sock"), "events", "--follow"],
                              stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(10):
            probe.lie(desk.lab.topology.of(THERMOSTAT), THERMOSTAT.mac, THERMOSTAT.v4, VIDEO4, desk.lab.marker, 200)
        wait_until(lambda: False, 2.5)
    finally:
        follow.terminate()
    text = follow.communicate(timeout=10)[0]
    lines = [line for line in text.splitlines() if "drop" in line and THERMOSTAT.name in line]
    summed = [line for line in lines if re.search(r" x\d+ to ", line)]
    must(summed, f"nothing is summed up: {lines[-3:]}")


CASES: dict[str, Case] = {f"command_line_{case.__name__}": case for case in (
    json_is_as_documented, json_of_a_failure, tables_fit_eighty_columns, status_again_and_again, drops_are_summed_up)}
