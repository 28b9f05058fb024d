"""What the agent keeps on disk: sealed, bound to its place, whole after a crash at any moment, and a log of who changed what."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from expect import Skip, must
from lab import probe
from lab.probe import ANSWERED
from lab.stage import READINGS4, Stage
from lab.system import wait_until
from lab.topology import CAMERA, THERMOSTAT

# The system calls with which files are made and changed (agent/base/file, agent/store/audit_log); the tracer counts each for itself.
CHANGES = ("openat", "write", "fchmod", "fsync", "rename")
MOST_CALLS = 60  # of one kind in one push; beyond it something is wrong


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _put(folder: Path, files: dict[Path, bytes]) -> None:
    """The folder as it was."""
    for path in set(_files(folder)) - set(files):
        path.unlink()
    for path, content in files.items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(content)


def _restart(stage: Stage) -> None:
    stage.lab.agent.stop()
    stage.lab.agent.start()


def _next_life(stage: Stage, pid: int) -> None:
    agent = stage.lab.agent
    must(wait_until(lambda: agent.pid != pid, 10 * stage.lab.slowness), "penstockd was not started again")
    agent.wait_ready()


def _answered(stage: Stage, seconds: float = 10) -> bool:
    thermostat = stage.lab.topology.of(THERMOSTAT)
    return bool(wait_until(lambda: probe.ask(thermostat, READINGS4, stage.lab.marker, 1).result == ANSWERED, seconds * stage.lab.slowness))


def state_is_sealed(stage: Stage) -> None:
    """No name, MAC or address of a device is in any file; files that were swapped, changed, put there unsealed, set back to an earlier day,
    taken away, or sealed with another key are no policy: nothing passes, and status and events say why; put right, all is as before."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    _restart(stage)
    must(_answered(stage), "no traffic after a restart")
    older = _files(agent.state)
    push = agent.push(lab.bundles.make("newer"))
    must(push.accepted, push.reason)
    agent.stop()
    before = _files(agent.state)
    agent.start()
    telling = [text for device in (THERMOSTAT, CAMERA) for text in (device.name, device.mac, device.mac.upper(), device.v4, device.v6)]
    telling += ["policy", "version", "services", "signatures", "payload", "event"]
    for path, content in before.items():
        for text in telling:
            must(text.encode() not in content, f"{path} says {text}")
        must(path.stat().st_mode & 0o777 == 0o600, f"{path} has mode {path.stat().st_mode & 0o777:o}")
    must(agent.json("status")["state"]["key"]["source"] == "file", f"{agent.json('status')['state']}")
    bundle, ledger, key = agent.state / "policy.bundle", agent.state / "ledger", agent.etc / "storage.key"
    unsealed = lab.bundles.make("unsealed")

    def refused(what: str, *reasons: str) -> None:
        place = lab.watch()
        agent.start()
        status = agent.json("status")
        must(status["policy"] is None, f"{what}: a policy is in force")
        must(status["gate"]["state"] == "closed", f"{what}: {status['gate']}")
        must(agent.wait_tunnel("up"), f"{what}: no tunnel")  # so that it is the policy that stops a device
        told = agent.cli("events", "--json").stdout
        for reason in reasons:
            must(reason in told or reason in json.dumps(status["state"]), f"{what}: nobody says {reason}")
        must(probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, stage.refusal).result != ANSWERED, f"{what}: traffic passes")
        must(not lab.since(place).clear, f"{what}: in clear")
        agent.stop()

    agent.stop()
    try:
        bundle.write_bytes(before[ledger])
        refused("files swapped", str(bundle), "is a copy")
        bundle.write_bytes(older[bundle])
        refused("the policy of before alone", str(bundle), "rolled back")
        bundle.unlink()
        refused("the policy taken away", str(bundle), "is gone")
        bundle.write_bytes(before[bundle][:-1] + bytes([before[bundle][-1] ^ 1]))
        refused("a bit flipped", str(bundle), "its seal does not hold")
        bundle.write_bytes(unsealed.read_bytes())
        refused("a signed bundle put there", str(bundle), "not sealed")
        _put(agent.state, before)
        for path in (bundle, ledger):
            path.write_bytes(older[path])
        refused("policy and ledger of before the last push", "of an earlier day")
        ledger.unlink()
        refused("the ledger taken away", str(ledger), "is gone")
        bundle.write_bytes(unsealed.read_bytes())
        refused("the ledger taken away, and a signed bundle", str(ledger), "is gone")
        _put(agent.state, before)
        kept = key.read_bytes()
        key.unlink()
        refused("the key lost", str(key), "put it back")
        must(not key.exists(), "a lost key was replaced in silence")
        key.write_text("7" * 64 + "\n", encoding="ascii")
        key.chmod(0o600)
        refused("another key", "sealed with the key", "previous_keys")
        key.write_bytes(kept)
    finally:
        agent.stop()
        _put(agent.state, before)
        agent.start()
    must(agent.wait_tunnel("up"), "no tunnel")
    must(_answered(stage), "no traffic after all was put right")


