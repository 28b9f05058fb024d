"""`penstock doctor`: nothing wrong on a healthy gateway, and each mistake of the kernel's or the machine's state found and mended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import Case, Desk, Said, Skip, must, says
from lab.system import run, wait_until


def _doctor(desk: Desk, *args: str) -> Said:
    return desk.penstock("doctor", "--config", str(desk.config), *args)


def _findings(desk: Desk) -> list[dict[str, Any]]:
    said = _doctor(desk, "--json")
    must(said.code in (0, 1), f"exit {said.code}: {said.err}")
    report = json.loads(said.out)
    found: list[dict[str, Any]] = report["findings"]
    wrong = [one for one in found if one["verdict"] == "wrong"]
    must(report["ok"] == (not wrong) == (said.code == 0) and report["wrong"] == len(wrong), f"the sums do not fit: {report}")
    return found


def _finds(desk: Desk, verdict: str, check: str, *wanted: str, seconds: float = 0) -> None:
    """One finding of this check and verdict says all of these, and how to mend it."""
    last: list[dict[str, Any]] = []

    def there() -> bool:
        nonlocal last
        last = _findings(desk)
        return any(one["verdict"] == verdict and one["check"] == check and one["mend"]
                   and all(piece in one["what"] for piece in wanted) for one in last)
    must(wait_until(there, seconds * desk.lab.slowness, 0.1),
         f"no {verdict} about {check} with {wanted}: {[one for one in last if one['verdict'] != 'ok']}")


def _nothing_wrong(desk: Desk) -> None:
    wrong: list[dict[str, Any]] = []

    def healthy() -> bool:
        nonlocal wrong
        wrong = [one for one in _findings(desk) if one["verdict"] == "wrong"]
        return not wrong
    must(wait_until(healthy, 15 * desk.lab.slowness, 0.2), f"still wrong: {wrong}")


@contextmanager
def _stopped(desk: Desk) -> Iterator[None]:
    """The agent does not run, so it puts nothing back; afterwards it does, and all is well."""
    desk.running()
    desk.agent.stop()
    try:
        yield
    finally:
        desk.restart()
    desk.passes()
    _nothing_wrong(desk)


def healthy(desk: Desk) -> None:
    """Nothing wrong, every layer looked at, in lines that fit."""
    desk.running()
    desk.passes()
    _nothing_wrong(desk)
    checks = {one["check"] for one in _findings(desk) if one["verdict"] == "ok"}
    missing = {"agent", "gate", "kernel", "configuration", "certificates", "hooks", "forwarding", "addresses", "rules", "routes", "xfrm", "tunnels", "policy",
               "marks", "disk", "offloads", "foreign tc"} - checks
    must(not missing, f"not looked at: {missing}")
    said = _doctor(desk)
    must(said.code == 0, f"exit {said.code}")
    says(said.out, "0 wrong")
    longest = max(said.out.splitlines(), key=len)
    must(len(longest) <= 80 or "/" in longest, f"a line of {len(longest)} columns: {longest!r}")
    must("\033" not in said.out, "colours although it is no terminal")


def agent_dead(desk: Desk) -> None:
    """What the kernel holds is looked at all the same, and is well but for what needs the agent."""
    with _stopped(desk):
        _finds(desk, "wrong", "agent", "penstockd is not running")
        good = {one["check"] for one in _findings(desk) if one["verdict"] == "ok"}
        must({"hooks", "rules", "routes", "xfrm", "certificates"} <= good, f"only {good} are ok")


def lan_without_link_local(desk: Desk) -> None:
    """IPv6 that nobody answers: no ping says why."""
    desk.running()
    name = desk.agent.namespace.name
    kept = [line.split()[3] for line in run(["ip", "-n", name, "-6", "-o", "addr", "show", "dev", "lan0", "scope", "link"]).stdout.splitlines()]
    must(kept, "lan0 has none to begin with")
    try:
        for address in kept:
            run(["ip", "-n", name, "addr", "del", address, "dev", "lan0"])
        _finds(desk, "wrong", "addresses", "lan0", "no link-local")
    finally:
        for address in kept:
            run(["ip", "-n", name, "addr", "add", address, "dev", "lan0", "scope", "link"], check=False)
    _nothing_wrong(desk)


def program_detached(desk: Desk) -> None:
    with _stopped(desk):
        index = int((run(["ip", "-n", desk.agent.namespace.name, "-o", "link", "show", "wan0"]).stdout).split(":")[0])
        links = desk.agent.bpffs / "penstock" / "links"
        for pin in links.glob(f"{index}-uplink_egress*") if links.exists() else []:
            pin.unlink()
        run(["tc", "-n", desk.agent.namespace.name, "qdisc", "del", "dev", "wan0", "clsact"], check=False)
        _finds(desk, "wrong", "hooks", "wan0 egress: uplink_egress is not attached: NOT GUARDED")


def tun_of_somebody_else(desk: Desk) -> None:
    """A TUN that is not the agent's is an uplink like others."""
    with _stopped(desk):
        gateway = desk.agent.namespace
        gateway.ip("tuntap add dev other0 mode tun")
        try:
            _finds(desk, "wrong", "hooks", "other0 egress: uplink_egress is not attached: NOT GUARDED")
        finally:
            gateway.ip("link del other0")


