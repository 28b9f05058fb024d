"""What goes wrong in the field and comes right again by itself: nobody logs in, nothing leaves in clear meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from expect import must
from lab import probe
from lab.flow import Flow
from lab.pki import GATEWAY_ID
from lab.stage import READINGS4, READINGS6, Stage
from lab.system import mount, wait_until
from lab.topology import ISP4, THERMOSTAT, UPLINK4

OTHER4 = "198.51.100.77"
KILLS = 10
PATIENCE = 60.0  # seconds; strongSwan answers nobody with five negotiations half done, and forgets one of them after 30


def _events(stage: Stage, name: str) -> list[dict[str, object]]:
    told = [json.loads(line) for line in stage.lab.agent.cli("events", "--json").stdout.splitlines()]
    return [event for event in told if event["event"] == name]


def _answers(stage: Stage, seconds: float, target: probe.Target = READINGS4) -> bool:
    lab = stage.lab
    return probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, seconds * lab.slowness).result == probe.ANSWERED


def _restart(stage: Stage, **changes: object) -> None:
    """The agent anew, with other values in its configuration."""
    lab = stage.lab
    lab.agent.stop()
    lab.agent.configure(lab.authority, lab.bundles.root(), **changes)
    lab.agent.start()


def _wait_negotiated(stage: Stage) -> None:
    """Not only SAs that outlived a restart of the agent."""
    agent = stage.lab.agent
    must(wait_until(lambda: agent.tunnel().get("ike") == "up", 15 * stage.lab.slowness, 0.1), f"IKE does not come up: {agent.tunnel()}")


@contextmanager
def _configured(stage: Stage, **changes: object) -> Iterator[None]:
    stage.open()
    _restart(stage, **changes)
    try:
        yield
    finally:
        _restart(stage)
        stage.push_base()
        _wait_negotiated(stage)


@contextmanager
def _steady_flow(stage: Stage) -> Iterator[Flow]:
    """A device's flow over a fault; when the block is left it must move again, and nothing may have been seen in clear."""
    lab = stage.lab
    place = lab.watch()
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 10) as flow:
        must(flow.wait_for_answers(20, 8 * lab.slowness), "no steady flow before")
        yield flow
        must(flow.wait_for_answers(20, 10 * lab.slowness), "traffic did not come back")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp >= 40, f"too little moved: {verdict}")


def peer_away_for_long(stage: Stage) -> None:
    """The cloud's daemon dies, is given up, and comes back knowing nothing: the tunnel is negotiated anew."""
    lab = stage.lab
    with _configured(stage, dpd=2):
        _wait_negotiated(stage)
        with _steady_flow(stage) as flow:
            must(lab.cloud.process, "no cloud")
            lab.cloud.kill()
            given_up = wait_until(lambda: any("stopped answering" in str(event["why"]) for event in _events(stage, "ike_alert")), 35 + 10 * lab.slowness, 0.5)
            must(given_up, "a dead peer is not given up")
            must(lab.agent.wait_tunnel("down", 5), "the tunnel counts as up")
            lab.cloud.start(10 * lab.slowness)
            moment = time.monotonic()
            must(flow.wait_for_answers(20, 10 * lab.slowness), "traffic did not come back")
            stage.notes["peer back"] = f"traffic after {time.monotonic() - moment:.1f} s"


def uplink_gets_another_address(stage: Stage) -> None:
    """The provider gives the uplink another address while the tunnel is up, and later the first one again; then the wire is pulled for a moment."""
    stage.open()
    lab, gateway, kept = stage.lab, stage.lab.topology.gateway, stage.lab.expect
    lab.expect = replace(kept, uplink=kept.uplink | {OTHER4})
    gaps = []

    def change(old: str, new: str) -> None:
        gateway.ip(f"addr del {old}/24 dev wan0\naddr add {new}/24 dev wan0\nroute replace default via {ISP4}")

    def pull(_old: str, _new: str) -> None:
        gateway.ip("link set wan0 down")
        time.sleep(0.5 * lab.slowness)
        gateway.ip(f"link set wan0 up\naddr add 2001:db8:51::2/64 dev wan0 nodad\nroute replace default via {ISP4}\nroute add default via 2001:db8:51::1")

    try:
        with _steady_flow(stage) as flow:
            for what, old, new in ((change, UPLINK4, OTHER4), (change, OTHER4, UPLINK4), (pull, "", "")):
                moment = time.monotonic()
                what(old, new)
                must(flow.wait_for_answers(30, 20 * lab.slowness), f"no traffic after {what.__name__} {old} {new}: {lab.agent.tunnel()}")
                gaps.append(time.monotonic() - moment)
    finally:
        lab.expect = kept
    stage.notes["another uplink address"] = ", ".join(f"{gap:.1f}" for gap in gaps) + " s to 30 answers"


