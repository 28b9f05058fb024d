"""What `penstock push` says and does: the change in words, how long it took, and the way back of a policy that is not well."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from expect import Skip, must
from lab import probe
from lab.stage import READINGS4, Stage
from lab.system import wait_until
from lab.topology import CAMERA, THERMOSTAT

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


def _policy(stage: Stage) -> dict[str, Any]:
    policy: dict[str, Any] = stage.lab.agent.json("status")["policy"]
    return policy


def _answered(stage: Stage) -> bool:
    return probe.ask(stage.lab.topology.of(THERMOSTAT), READINGS4, stage.lab.marker, 2 * stage.lab.slowness).result == probe.ANSWERED


def _push(stage: Stage, bundle: Path, seconds: int, *probes: str) -> tuple[int, str]:
    """`push --wait-healthy`, to its end: exit status and everything it said."""
    options = [text for name in probes for text in ("--probe", name)]
    done = stage.lab.agent.cli("push", "--wait-healthy", str(seconds), *options, str(bundle), check=False)
    return done.returncode, done.stdout + done.stderr


@contextmanager
def _pushing(stage: Stage, bundle: Path, seconds: int, *probes: str) -> Iterator[subprocess.Popen[str]]:
    """The same in the background, from when the policy is in force and waits on."""
    agent = stage.lab.agent
    options = [text for name in probes for text in ("--probe", name)]
    command = [str(agent.binaries / "penstock"), "--socket", str(agent.run_dir / "control.sock"), "push", "--wait-healthy", str(seconds)]
    with subprocess.Popen([*command, *options, str(bundle)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as push:
        try:
            must(wait_until(lambda: "pending" in _policy(stage), 5 * stage.lab.slowness, 0.05), "no push waits")
            yield push
        finally:
            push.kill()


def _comes_back(stage: Stage, version: int, seconds: float) -> bool:
    return bool(wait_until(lambda: _policy(stage)["version"] == version and "pending" not in _policy(stage), seconds * stage.lab.slowness, 0.1))


def _since(stage: Stage, event: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stage.lab.agent.cli("audit", "show", "--event", event, "--json").stdout.splitlines()]


def a_push_that_is_not_well_goes_back(stage: Stage) -> None:
    """A policy that shuts a probe out goes back by itself, over a restart too; the version that was seen stays the higher one."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    good = lab.bundles.make("good")
    must(agent.push(good).accepted, "a good bundle was refused")
    before, place = _policy(stage), lab.watch()
    bad = lab.bundles.without_readings()
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 8) as flow:
        must(flow.wait_for_answers(20, 5 * lab.slowness), "no steady flow")
        code, said = _push(stage, bad, 5, THERMOSTAT.name)
        must(code == 1 and f"version {before['version']} is in force again" in said and f"nothing of {THERMOSTAT.name}" in said, said)
        answers = flow.answered
        must(flow.wait_for_answers(answers + 20, 5 * lab.slowness), "the right did not come back")
    now = _policy(stage)
    must(now["digest"] == before["digest"] and now["reverted_from"]["version"] == before["version"] + 1, f"after it went back: {now}")
    must("went back" in agent.cli("status").stdout, "status does not say it")
    doctor = agent.cli("doctor", "--config", str(agent.etc / "penstock.toml"), "--json", check=False).stdout
    must("went back" in doctor, f"doctor does not say it: {doctor}")
    must(_since(stage, "policy_reverted")[-1]["version"] == before["version"] + 1, "no audit record")
    for what in ("right after it", "after a restart"):
        older = agent.push(lab.bundles.make("between", version=before["version"]))
        must(not older.accepted and "older than version" in older.reason, f"{what}: an older version was taken: {older}")
        must(_policy(stage) == now, f"{what}: {_policy(stage)}, not {now}")
        must(_answered(stage), f"{what}: no traffic")
        agent.stop()
        agent.start()
        must(agent.wait_tunnel("up"), "no tunnel")
    again = agent.push(bad)
    must(again.accepted and _policy(stage)["version"] == before["version"] + 1, f"the newest version was refused: {again.reason}")
    must("reverted_from" not in _policy(stage), "it is said to have gone back, and is in force")
    stage.push_base()
    must(not lab.since(place).clear, "in clear")


