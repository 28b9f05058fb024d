"""Code runs in the process that speaks IKE with strangers: it tries to detach, to add ESP-NULL, to write maps (review)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lab import topology as net
from lab.system import run
from scenario import Penstock, must


def provoke(scene: Penstock) -> None:
    pid = scene.agent.ike_pid()
    must(pid, "penstock-ike does not run")
    status = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE))
    must(status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", "penstock-ike is not confined by seccomp")
    must(int(status["CapEff"], 16) == 0, f"penstock-ike holds capabilities: {status['CapEff']}")
    user, group = int(status["Uid"].split()[0]), int(status["Gid"].split()[0])

    def become() -> None:
        """As the process is, but without its seccomp filter: even then the kernel says no."""
        scene.gateway.enter()
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)

    pins = [os.path.join(folder, name) for folder, _, names in os.walk(scene.agent.bpffs) for name in names]
    must(pins, "nothing is pinned: nothing to attack")
    key = "0x" + "00" * 16
    attempts = [["bpftool", "link", "detach", "pinned", pin] for pin in pins]
    attempts += [["bpftool", "map", "update", "pinned", pin, "key", "0", "0", "0", "0", "value", "0", "0", "0", "0"] for pin in pins]
    attempts += [["rm", "-f", pin] for pin in pins]
    attempts += [["ip", "xfrm", "state", "add", "src", net.UPLINK4, "dst", net.CLOUD4, "proto", "esp", "spi", "0x1001", "mode", "tunnel",
                  "enc", "cipher_null", "", "auth", "hmac(sha1)", key],
                 ["ip", "xfrm", "policy", "flush"], ["ip", "rule", "flush"], ["ip", "link", "set", "wan0", "down"],
                 ["tc", "qdisc", "del", "dev", "wan0", "clsact"], ["kill", "-9", str(scene.agent.pid)], ["cat", str(scene.agent.state / "policy.json")]]
    for argv in attempts:
        done = run(argv, setup=become, check=False)
        must(done.returncode != 0, f"as penstock-ike's user this worked: {' '.join(argv)}")
