"""The main job, scene by scene: the quickstart shows these rows, and the netns suite runs each scene as a test case."""

from __future__ import annotations

import re
import signal
import subprocess
import time

from . import noise, probe, provider, ssh
from .hub import READING
from .stage import READINGS4, READINGS6, TELEMETRY4, TELEMETRY6, VIDEO4, VIDEO6, Stage
from .system import LabError, die_with_parent, wait_until
from .topology import BULB, CAMERA, INTRUDER, ISP4, OPERATOR4, THERMOSTAT

GAP_LIMIT = 10.0  # seconds; the figures are reported, and a busy machine must not make a failure of them


def start(stage: Stage) -> None:
    """The first start ever, with a peer that does not answer; then a start with policy on disk, timed to the first answer."""
    lab, agent = stage.lab, stage.lab.agent
    lab.topology.silence_peer(True)
    stage.row("gateway", "first start", "-", "ready, gate closed", None, "" if agent.start().ready else "not ready")
    stage.ask(THERMOSTAT, READINGS4, "deny: no policy yet", False)
    stage.push_base()
    for target in (READINGS4, READINGS6, TELEMETRY4):
        stage.ask(THERMOSTAT, target, "allow", False, f"{target}, tunnel not up yet")
    agent.stop()
    lab.topology.silence_peer(False)
    place = lab.watch()
    with lab.flow(THERMOSTAT, READINGS4, 250) as flow:
        flow.wait_for_sent(20, 5 * lab.slowness)
        early = flow.answered
        life = agent.launch()
        arrived = flow.wait_for_answers(20, 30 * lab.slowness)
        delay = flow.first_answer - life.started
        flow.finish()
    stage.opened()
    if not arrived:
        raise LabError(f"no answer after the start: {agent.last_words()}")
    stage.notes["start to first packet"] = f"{delay * 1000:.0f} ms"
    stage.row(THERMOSTAT.name, f"{READINGS4} while the agent starts", "allow", f"first answer after {delay * 1000:.0f} ms", lab.since(place),
              "answers before the start" if early else "")


def policy(stage: Stage) -> None:
    """Two devices with different rights, both families, both transports."""
    stage.open()
    for target in (READINGS4, READINGS6, TELEMETRY4, TELEMETRY6):
        stage.ask(THERMOSTAT, target, "allow", True)
    for target in (VIDEO4, VIDEO6, probe.Target(TELEMETRY4.address, "tcp", 22), probe.Target(TELEMETRY6.address, "tcp", 443)):
        stage.ask(THERMOSTAT, target, "deny", False)
    for target in (VIDEO4, VIDEO6, probe.Target(VIDEO4.address, "tcp", 443), probe.Target(VIDEO6.address, "tcp", 443)):
        stage.ask(CAMERA, target, "allow", True)
    for target in (READINGS4, READINGS6, TELEMETRY4, TELEMETRY6):
        stage.ask(CAMERA, target, "deny", False)


def services(stage: Stage) -> None:
    """Real clients and servers: HTTP with mutual TLS, MQTT over TLS, CoAP over DTLS; their twins without, on ports that are allowed too, are refused."""
    stage.open()
    hub = stage.lab.hub
    for version in (4, 6):
        stage.use(THERMOSTAT, f"curl, mutual TLS, IPv{version}", "allow", lambda device, limit: hub.post(device, limit, True, version), True)
        stage.use(THERMOSTAT, f"mosquitto_pub, TLS, IPv{version}", "allow", lambda device, limit: hub.publish(device, limit, True, version), True)
    stage.use(THERMOSTAT, "coap-client, DTLS", "allow", lambda device, limit: hub.put(device, limit, True), True)
    for version in (4, 6):
        stage.use(THERMOSTAT, f"curl without TLS, IPv{version}", "require TLS", lambda device, limit: hub.post(device, limit, False, version), False)
        stage.use(THERMOSTAT, f"mosquitto_pub without TLS, IPv{version}", "require TLS", lambda device, limit: hub.publish(device, limit, False, version), False)
    stage.use(THERMOSTAT, "coap-client without DTLS", "require DTLS", lambda device, limit: hub.put(device, limit, False), False)
    stage.use(CAMERA, "curl, mutual TLS", "deny", lambda device, limit: hub.post(device, limit, True), False)
    readings = hub.readings()
    wanted = [line for line in readings if line.startswith("https CN=thermostat") and READING in line]
    stage.row("cloud", "what nginx noted", "-", f"{len(wanted)} readings, all by TLS", None,
              "" if len(wanted) == 2 == len(readings) else f"not just the two that curl posted by TLS: {len(readings)} in all")