def a_push_that_is_well_stays(stage: Stage) -> None:
    """Confirmed as soon as the probe's packets go and come; without a probe, when the time is over and the tunnels are up."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 8) as flow:
        must(flow.wait_for_answers(20, 5 * lab.slowness), "no steady flow")
        began = time.monotonic()
        code, said = _push(stage, lab.bundles.make("well"), 600, THERMOSTAT.name)
        took = time.monotonic() - began
    must(code == 0 and "stays in force" in said and took < 10 * lab.slowness, f"after {took:.1f} s: {said}")
    began = time.monotonic()
    answer = agent.json("push", "--wait-healthy", "5", str(lab.bundles.make("well-too")))
    must(answer["ok"] and answer["changed"] and time.monotonic() - began >= 4, f"after {time.monotonic() - began:.1f} s: {answer}")
    now = _policy(stage)
    must("pending" not in now and "reverted_from" not in now, f"{now}")
    agent.stop()
    agent.start()
    must(_policy(stage) == now, f"after a restart: {_policy(stage)}, not {now}")
    must([record["version"] for record in _since(stage, "policy_confirmed")][-2:] == [now["version"] - 1, now["version"]], "no audit records")
    said = agent.cli("push", "--wait-healthy", "5", "--probe", "thermostat-13", str(lab.bundles.make("typo")), check=False).stderr
    must('no device "thermostat-13"' in said and _policy(stage) == now, said)
    must(agent.wait_tunnel("up"), "no tunnel")


def a_push_waits_over_a_crash(stage: Stage) -> None:
    """After kill -9 the wait goes on, and the policy goes back in time; if nobody is there when the time is over, at the next start, before a
    packet is judged by it."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    before, place = _policy(stage), lab.watch()
    with _pushing(stage, lab.bundles.without_readings(), 12, THERMOSTAT.name) as push:
        pid = agent.pid
        agent.kill(pid)
        must(wait_until(lambda: agent.pid != pid, 10 * lab.slowness), "penstockd was not started again")
        agent.wait_ready()
        now = _policy(stage)
        must(now["version"] > before["version"] and now["pending"]["before"] == before["version"], f"after kill -9: {now}")
        said, _ = push.communicate(timeout=10)
        must(push.returncode == 1 and "goes back by itself" in said, said)
        must(_comes_back(stage, before["version"], 15), f"it did not go back: {_policy(stage)}")
    must(agent.wait_tunnel("up") and _answered(stage), "no traffic with the policy of before")
    with _pushing(stage, lab.bundles.without_readings(), 5, THERMOSTAT.name):
        agent.stop()
    time.sleep(6)
    agent.start()
    now = _policy(stage)
    must(now["version"] == before["version"] and "not there" in now["reverted_from"]["why"], f"the next start: {now}")
    must(agent.wait_tunnel("up") and _answered(stage), "no traffic with the policy of before")
    verified = agent.cli("audit", "verify", check=False)
    must(verified.returncode == 0, verified.stdout + verified.stderr)
    stage.push_base()
    must(not lab.since(place).clear, "in clear")


def pushes_while_one_waits(stage: Stage) -> None:
    """A plain push ends the wait, and the one who waits hears of it; of two that wait, the second goes back to what was in force before the
    first; a policy that expires meanwhile does not come back."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    with _pushing(stage, lab.bundles.without_readings(), 600, THERMOSTAT.name) as push:
        stage.push_base()
        said, _ = push.communicate(timeout=10)
        must(push.returncode == 1 and "before another policy was pushed" in said, said)
    before = _policy(stage)
    must("pending" not in before, f"it still waits: {before}")
    with _pushing(stage, lab.bundles.without_readings(), 600, THERMOSTAT.name):
        code, said = _push(stage, lab.bundles.without_readings(), 5, CAMERA.name)
    must(code == 1 and _policy(stage)["digest"] == before["digest"], f"{said}, in force is {_policy(stage)}")
    soon = datetime.now(timezone.utc) + timedelta(seconds=6)
    must(agent.push(lab.bundles.make("short", expires=f"{soon:%Y-%m-%dT%H:%M:%SZ}")).accepted, "refused")
    code, said = _push(stage, lab.bundles.without_readings(), 9, THERMOSTAT.name)
    must(code == 1 and "cannot come back" in said and "expired" in said, said)
    now = _policy(stage)
    must(not now["expired"] and "pending" not in now and _since(stage, "policy_not_reverted"), f"{now}")
    agent.stop()
    agent.start()
    must(_policy(stage) == now, f"after a restart: {_policy(stage)}, not {now}")
    must(agent.wait_tunnel("up"), "no tunnel")
    stage.push_base()


def a_crash_on_the_way_back(stage: Stage) -> None:
    """penstockd is killed at each fsync and rename of a push that waits and goes back: the policy before is in force in the end, or the new
    one never was; the log is whole."""
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    before, place = _policy(stage), lab.watch()

    def killed_at(call: str, number: int) -> bool:
        """False: there was no such call any more."""
        pid, bundle = agent.pid, lab.bundles.make(f"back-{call}-{number}")
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}", "-p", str(pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if not wait_until(lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii"), 5 * lab.slowness):
                raise Skip("no process can be traced here")
            _push(stage, bundle, 5, CAMERA.name)
            time.sleep(0.3)
        finally:
            tracer.kill()
            tracer.wait()
        alive = agent.cli("status", "--json", check=False)
        killed = alive.returncode != 0 or json.loads(alive.stdout)["pid"] != pid
        if killed:
            must(wait_until(lambda: agent.pid != pid, 10 * lab.slowness), "penstockd was not started again")
            agent.wait_ready()
        must(_comes_back(stage, before["version"], 10), f"killed at {call} {number}: {_policy(stage)}")
        must(_policy(stage)["digest"] == before["digest"], f"killed at {call} {number}: {_policy(stage)}")
        verified = agent.cli("audit", "verify", check=False)
        must(verified.returncode == 0, f"killed at {call} {number}: {verified.stdout}{verified.stderr}")
        return killed

    kills = {call: next((number - 1 for number in range(1, 40) if not killed_at(call, number)), None) for call in ("fsync", "rename")}
    must(all(count is not None and count >= 5 for count in kills.values()), f"too few kills, or no end of them: {kills}")
    stage.notes["a way back was killed at"] = ", ".join(f"{count} {call}" for call, count in kills.items())
    must(agent.wait_tunnel("up") and _answered(stage), "no traffic afterwards")
    must(not lab.since(place).clear, "in clear")
    stage.push_base()


CASES = {case.__name__: case for case in (push_says_what_changes, a_push_that_is_not_well_goes_back, a_push_that_is_well_stays,
                                          a_push_waits_over_a_crash, pushes_while_one_waits, a_crash_on_the_way_back)}