def certificate_is_renewed(stage: Stage) -> None:
    """The gateway's certificate runs out and the tunnel with it; somebody puts a new one on the disk, and does nothing else. Then once more in mid-flow."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    certificate, key = agent.etc / "gateway.pem", agent.etc / "gateway.key"

    def issue(expired: bool) -> None:
        """As tools do it: the key, a moment, the certificate."""
        lab.authority.issue(GATEWAY_ID, certificate.with_suffix(".new"), key.with_suffix(".fresh"), expired=expired)
        key.write_bytes(key.with_suffix(".fresh").read_bytes())
        time.sleep(0.2)
        certificate.with_suffix(".new").rename(certificate)

    agent.stop()
    issue(expired=True)
    agent.start()
    must(wait_until(lambda: "expired" in agent.cli("status").stdout, 5 * lab.slowness, 0.2), "the status does not say that the certificate expired")
    must(not wait_until(lambda: agent.tunnel().get("ike") == "up", 2 * lab.slowness, 0.1), "the peer takes an expired certificate")
    place = lab.watch()
    issue(expired=False)
    _wait_negotiated(stage)
    must(_answers(stage, 3), "no traffic with the new certificate")
    must(not lab.since(place).clear, "a clear frame while the certificate was renewed")
    with _steady_flow(stage):
        told = len(_events(stage, "reloaded"))
        issue(expired=False)
        must(wait_until(lambda: len(_events(stage, "reloaded")) > told, 8 * lab.slowness, 0.2), "a renewed certificate was not taken over")
        agent.cli("tunnel", "down", "cloud")
        agent.cli("tunnel", "up", "cloud")
    must(agent.wait_tunnel("up"), "no tunnel with the certificate renewed in mid-flow")


def policy_expires(stage: Stage) -> None:
    """A policy runs out: with "keep" it stays in force, loud, also over a restart; with "lockdown" nothing passes. A newer bundle mends both."""
    lab, agent = stage.lab, stage.lab.agent

    def push_short_lived() -> None:
        # Long enough to be signed and pushed before.
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2 + 2 * lab.slowness))
        push = agent.push(lab.bundles.make("short-lived", expires=expires))
        must(push.accepted, f"refused: {push.reason}")
        must(_answers(stage, 3), "no traffic before it expired")
        must(wait_until(lambda: _events(stage, "policy_expired"), 5 + 4 * lab.slowness, 0.2), "not said that the policy expired")

    with _configured(stage, on_expiry="lockdown"):
        stage.open()
        push_short_lived()
        place = lab.watch()
        must(wait_until(lambda: not _answers(stage, 0.3), 4 * lab.slowness), "an expired policy lets traffic through")
        must(not lab.since(place).clear, "a clear frame in the lockdown")
        agent.stop()
        agent.start()
        must(agent.wait_tunnel("up"), "no tunnel with an expired policy")
        must(not _answers(stage, 0.5), "an expired policy lets traffic through after a restart")
        must(agent.json("status")["policy"]["locked"], "the status does not say so")
        stage.push_base()
        must(_answers(stage, 3), "no traffic with a newer bundle")
    with _configured(stage, on_expiry="keep"):
        stage.open()
        push_short_lived()
        for moment in ("", " after a restart"):
            must(_answers(stage, 3), f"an expired policy is not kept{moment}")
            must(agent.json("status")["policy"]["expired"], f"the status does not say so{moment}")
            if not moment:
                agent.stop()
                agent.start()
                must(agent.wait_tunnel("up"), "no tunnel with an expired policy")
        stage.push_base()
        must(not agent.json("status")["policy"]["expired"], "still called expired with a newer bundle")


def crash_loop_under_a_flood(stage: Stage) -> None:
    """kill -9 ten times in a row, each in another moment of the start, while a device floods."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    chance, killed = random.Random(1), []
    place = lab.watch()
    with lab.flow(THERMOSTAT, READINGS4, stage.rate) as flood, lab.flow(THERMOSTAT, READINGS6, stage.rate / 4) as flow:
        must(flood.wait_for_answers(50, 8 * lab.slowness), "no flood before")
        for _ in range(KILLS):
            pid = agent.pid
            must(pid not in killed, "penstockd was not started again")
            agent.kill(pid)
            killed.append(pid)
            must(wait_until(lambda: agent.pid != killed[-1], 5 * lab.slowness, 0.01), "penstockd was not started again")
            time.sleep(chance.random() * 0.4 * lab.slowness)
        moment = time.monotonic()
        agent.wait_ready()
        must(agent.wait_tunnel("up", 15), "the tunnel does not come up")
        must(flood.wait_for_answers(100, PATIENCE) and flow.wait_for_answers(20, PATIENCE), "traffic did not come back")
        stage.notes["after ten kills"] = f"traffic after {time.monotonic() - moment:.1f} s"
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp >= 100, f"too little moved: {verdict}")