def from_outside(stage: Stage) -> None:
    """The other direction: an operator in the cloud reaches a device's SSH, which a service with `from` allows; nothing else gets in."""
    stage.open()
    lab = stage.lab
    server = ssh.Server.start(lab.directory / "ssh", lab.topology.of(THERMOSTAT), 5 * lab.slowness)
    for who, source, target, allowed in (("operator", OPERATOR4, THERMOSTAT, True), ("operator", OPERATOR4, CAMERA, False),
                                         ("cloud", TELEMETRY4.address, THERMOSTAT, False), ("provider", ISP4, THERMOSTAT, False)):
        place = lab.watch()
        sender = lab.topology.isp if source == ISP4 else lab.topology.cloud
        result = server.login(sender, source, target.v4, 5 * lab.slowness if allowed else 2 * stage.refusal)
        verdict = lab.since(place)
        if allowed:
            problems = ["" if result == ssh.LOGGED_IN else "not logged in", "" if verdict.esp else "no ESP on the wire"]
        else:
            problems = ["logged in" if result == ssh.LOGGED_IN else "", "the device answered" if verdict.esp else ""]
        stage.row(who, f"SSH to {target.name}", "allow" if allowed else "deny", result, verdict, *problems)


def everyday_noise(stage: Stage) -> None:
    """A bulb says what real devices say while they are set up, all of it at once: only its allowed NTP may leave, in ESP."""
    stage.open()
    lab = stage.lab
    frames = noise.all_frames()
    allowed = sum(map(noise.is_ntp, frames))
    place = lab.watch()
    noise.send(lab.topology.of(BULB), frames, 0.0005)
    time.sleep(stage.refusal)
    verdict = lab.since(place)
    what = f"{len(frames)} frames" + (f", {len(noise.captures())} captures" if noise.captures() else "")
    stage.row(BULB.name, what, f"allow {allowed} NTP, deny", f"{verdict.esp} left in ESP", verdict,
              # The bulb's kernel, which asked nothing, may complain of each answer (ICMP), which its flow allows.
              "" if 0 < verdict.esp <= 2 * allowed else f"{verdict.esp} ESP frames for {allowed} allowed ones")


def uplink_renews(stage: Stage) -> None:
    """The gate stays closed and the gateway still lives: its uplink's DHCP client gets and renews its lease."""
    stage.open()
    lab = stage.lab
    directory, place = lab.directory / "provider", lab.watch()
    lab.agent.cli("tunnel", "down", "cloud")
    with provider.provider(lab.topology.isp, directory) as server, provider.dhcp_client(lab.topology.gateway, directory) as client:
        leased = client.wait_for("lease of", 0, 8 * lab.slowness)
        client.signal(signal.SIGUSR1)
        renewed = client.wait_for("lease of", 1, 8 * lab.slowness)
    verdict = lab.since(place)
    stage.row("gateway", "DHCP on the uplink, tunnel down", "essential", "leased and renewed" if renewed else "no lease", verdict,
              "" if leased and renewed else "no lease", "" if verdict.kinds["dhcp"] >= 3 else "fewer DHCP requests than that takes")
    stage.restart_tunnel()


