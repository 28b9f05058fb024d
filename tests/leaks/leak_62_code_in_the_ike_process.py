"""Code runs in the process that speaks IKE with strangers: it tries to detach, to add ESP-NULL, to write maps.

It is tried as the user of that process, without its system call filter: even then the kernel says no. The filter alone is tried by the
unit tests (`ike_confine`). What would work as root is done so first, without harm: an attempt that is only misspelt shows nothing."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from lab import topology as net
from lab.system import run
from scenario import Penstock, must


def _write_of(pin: str) -> list[str] | None:
    """An update of the map behind a pin with what stands in it; None where that is no plain map, or it is empty."""
    shown = run(["bpftool", "-j", "map", "show", "pinned", pin], check=False)
    if shown.returncode != 0 or json.loads(shown.stdout)["type"] not in ("array", "hash", "lpm_trie"):
        return None
    entries = json.loads(run(["bpftool", "-j", "map", "dump", "pinned", pin]).stdout)
    if not entries or len(entries[0]["value"]) > 64:
        return None
    return ["bpftool", "map", "update", "pinned", pin, "key", *entries[0]["key"], "value", *entries[0]["value"]]


def _null_sa(verb: str) -> list[str]:
    name = ["src", net.UPLINK4, "dst", net.CLOUD4, "proto", "esp", "spi", "0x1001"]
    if verb == "delete":
        return ["ip", "xfrm", "state", "delete", *name]
    return ["ip", "xfrm", "state", "add", *name, "mode", "tunnel", "enc", "cipher_null", "", "auth", "hmac(sha1)", "0x" + "00" * 16]


def provoke(scene: Penstock) -> None:
    pid = scene.agent.ike_pid()
    must(pid, "penstock-ike does not run")
    status = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE))
    must(status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", "penstock-ike is not confined by seccomp")
    must(int(status["CapEff"], 16) == 0, f"penstock-ike holds capabilities: {status['CapEff']}")
    user, group = int(status["Uid"].split()[0]), int(status["Gid"].split()[0])

    def become() -> None:
        scene.gateway.enter()
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)

    pins = [os.path.join(folder, name) for folder, _, names in os.walk(scene.agent.bpffs) for name in names]
    must(pins, "nothing is pinned: nothing to attack")
    writes = [write for write in map(_write_of, pins) if write]
    must(writes, "no map can be written: nothing to attack")
    files = [scene.agent.state / "policy.bundle", scene.agent.state / "ledger", scene.agent.etc / "storage.key"]
    harmless = [*writes, *(["od", "-An", str(file)] for file in files), ["kill", "-0", str(scene.agent.pid)]]
    for argv in harmless:
        run(argv, setup=scene.gateway.enter)
    if run(_null_sa("add"), setup=scene.gateway.enter, check=False).returncode == 0:  # a kernel without ESP has none
        run(_null_sa("delete"), setup=scene.gateway.enter)

    attempts = [*harmless, _null_sa("add")]
    attempts += [["bpftool", "link", "detach", "pinned", pin] for pin in pins]
    attempts += [["rm", "-f", pin] for pin in pins]
    attempts += [["ip", "xfrm", "policy", "flush"], ["ip", "rule", "flush"], ["ip", "link", "set", "wan0", "down"],
                 ["tc", "qdisc", "del", "dev", "wan0", "clsact"], ["kill", "-9", str(scene.agent.pid)]]
    for argv in attempts:
        done = run(argv, setup=become, check=False)
        must(done.returncode != 0, f"as penstock-ike's user this worked: {' '.join(argv)}")