def storage_key_is_replaced(stage: Stage) -> None:
    """A new key, the old one named as previous: everything is sealed anew at the next start, and then the old one can go."""
    stage.open()
    agent = stage.lab.agent
    key, old = agent.etc / "storage.key", agent.etc / "storage.old"
    configuration = agent.etc / "penstock.toml"
    plain = configuration.read_text(encoding="utf-8")
    records = json.loads(agent.cli("audit", "verify", "--json").stdout)["records"]
    agent.stop()
    key.rename(old)
    key.write_text(os.urandom(32).hex() + "\n", encoding="ascii")
    key.chmod(0o600)
    try:
        configuration.write_text(plain + '[storage]\nprevious_keys = ["storage.old"]\n', encoding="utf-8")
        agent.start()
        must(_answered(stage), "no traffic with the new key")
        agent.stop()
    finally:
        configuration.write_text(plain, encoding="utf-8")
    old.unlink()
    agent.start()
    must(_answered(stage), "no traffic without the old key")
    verified = agent.cli("audit", "verify", "--json", check=False)
    must(verified.returncode == 0, verified.stdout + verified.stderr)
    must(json.loads(verified.stdout)["records"] >= records, "records were lost")


def state_without_seals_is_taken_over(stage: Stage) -> None:
    """What a version without seals left comes into force, no older policy does after it, and nothing of it stays in clear."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    older, bundle = lab.bundles.make("older"), lab.bundles.make("unsealed")
    must(agent.push(bundle).accepted, "a good bundle was refused")
    policy = agent.json("status")["policy"]
    agent.stop()
    kept, marker = _files(agent.state), agent.etc / "storage.key.used"
    key = (agent.etc / "storage.key").read_bytes()
    shutil.rmtree(agent.state)
    agent.state.mkdir(mode=0o700)
    marker.unlink()
    (agent.etc / "storage.key").unlink()
    (agent.state / "policy.bundle").write_bytes(bundle.read_bytes())
    (agent.state / "policy.last").write_text(json.dumps({"version": policy["version"], "digest": policy["digest"]}), encoding="ascii")
    try:
        agent.start()
        now = agent.json("status")
        must(now["policy"] is not None and now["policy"]["version"] == policy["version"], f"not taken over: {now['state']}, {now['policy']}")
        must(_answered(stage), "no traffic with the policy of before")
        said = agent.push(older)
        must(not said.accepted and "version" in said.reason, f"an older policy was taken: {said}")
        for path, content in _files(agent.state).items():
            must(b"version" not in content and b"signatures" not in content, f"{path} is in clear")
        must(not (agent.state / "policy.last").exists(), "policy.last is still there")
    finally:
        agent.stop()
        shutil.rmtree(agent.state)
        agent.state.mkdir(mode=0o700)
        _put(agent.state, kept)
        (agent.etc / "storage.key").write_bytes(key)
        (agent.etc / "storage.key").chmod(0o600)
        agent.start()
    must(agent.wait_tunnel("up"), "no tunnel")
    must(_answered(stage), "no traffic after all was put right")


def audit_tells_who_did_what(stage: Stage) -> None:
    """Pushes, refusals, commands and starts are in the log with who and what; it is whole over restarts and kill -9; whatever is done to it
    is found: a record changed, cut off or taken out, the whole of it put away."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    log = agent.state / "audit"

    def verify() -> tuple[int, str]:
        done = agent.cli("audit", "verify", check=False)
        return done.returncode, done.stdout + done.stderr

    def whole(when: str) -> None:
        code, text = verify()
        must(code == 0 and "whole" in text, f"{when}: {text}")

    before = json.loads(agent.cli("audit", "verify", "--json").stdout)["last"]
    agent.stop()
    agent.start()
    must(agent.wait_tunnel("up"), "no tunnel")
    accepted = agent.push(lab.bundles.make("audited"))
    must(accepted.accepted, accepted.reason)
    refused = agent.push(lab.bundles.make("too-few", signers=("policy-a",)))
    must(not refused.accepted, "one signature was enough")
    agent.cli("tunnel", "rekey", "cloud", check=False)
    records = [json.loads(line) for line in agent.cli("audit", "show", "--json").stdout.splitlines()]
    records = [record for record in records if record["seq"] > before]
    version = agent.json("status")["policy"]["version"]

    def has(event: str, **fields: object) -> bool:
        return any(record["event"] == event and all(record.get(key) == value for key, value in fields.items()) for record in records)

    must(has("policy_in_force", version=version, uid=0, digest=agent.json("status")["policy"]["digest"]), "the push is not there")
    must(any(record["event"] == "bundle_refused" and record["uid"] == 0 and record["refusal"] for record in records), "the refusal is not there")
    must(has("tunnel_command", action="rekey", uid=0), "the command is not there")
    must(has("agent_started"), "the start is not there")
    must([record["seq"] for record in records] == sorted(record["seq"] for record in records), "not in order")
    one = agent.cli("audit", "show", "--event", "policy_in_force", "--last", "1").stdout
    must(one.count("\n") == 1 and f"version={version}" in one, one)
    must(agent.cli("audit", "show", "--since", "2999-01-01").stdout == "", "records of the future")
    whole("after a while")
    pid = agent.pid
    agent.kill(pid)
    _next_life(stage, pid)
    whole("after kill -9")
    agent.stop()

    good = _files(agent.state)
    newest = max(path for path in good if path.parent == log)

    def found(what: str, reason: str) -> None:
        agent.start()
        code, text = verify()
        must(code == 1 and reason in text, f"{what}: exit {code}, {text}")
        agent.stop()
        _put(agent.state, good)

    newest.write_bytes(good[newest][:100] + bytes([good[newest][100] ^ 1]) + good[newest][101:])
    found("a record changed", "was changed")
    size = int.from_bytes(good[newest][:4], "big")
    newest.write_bytes(good[newest][4 + size:])
    found("the first record taken out", "missing before")
    newest.write_bytes(good[newest][:-30])
    found("the end cut off", "the log ends before record")
    shutil.rmtree(log)
    found("all of it put away", "the log ends before record")
    (agent.state / "ledger").unlink()
    found("the ledger put away", "is gone")
    agent.start()
    whole("put right")


