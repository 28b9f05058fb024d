"""The gate before the network: `penstockd guard arm`, and interfaces that come, go and change their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from expect import must
from lab import probe, sabotage
from lab.capture import Capture
from lab.frames import parse_ip
from lab.lab import Lab
from lab.stage import READINGS4, READINGS6, Stage
from lab.system import run, wait_until
from lab.topology import ISP4, ISP6, THERMOSTAT


def _try(lab: Lab) -> None:
    for target in (READINGS4, READINGS6):
        probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 0.4 * lab.slowness)


def armed_before_the_network(stage: Stage) -> None:
    """A gateway that never ran: armed with the configuration alone, before its interfaces have their names; then penstockd takes over under a flow."""
    with Lab(stage.lab.build) as lab:
        gateway, agent = lab.topology.gateway, lab.agent
        sabotage.open_router(gateway)
        place = lab.watch()
        _try(lab)
        must(lab.since(place).clear, "the control: nothing left in clear before the gate was armed")
        secrets = {path: path.read_bytes() for path in (agent.etc / "gateway.pem", agent.etc / "gateway.key", agent.etc / "root.json")}
        for path in secrets:
            path.rename(f"{path}.away")
        gateway.ip("link set lan0 down\nlink set lan0 name eth7\nlink set wan0 down\nlink set wan0 name eth8")
        code, words = lab.agent.arm()
        must(code == 0, f"not armed: {words}")
        gateway.ip("link set eth7 name lan0\nlink set lan0 up\nlink set eth8 name wan0\nlink set wan0 up")
        gateway.ip("addr add 2001:db8:51::2/64 dev wan0 nodad\naddr add fd20::1/64 dev lan0 nodad")  # IPv6 addresses went with the link
        gateway.ip(f"route add default via {ISP4}\nroute add default via {ISP6}", check=False)
        sabotage.open_router(gateway)
        place = lab.watch()
        _try(lab)
        verdict = lab.since(place)
        must(not verdict.clear, f"armed, penstockd not started: {verdict}")
        must(lab.agent.arm()[0] == 0, "arming twice is an error")
        for path in secrets:
            Path(f"{path}.away").rename(path)
        with lab.flow(THERMOSTAT, READINGS4, 100) as flow:
            agent.start()
            must(lab.agent.arm()[0] == 1, "armed beside a running penstockd")
            must(agent.push(lab.bundles.make("base")).accepted, "the base policy was refused")
            must(agent.wait_tunnel("up"), "the tunnel does not come up")
            must(flow.wait_for_answers(20, 10 * lab.slowness), "no traffic")
        verdict = lab.since(place)
        must(not verdict.clear and verdict.esp, f"while penstockd took over: {verdict}")


def not_armed_is_said(stage: Stage) -> None:
    """Without a bpffs: exit status 1, one sentence, and the LAN is not forwarded."""
    with Lab(stage.lab.build) as lab:
        agent, gateway = lab.agent, lab.topology.gateway
        toml = agent.etc / "penstock.toml"
        toml.write_text(toml.read_text(encoding="utf-8").replace(f'bpffs = "{agent.bpffs}/penstock"', f'bpffs = "{agent.directory}/none"'), encoding="utf-8")
        sabotage.open_router(gateway)
        code, words = lab.agent.arm()
        must(code == 1 and "BPF file system" in words, f"exit {code}: {words}")
        place = lab.watch()
        _try(lab)
        must(not lab.since(place).clear, "forwarded although not armed")


def uplink_nobody_configured(stage: Stage) -> None:
    """A second uplink is plugged in and takes the routes while penstockd stands still: layers 2 and 3 carry it, each alone; then it is guarded."""
    stage.open()
    lab, gateway, isp = stage.lab, stage.lab.topology.gateway, stage.lab.topology.isp
    lab.agent.cli("tunnel", "down", "cloud")
    must(lab.agent.wait_tunnel("down"), "the tunnel does not go down")
    isp.ip("link add up9 type veth peer name plug9\nlink set up9 up\naddr add 198.51.99.1/24 dev up9")
    capture = Capture.start(isp, "up9", lab.directory / "second.pcapng")

    def seen() -> list[str]:
        packets = [parse_ip(frame.data[14:]) for frame in capture.read_new() if frame.inbound and frame.data[12:14] in (b"\x08\x00", b"\x86\xdd")]
        return [str(packet) for packet in packets if packet]

    def device_packets() -> list[str]:
        _try(lab)
        return [line for line in seen() if THERMOSTAT.v4 in line or THERMOSTAT.v6 in line]

    try:
        for without in (None, "layer 2", "layer 3"):
            with lab.agent.stopped():
                isp.ip(f"link set plug9 netns {gateway.name}", check=False)  # the first time round
                gateway.ip("link set plug9 name wan9", check=False)
                gateway.ip("link set wan9 up\naddr replace 198.51.99.2/24 dev wan9\nroute replace 203.0.113.0/24 via 198.51.99.1 dev wan9", check=False)
                sabotage.detach_programs(lab, ("lan_ingress", "lan_egress", "uplink_egress", "uplink_ingress"))
                run(["tc", "-n", gateway.name, "qdisc", "del", "dev", "wan9", "clsact"], check=False)
                if without == "layer 2":
                    sabotage.remove_routing(gateway)
                elif without == "layer 3":
                    sabotage.remove_xfrm(gateway)
                sabotage.open_router(gateway)
                run(["ping", "-c", "1", "-W", "1", "198.51.99.1"], setup=gateway.enter, check=False)
                must(seen(), "the control: the gateway's own ping is not on the new wire, so layer 4 is there already")
                leaked = device_packets()
                must(not leaked, f"without layers 1, 4 and {without}: {leaked[:1]}")
            must(wait_until(lambda: lab.agent.json("status")["gate"]["state"] == "closed", 15 * lab.slowness, 0.05), f"the gate does not close again: {lab.agent.json('status')['gate']}")
        roles = {one["name"]: (one["role"], one["guarded"]) for one in lab.agent.json("status")["gate"]["interfaces"]}
        must(roles.get("wan9") == ("other", True), f"the new uplink is not guarded: {roles}")
        seen()
        run(["ping", "-c", "1", "-W", "1", "198.51.99.1"], setup=gateway.enter, check=False)
        must(not seen() and not device_packets(), "something leaves on the new uplink once it is guarded")
    finally:
        isp.ip("link del up9", check=False)
        capture.child.stop()
        stage.restart_tunnel()


CASES: dict[str, Callable[[Stage], None]] = {
    "armed_before_the_network": armed_before_the_network,
    "not_armed_is_said": not_armed_is_said,
    "uplink_nobody_configured": uplink_nobody_configured,
}
