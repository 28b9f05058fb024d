"""Bundles that are no good. Each is refused in words, and the policy in force stays."""

from __future__ import annotations

import base64
import json
import re
import socket
from pathlib import Path
from typing import Any

from harness import Case, Desk, must, one_sentence, says
from lab.system import LabError, run

LIMIT = 128 << 20


class Channel:
    """The control socket itself, for thousands of requests."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(30)
        self._sock.connect(str(path))
        self._file = self._sock.makefile("rb")

    def push(self, bundle: bytes) -> dict[str, Any]:
        self._sock.sendall(json.dumps({"op": "push", "size": len(bundle)}).encode() + b"\n" + bundle)
        line = self._file.readline()
        if not line:
            raise LabError("the agent closed the connection")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._file.close()
        self._sock.close()


def _signed(desk: Desk, name: str, change: Any) -> Path:
    """A bundle whose payload the command line would never make, properly signed all the same."""
    bundles = desk.lab.bundles
    envelope = json.loads(bundles.make(name).read_text(encoding="utf-8"))
    payload = json.loads(base64.b64decode(envelope["payload"]))
    change(payload)
    body = json.dumps(payload).encode()
    kind = envelope["payloadType"].encode()
    (bundles.directory / "pae").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body))
    envelope["payload"] = base64.b64encode(body).decode()
    for signature, signer in zip(envelope["signatures"], ("policy-a", "policy-b")):
        run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(bundles.key(signer)), "-in", str(bundles.directory / "pae"),
             "-out", str(bundles.directory / "sig")])
        signature["sig"] = base64.b64encode((bundles.directory / "sig").read_bytes()).decode()
    path = bundles.directory / f"{name}.json"
    path.write_text(json.dumps(envelope), encoding="utf-8")
    return path


def _version(desk: Desk) -> int:
    version: int = desk.agent.json("status")["policy"]["version"]
    return version


def _refused(desk: Desk, bundle: Path, *wanted: str) -> None:
    """`penstock push` says no, in these words; nothing else changes."""
    before = _version(desk)
    said = desk.penstock("push", str(bundle))
    must(said.code == 1, f"exit {said.code}, not 1: {said.out}")
    one_sentence(said.err)
    says(said.err, *wanted)
    must(_version(desk) == before, "another policy is in force")


def signed_by_hand_is_accepted(desk: Desk) -> None:
    """What the cases below change is the payload, not how it is signed."""
    desk.running()
    said = desk.penstock("push", str(_signed(desk, "by-hand", lambda payload: None)))
    must(said.code == 0, f"refused: {said.err}")


def truncated_at_every_byte(desk: Desk) -> None:
    desk.running()
    before = _version(desk)
    whole = desk.lab.bundles.make("whole").read_bytes().rstrip()
    channel = Channel(desk.agent.run_dir / "control.sock")
    try:
        for size in range(len(whole)):
            answer = channel.push(whole[:size])
            must(answer["ok"] is False and answer["error"], f"cut after {size} of {len(whole)} bytes: {answer}")
        must(_version(desk) == before, "a piece of a bundle is in force")
        must(channel.push(whole)["ok"], "the whole one is refused too")
    finally:
        channel.close()
    desk.passes()


def not_json(desk: Desk) -> None:
    desk.running()
    file = desk.lab.bundles.directory / "not-json"
    file.write_bytes(b"fleet: acme\nversion: 3\n")
    _refused(desk, file, "envelope")
    file.write_bytes(bytes(range(256)) * 4)
    _refused(desk, file, "envelope")


def one_byte_over_the_limit(desk: Desk) -> None:
    """Refused while it is read, by the command line; by the agent before it comes."""
    desk.running()
    file = desk.lab.bundles.directory / "large"
    with file.open("wb") as out:
        out.truncate(LIMIT + 1)
    _refused(desk, file, "large is larger than the limit of 134217728 bytes")
    file.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(desk.agent.run_dir / "control.sock"))
        sock.sendall(json.dumps({"op": "push", "size": LIMIT + 1}).encode() + b"\n")
        says(sock.makefile().readline(), "limit envelope_bytes (134217728)")
    must(desk.agent.resident_kib(desk.agent.pid) < 40 << 10, "the agent took memory for it")


def nested_ten_thousand_deep(desk: Desk) -> None:
    desk.running()
    file = desk.lab.bundles.directory / "deep"
    file.write_text("[" * 10_000 + "]" * 10_000)
    _refused(desk, file, "limit depth (16)")

    def deepen(payload: dict[str, Any]) -> None:
        nested: Any = []
        for _ in range(900):
            nested = [nested]
        payload["groups"] = nested
    _refused(desk, _signed(desk, "deep-inside", deepen), "limit depth (16)")


def of_another_fleet(desk: Desk) -> None:
    desk.running()
    _refused(desk, desk.lab.bundles.make("other-fleet", replace={"fleet: penstock-lab": "fleet: other-fleet"}), "other-fleet", "penstock-lab")


def for_another_gateway(desk: Desk) -> None:
    desk.running()
    _refused(desk, desk.lab.bundles.foreign_gateway(), "other-*", "gw-1")


def device_twice(desk: Desk) -> None:
    desk.running()

    def change(payload: dict[str, Any]) -> None:
        payload["devices"].append(payload["devices"][0])
    _refused(desk, _signed(desk, "twice", change), "is defined twice; keep one")
    _build_refused(desk, "mac: \"02:00:00:00:00:07\"", "mac: \"02:00:00:00:00:12\"", "02:00:00:00:00:12")


def group_missing(desk: Desk) -> None:
    desk.running()

    def change(payload: dict[str, Any]) -> None:
        payload["devices"][0]["group"] = "thermostatz"
    _refused(desk, _signed(desk, "dangling", change), "thermostatz")
    _build_refused(desk, "group: thermostats", "group: thermostatz", "thermostatz", "did you mean")


def _build_refused(desk: Desk, old: str, new: str, *wanted: str) -> None:
    """The same mistake in YAML: `penstock bundle build` names file and line."""
    text = (Path(__file__).resolve().parents[1] / "lab/policy/lab.yaml").read_text(encoding="utf-8")
    must(old in text, f"{old!r} is not in the policy")
    source = desk.lab.bundles.directory / "spoiled.yaml"
    source.write_text(text.replace(old, new, 1), encoding="utf-8")
    said = desk.penstock("bundle", "build", str(source), "--out", str(desk.lab.bundles.directory / "spoiled.json"))
    must(said.code == 1, f"exit {said.code}: {said.out}")
    says(said.err, *wanted)
    must(re.search(r"spoiled\.yaml:\d+", said.err), f"no line: {said.err}")


def no_such_file(desk: Desk) -> None:
    desk.running()
    _refused(desk, desk.lab.bundles.directory / "absent", "cannot read", "absent: No such file or directory")


CASES: dict[str, Case] = {f"bundle_{case.__name__}": case for case in (
    signed_by_hand_is_accepted, truncated_at_every_byte, not_json, one_byte_over_the_limit, nested_ten_thousand_deep, of_another_fleet,
    for_another_gateway, device_twice, group_missing, no_such_file)}