def pins_inside_go_while_nobody_looks(stage: Stage) -> None:
    """The arrays inside maps of maps lose their pins, and penstockd, which may not open them by number, dies: it starts with new
    maps."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    place = lab.watch()
    agent.stop(signal.SIGKILL)
    torn = list((agent.bpffs / "penstock").glob("maps-*/inner_*"))
    must(torn, "nothing is pinned inside")
    for pin in torn:
        pin.unlink()
    agent.start()
    must(agent.wait_tunnel("up"), "the tunnel does not come up")
    for target in (READINGS4, READINGS6):
        must(wait_until(lambda: _answers(stage, 2, target), PATIENCE), f"no traffic to {target}")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp, "nothing moved")


def bpffs_goes_while_nobody_looks(stage: Stage) -> None:
    """penstockd dead, and the file system with its pins unmounted, so that the programs go too: the other layers hold; mounted and started, all is well."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    place = lab.watch()
    agent.stop(signal.SIGKILL)
    agent.lose_bpffs()
    for target in (READINGS4, READINGS6):
        probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 0.4 * lab.slowness)
    mount("bpf", str(agent.bpffs), "bpf")
    agent.start()
    must(agent.wait_tunnel("up"), "the tunnel does not come up")
    must(wait_until(lambda: agent.json("status")["gate"]["state"] == "closed", 5 * lab.slowness), "the gate does not close")
    for target in (READINGS4, READINGS6):
        must(wait_until(lambda: _answers(stage, 2, target), PATIENCE), f"no traffic to {target}")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp, "nothing moved")


def penstock_ike_hangs(stage: Stage) -> None:
    """It lives and does nothing: after 20 s of silence it is ended, and traffic is back without anybody."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    pid = agent.ike_pid()
    place, moment = lab.watch(), time.monotonic()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        must(wait_until(lambda: agent.ike_pid() not in (None, pid), 60, 0.2), "penstock-ike hangs, and nobody minds")
        took = time.monotonic() - moment
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    must(took > 15, f"ended after {took:.0f} s: a slow machine would not live long")
    must(any("hangs" in str(event["why"]) for event in _events(stage, "ike_restarted")), "it is not said why")
    must(wait_until(lambda: _answers(stage, 1), 15 * lab.slowness), "no traffic afterwards")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))


CASES: dict[str, Callable[[Stage], None]] = {
    "peer_away_for_long": peer_away_for_long,
    "uplink_gets_another_address": uplink_gets_another_address,
    "certificate_is_renewed": certificate_is_renewed,
    "policy_expires": policy_expires,
    "crash_loop_under_a_flood": crash_loop_under_a_flood,
    "bpffs_goes_while_nobody_looks": bpffs_goes_while_nobody_looks,
    "pins_inside_go_while_nobody_looks": pins_inside_go_while_nobody_looks,
    "penstock_ike_hangs": penstock_ike_hangs,
}