def rule_deleted(desk: Desk) -> None:
    with _stopped(desk):
        run(["ip", "-n", desk.agent.namespace.name, "rule", "del", "iif", "lan0", "lookup", "20480"])
        _finds(desk, "wrong", "rules", "missing: ", "lan0")


def rule_before_ours(desk: Desk) -> None:
    desk.running()
    gateway = desk.agent.namespace
    gateway.ip("rule add pref 1 to 203.0.113.0/24 lookup main")
    try:
        _finds(desk, "wrong", "rules", "a rule of somebody else stands before or among ours", "203.0.113.0/24")
    finally:
        gateway.ip("rule del pref 1 to 203.0.113.0/24 lookup main")
    _nothing_wrong(desk)


def table_flushed(desk: Desk) -> None:
    with _stopped(desk):
        for family in ("-4", "-6"):
            run(["ip", family, "-n", desk.agent.namespace.name, "route", "flush", "table", "20480"], check=False)
        _finds(desk, "wrong", "routes", "does not end in `unreachable`")


def xfrm_opened(desk: Desk) -> None:
    with _stopped(desk):
        run(["ip", "-n", desk.agent.namespace.name, "xfrm", "policy", "setdefault", "fwd", "accept"])
        _finds(desk, "wrong", "xfrm", "forwarding without an IPsec policy is not blocked")


def policies_passed_by(desk: Desk) -> None:
    """disable_xfrm on the uplink, and the LAN's forwarding off."""
    with _stopped(desk):
        desk.agent.namespace.sysctl({"ipv4/conf/wan0/disable_xfrm": 1, "ipv4/conf/lan0/forwarding": 0})
        _finds(desk, "wrong", "forwarding", "wan0/disable_xfrm is 1: IPsec policies are passed by")
        _finds(desk, "wrong", "forwarding", "lan0/forwarding is 0")
        desk.agent.namespace.sysctl({"ipv4/conf/wan0/disable_xfrm": 0})


def mark_clash(desk: Desk) -> None:
    """An nft rule that sets the whole mark, and somebody's fwmark rule on our bits."""
    desk.running()
    gateway = desk.agent.namespace
    run(["nft", "-f", "-"], stdin="table inet other {\nchain c {\ntype filter hook forward priority -5\nmeta mark set ct mark\nmeta mark set meta mark or 0x1\n}\n}\n",
        setup=gateway.enter)
    gateway.ip("rule add pref 500 fwmark 0x10000000/0x10000000 lookup main")
    try:
        _finds(desk, "warning", "foreign nft", "inet other c sets packet marks", "0x30000000")
        must(sum(one["check"] == "foreign nft" for one in _findings(desk)) == 1, "the rule that keeps our bits is blamed as well")
        _finds(desk, "warning", "marks", "somebody else looks at penstock's mark bits")
    finally:
        run(["nft", "delete", "table", "inet", "other"], setup=gateway.enter)
        gateway.ip("rule del pref 500 fwmark 0x10000000/0x10000000 lookup main")