def a_crash_in_the_middle_of_a_push(stage: Stage) -> None:
    """penstockd is killed at each system call with which a push changes a file: afterwards the old policy is in force or the new one, never
    none, never an older one; the log is whole."""
    if shutil.which("strace") is None:
        raise Skip("strace is not installed")
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    place = lab.watch()

    def killed_at(call: str, number: int) -> bool:
        """False: the push had no such call any more."""
        before, pid = agent.json("status")["policy"]["version"], agent.pid
        bundle = lab.bundles.make(f"crash-{call}-{number}")
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={number}", "-p", str(pid)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if not wait_until(lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii"), 5 * lab.slowness):
                raise Skip("no process can be traced here")
            push = agent.push(bundle)
            time.sleep(0.2)  # the record of it is written when the answer is on its way
        finally:
            tracer.kill()  # its tracees go on
            tracer.wait()
        alive = agent.cli("status", "--json", check=False)
        if push.accepted and alive.returncode == 0 and json.loads(alive.stdout)["pid"] == pid:
            return False
        _next_life(stage, pid)
        now = agent.json("status")["policy"]
        must(now is not None, f"killed at {call} {number}: no policy is in force")
        must(now["version"] >= before, f"killed at {call} {number}: version {now['version']} after {before}")
        verified = agent.cli("audit", "verify", check=False)
        must(verified.returncode == 0, f"killed at {call} {number}: {verified.stdout}{verified.stderr}")
        return True

    kills = {call: next((number - 1 for number in range(1, MOST_CALLS) if not killed_at(call, number)), None) for call in CHANGES}
    must(None not in kills.values(), f"after {MOST_CALLS} calls a push is still killed: {kills}")
    must(all(kills[call] >= 2 for call in CHANGES), f"too few kills: {kills}")
    stage.notes["a push was killed at"] = ", ".join(f"{count} {call}" for call, count in kills.items())
    must(_answered(stage), "no traffic afterwards")
    stage.push_base()
    must(not lab.since(place).clear, "in clear")