def strangers(stage: Stage) -> None:
    """A device nobody named, and devices that pretend to be another."""
    stage.open()
    stage.ask(INTRUDER, READINGS4, "deny: unknown device", False)
    stage.ask(INTRUDER, TELEMETRY6, "deny: unknown device", False)
    for source, target in ((CAMERA.v4, VIDEO4), (CAMERA.v6, VIDEO6)):
        stage.lie(CAMERA, f"{target}, MAC of {THERMOSTAT.name}", THERMOSTAT.mac, source, target, "deny: not its MAC")
    for source, target in ((THERMOSTAT.v4, READINGS4), (THERMOSTAT.v6, READINGS6)):
        stage.lie(CAMERA, f"{target}, address of {THERMOSTAT.name}", CAMERA.mac, source, target, "deny: not its address")
    stage.lie(INTRUDER, f"{READINGS4}, address of {THERMOSTAT.name}", INTRUDER.mac, THERMOSTAT.v4, READINGS4, "deny: unknown device")
    # The switch now believes in the forged MAC; an honest frame sets it right, and shows that the real owner is not locked out.
    stage.ask(THERMOSTAT, READINGS4, "allow", True, f"{READINGS4}, after the forgeries")


def tunnel_down(stage: Stage) -> None:
    """An operator takes the tunnel down; then the peer does not answer; then everything is well again."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    agent.cli("tunnel", "down", "cloud")
    wait_until(lambda: agent.tunnel().get("state") == "down", 5 * lab.slowness)
    for device, target in ((THERMOSTAT, READINGS4), (THERMOSTAT, TELEMETRY6), (CAMERA, VIDEO6)):
        stage.ask(device, target, "allow", False, f"{target}, tunnel taken down")
    lab.topology.silence_peer(True)
    # In the background: whether `up` waits for the tunnel or not, it must not come up now.
    waiting = subprocess.Popen([str(agent.binaries / "penstock"), "--socket", str(agent.run_dir / "control.sock"), "tunnel", "up", "cloud"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda: (die_with_parent(), lab.topology.gateway.enter()))
    try:
        time.sleep(0.1 * lab.slowness)
        for device, target in ((THERMOSTAT, READINGS4), (CAMERA, VIDEO6)):
            stage.ask(device, target, "allow", False, f"{target}, tunnel negotiating, peer silent")
    finally:
        lab.topology.silence_peer(False)
        waiting.kill()
        waiting.wait()
    stage.restart_tunnel()
    stage.ask(THERMOSTAT, READINGS4, "allow", True, f"{READINGS4}, tunnel up again")


def peer_silent(stage: Stage) -> None:
    """The provider stops carrying packets while the tunnel is up: into the pipe or nowhere, and back when it is over."""
    stage.open()
    lab = stage.lab
    place = lab.watch()
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 4) as flow:
        flowing = flow.wait_for_answers(50, 5 * lab.slowness)
        lab.topology.silence_peer(True)
        time.sleep(0.1 * lab.slowness)
        before, sent = flow.answered, flow.sent
        flow.wait_for_sent(100, 5 * lab.slowness)
        answered, sent = flow.answered - before, flow.sent - sent
        stage.row(THERMOSTAT.name, f"{READINGS4}, peer silent", "allow", f"{answered} of {sent} answered", lab.since(place),
                  "" if flowing else "no flow before", f"{answered} answers from a silent peer" if answered else "")
        place = lab.watch()
        lab.topology.silence_peer(False)
        again = flow.wait_for_answers(20, 8 * lab.slowness)
        stage.row(THERMOSTAT.name, f"{READINGS4}, peer back", "allow", "answered" if again else "no answer", lab.since(place),
                  "" if again else "traffic did not come back")


def _killed(stage: Stage, program: str, pid: int, goes_on: bool) -> None:
    limit = (0.5 if goes_on else GAP_LIMIT) * stage.lab.slowness
    report, gap, verdict = stage.kill(pid, THERMOSTAT, READINGS4)
    shown = "never came back" if gap is None else f"gap {gap * 1000:.0f} ms"
    stage.notes[f"gap after kill -9 of {program}"] = "-" if gap is None else f"{gap * 1000:.0f} ms, {report.answered} of {report.sent} answered"
    stage.row(THERMOSTAT.name, f"{READINGS4}, {program} killed -9", "allow", f"{shown}, {report.answered}/{report.sent} answered", verdict,
              "traffic did not come back" if gap is None else f"a gap of {gap:.1f} s" if gap > limit else "",
              "" if report.answered >= 1000 else "fewer than 1,000 answers", "" if verdict.esp >= 1000 else "fewer than 1,000 ESP frames")
    stage.lab.agent.wait_ready()
    stage.open()
    again = stage.lab.agent.ike_pid()
    stage.row("gateway", f"{program} after the kill", "-", "running again", None, "" if again and again != pid else "penstock-ike is not back")


def kill_penstockd(stage: Stage) -> None:
    """kill -9 of the agent under a steady flow; with kernel ESP traffic does not even notice."""
    stage.open()
    _killed(stage, "penstockd", stage.lab.agent.pid, goes_on=stage.lab.kernel_esp)


def kill_penstock_ike(stage: Stage) -> None:
    """kill -9 of the process that speaks IKE."""
    stage.open()
    pid = stage.lab.agent.ike_pid()
    if pid is None:
        raise LabError("no penstock-ike to kill")
    _killed(stage, "penstock-ike", pid, goes_on=False)


def right_taken_away(stage: Stage) -> None:
    """A new bundle in mid-flow: one device loses a right, the other does not notice."""
    stage.open()
    lab = stage.lab
    bundle = lab.bundles.without_readings()
    place = lab.watch()
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 4) as loser, lab.flow(CAMERA, VIDEO6, stage.rate / 4) as other:
        flowing = loser.wait_for_answers(50, 5 * lab.slowness) and other.wait_for_answers(50, 5 * lab.slowness)
        push = lab.agent.push(bundle)
        pushed = time.monotonic()
        loser.wait_for_sent(100, 5 * lab.slowness)
        after, kept = loser.finish(), other.finish()
    verdict = lab.since(place)
    late, gap = after.last_arrival() - pushed, kept.gap_after(pushed - 0.5)
    stage.row(THERMOSTAT.name, f"{READINGS4}, bundle pushed without it", "allow, then deny",
              f"stopped, {after.answered} answered before" if late < 0.1 * lab.slowness else "went on", verdict,
              "" if flowing else "no flow before", "" if push.accepted else f"refused: {push.reason}",
              f"answers {late:.2f} s after the push" if late > 0.1 * lab.slowness else "")
    stage.row(CAMERA.name, f"{VIDEO6}, same bundle", "allow", f"{kept.answered} of {kept.sent} answered", verdict,
              "" if gap is not None and gap < 0.3 * lab.slowness else "it was disturbed")
    stage.ask(THERMOSTAT, TELEMETRY4, "allow", True, f"{TELEMETRY4}, same bundle")
    stage.push_base()
    stage.ask(THERMOSTAT, READINGS4, "allow", True, f"{READINGS4}, right given back")


def bad_bundles(stage: Stage) -> None:
    """What must be refused is refused, each for its own reason, and the policy in force stays."""
    stage.open()
    make, agent = stage.lab.bundles, stage.lab.agent
    for name, build, reason in (("tampered", make.tampered, r"signature"), ("older", make.older, r"version|older|rollback"),
                                ("expired", make.expired, r"expire"), ("under-signed", make.under_signed, r"signature|threshold"),
                                ("for another gateway", make.foreign_gateway, r"gateway")):
        push = agent.push(build())
        stage.row("operator", f"pushes a bundle: {name}", "refuse", f"refused: {push.reason}" if not push.accepted else "accepted", None,
                  "accepted" if push.accepted else "", "" if re.search(reason, push.reason, re.IGNORECASE) else "not the expected reason")
    stage.ask(THERMOSTAT, READINGS4, "allow", True, f"{READINGS4}, after all that")


SCENES = (start, policy, services, from_outside, everyday_noise, strangers, tunnel_down, uplink_renews, peer_silent, kill_penstockd, kill_penstock_ike,
          right_taken_away, bad_bundles)