def flowtable(desk: Desk) -> None:
    desk.running()
    gateway = desk.agent.namespace
    made = run(["nft", "-f", "-"], stdin="table inet other {\nflowtable fast {\nhook ingress priority 0\ndevices = { lan0, wan0 }\n}\n}\n",
               setup=gateway.enter, check=False)
    if made.returncode != 0:
        raise Skip("this kernel has no nft flowtables")
    try:
        _finds(desk, "warning", "foreign nft", "flowtable fast forwards past the routing layer")
    finally:
        run(["nft", "delete", "table", "inet", "other"], setup=gateway.enter)


def foreign_filter(desk: Desk) -> None:
    desk.running()
    name = desk.agent.namespace.name
    run(["tc", "-n", name, "qdisc", "add", "dev", "wan0", "clsact"], check=False)
    run(["tc", "-n", name, "filter", "add", "dev", "wan0", "egress", "pref", "77", "protocol", "all", "bpf", "bytecode", "1,6 0 0 0", "classid", "1:1"])
    try:
        _finds(desk, "warning", "foreign tc", "bpf on wan0 egress is not ours")
    finally:
        run(["tc", "-n", name, "filter", "del", "dev", "wan0", "egress", "pref", "77"], check=False)
    _nothing_wrong(desk)


def tunnel_down(desk: Desk) -> None:
    desk.running()
    desk.penstock("tunnel", "down", "cloud")
    _finds(desk, "warning", "tunnels", "cloud was taken down by an operator")
    desk.penstock("tunnel", "up", "cloud")
    desk.passes()


def certificate_about_to_expire(desk: Desk) -> None:
    desk.running()
    kept = {name: (desk.agent.etc / name).read_bytes() for name in ("gateway.pem", "ca.pem")}
    moment = [time.strftime("%d.%m.%y %H:%M:%S", time.gmtime(time.time() + days * 86400)) for days in (-1, 3.5)]
    environment = dict(os.environ, TZ="UTC")
    authority = desk.lab.authority
    public = run(["pki", "--pub", "--in", str(desk.agent.etc / "gateway.key"), "--outform", "pem"], env=environment).stdout
    made = run(["pki", "--issue", "--cacert", str(authority.certificate), "--cakey", str(authority.directory / "ca.key"), "--type", "pub", "--dn", "CN=gateway",
                "--san", "gw-1.penstock.test", "--not-before", moment[0], "--not-after", moment[1], "--outform", "pem"], stdin=public, env=environment)
    try:
        (desk.agent.etc / "gateway.pem").write_text(made.stdout)
        _finds(desk, "warning", "certificates", "gateway.pem is valid for 3 more days")
    finally:
        (desk.agent.etc / "gateway.pem").write_bytes(kept["gateway.pem"])


def no_configuration(desk: Desk) -> None:
    said = desk.penstock("doctor", "--config", str(desk.folder / "absent.toml"))
    must(said.code == 1, f"exit {said.code}")
    says(" ".join(said.out.split()), "wrong", "configuration: there is no configuration")


def another_network_namespace(desk: Desk) -> None:
    """Asked in the wrong place, it looks at nothing there and says where to ask."""
    desk.running()
    said = desk.penstock("doctor", "--config", str(desk.config), "--json", inside=False)
    wrong = [one for one in json.loads(said.out)["findings"] if one["verdict"] == "wrong"]
    must([one["check"] for one in wrong] == ["network"] and f"/proc/{desk.agent.pid}/ns/net" in wrong[0]["mend"], f"{wrong}")


CASES: dict[str, Case] = {f"doctor_{case.__name__}": case for case in (
    healthy, agent_dead, lan_without_link_local, program_detached, tun_of_somebody_else, rule_deleted, rule_before_ours, table_flushed, xfrm_opened, policies_passed_by,
    mark_clash, flowtable, foreign_filter, tunnel_down, certificate_about_to_expire, no_configuration,
    another_network_namespace)}
