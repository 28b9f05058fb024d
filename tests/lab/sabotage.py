"""Takes the gate away from outside, layer by layer: the positive control, without which a silent witness proves nothing."""

from __future__ import annotations

import os
import signal

from .lab import Lab
from .system import Namespace, run


def _detach_programs(namespace: Namespace, bpffs: str) -> int:
    """Every pinned link is detached and unpinned; what hangs on clsact goes with its qdisc. Afterwards the hooks pass everything."""
    detached = 0
    for folder, _, names in os.walk(bpffs):
        for name in names:
            path = os.path.join(folder, name)
            done = run(["bpftool", "link", "detach", "pinned", path], check=False, setup=namespace.enter)
            detached += done.returncode == 0
            os.unlink(path)  # a program or map alone does nothing, but a fresh agent must not adopt it
    for interface in ("lan0", "wan0"):
        for direction in ("ingress", "egress"):
            shown = run(["tc", "-n", namespace.name, "filter", "show", "dev", interface, direction], check=False).stdout
            detached += shown.count("bpf chain 0 handle")
        run(["tc", "-n", namespace.name, "qdisc", "del", "dev", interface, "clsact"], check=False)
    return detached


def detach_programs(lab: Lab, names: tuple[str, ...], interfaces: tuple[str, ...] = ("lan0", "wan0")) -> int:
    """Takes programs of these hooks off the interfaces, wherever they hang; returns how many."""
    gateway, detached = lab.topology.gateway, 0
    for path in sorted((lab.agent.bpffs / "penstock/links").glob("*-*")):
        if path.name.split("-", 1)[1] in names:
            detached += run(["bpftool", "link", "detach", "pinned", str(path)], check=False, setup=gateway.enter).returncode == 0
    for interface in interfaces:
        for direction in ("ingress", "egress"):
            shown = run(["tc", "-n", gateway.name, "filter", "show", "dev", interface, direction], check=False).stdout
            if any(f" {name} " in shown for name in names):
                run(["tc", "-n", gateway.name, "filter", "del", "dev", interface, direction])
                detached += 1
    return detached


def remove_routing(gateway: Namespace) -> None:
    """Rules and routes as on a plain router."""
    for family in ("-4", "-6"):
        run(["ip", "-n", gateway.name, family, "rule", "flush"], check=False)
        for rule in (["pref", "0", "lookup", "local"], ["pref", "32766", "lookup", "main"]):
            run(["ip", "-n", gateway.name, family, "rule", "add", *rule], check=False)
        run(["ip", "-n", gateway.name, family, "route", "flush", "table", "20480"], check=False)


def remove_xfrm(gateway: Namespace, keep_sas: bool = False) -> None:
    """No policy, no SA, and everything accepted by default. With the SAs kept, what comes out of a tunnel still is forwarded:
    the kernel does that only where a policy expects it (XfrmInNoPols), so there is one."""
    gateway.ip("xfrm policy flush" + ("" if keep_sas else "\nxfrm state flush"), check=False)
    gateway.ip("xfrm policy setdefault in accept fwd accept out accept", check=False)
    if keep_sas:
        for anywhere in ("0.0.0.0/0", "::/0"):
            gateway.ip(f"xfrm policy add src {anywhere} dst {anywhere} dir fwd tmpl proto esp mode tunnel level use")


def remove_every_layer(lab: Lab) -> int:
    """Agent gone for good, programs, XFRM, routing and sysctls as on a plain router. Returns how many programs were detached."""
    gateway = lab.topology.gateway
    lab.agent.stop(signal.SIGKILL)
    for pid in filter(None, [lab.agent.ike_pid()]):
        os.kill(pid, signal.SIGKILL)
    detached = _detach_programs(gateway, str(lab.agent.bpffs / "penstock"))
    remove_xfrm(gateway)
    remove_routing(gateway)
    run(["nft", "flush", "ruleset"], check=False, setup=gateway.enter)
    open_router(gateway)
    return detached


def open_router(gateway: Namespace) -> None:
    gateway.sysctl({"ipv4/ip_forward": 1, "ipv4/conf/all/forwarding": 1, "ipv4/conf/lan0/forwarding": 1, "ipv4/conf/wan0/forwarding": 1,
                    "ipv6/conf/all/forwarding": 1, "ipv6/conf/lan0/forwarding": 1, "ipv6/conf/wan0/forwarding": 1})
