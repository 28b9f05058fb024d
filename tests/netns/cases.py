"""The netns suite's test cases: every scene of the quickstart, and what only a test looks at."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import booting
import carriers
import healing
import lans
import layers
import mtu
import pulling
import pushing
import recovery
import remote
from expect import must
from hours import rights_keep_hours
from lab import probe, sabotage, scenes, strongswan
from lab.frames import ETH_P_IP, ethernet, ipv4, udp_frame
from lab.lab import Lab
from lab.stage import READINGS4, READINGS6, Row, Stage
from lab.system import wait_until
from lab.topology import CAMERA, CLOUD4, ISP_MAC, THERMOSTAT, UPLINK4, UPLINK_MAC
from lab.witness import Judge
from keys import keys_change_while_traffic_flows
from latch import a_frame_in_clear_latches_the_gate, a_latch_outlives_a_reboot, clearing_the_witness_puts_no_released_gate_up
from learning import devices_learn_their_addresses
from privacy import identities_stay_inside
from quickstarts import quickstarts_at_once
from services import essentials_work_for_their_owner_only
from state import a_crash_in_the_middle_of_a_push, audit_tells_who_did_what, state_is_sealed, state_without_seals_is_taken_over, storage_key_is_replaced
from uplink import addresses_given_by_a_rogue, forged_frames_from_the_uplink_reach_nobody, fragments_made_anew_are_nobodys

RESIDENT_LIMIT_KIB = 20 * 1024
CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_BPF = 10, 12, 39


def as_case(scene: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """A scene passes if it made rows and each of them is as expected."""

    def case(stage: Stage) -> None:
        rows: list[Row] = stage.play(scene)
        must(rows, "the scene showed nothing")
        wrong = [f"{row.device}, {row.flow}: {row.why}" for row in rows if not row.ok]
        must(not wrong, f"{len(wrong)} of {len(rows)} rows: " + " | ".join(wrong[:3]))

    case.__doc__ = scene.__doc__
    return case


def judge_knows_clear_frames(stage: Stage) -> None:
    """The judge's own test, on frames made by hand: it may err on the strict side only."""
    marker = stage.lab.marker
    judge = Judge(stage.lab.expect, {"c0000001"})
    body = bytes(range(7, 47))
    good_esp = ethernet(ISP_MAC, UPLINK_MAC, ETH_P_IP, ipv4(UPLINK4, CLOUD4, 50, bytes.fromhex("c000000100000001") + body))
    must(judge.judge(good_esp).kind == "esp", "ESP with a logged SPI was not recognised")
    bad = {
        "an SPI nobody logged": good_esp.replace(bytes.fromhex("c0000001"), bytes.fromhex("c0000002")),
        "ESP from another address": ethernet(ISP_MAC, UPLINK_MAC, ETH_P_IP, ipv4("10.20.0.12", CLOUD4, 50, bytes.fromhex("c000000100000001") + body)),
        "ESP to another peer": ethernet(ISP_MAC, UPLINK_MAC, ETH_P_IP, ipv4(UPLINK4, "192.0.2.9", 50, bytes.fromhex("c000000100000001") + body)),
        "the marker inside ESP": ethernet(ISP_MAC, UPLINK_MAC, ETH_P_IP, ipv4(UPLINK4, CLOUD4, 50, bytes.fromhex("c000000100000001") + body + marker)),
        "another MAC": good_esp[:6] + bytes(6) + good_esp[12:],
        "a device's datagram": udp_frame(ISP_MAC, UPLINK_MAC, THERMOSTAT.v4, "203.0.113.10", 1, 2, b"x"),
        "the same over IPv6": udp_frame(ISP_MAC, UPLINK_MAC, THERMOSTAT.v6, "2001:db8:203::10", 1, 2, b"x"),
        "DHCP for another": udp_frame(ISP_MAC, UPLINK_MAC, "0.0.0.0", "255.255.255.255", 68, 67, b"\1\1\6" + bytes(25) + bytes(6) + bytes(206)),
        "DNS of the gateway": udp_frame(ISP_MAC, UPLINK_MAC, UPLINK4, "192.0.2.53", 5353, 53, b"camera-7.example"),
        "an ICMP error": ethernet(ISP_MAC, UPLINK_MAC, ETH_P_IP, ipv4(UPLINK4, CLOUD4, 1, b"\3\1" + bytes(6) + ipv4("203.0.113.10", THERMOSTAT.v4, 17, b""))),
        "junk at the IKE port": udp_frame(ISP_MAC, UPLINK_MAC, UPLINK4, CLOUD4, 500, 500, bytes(64)),
        "an unknown ethertype": ethernet(ISP_MAC, UPLINK_MAC, 0x88E1, bytes(46)),
        "ARP for a device": ethernet(ISP_MAC, UPLINK_MAC, 0x0806, bytes.fromhex("0001080006040001") + bytes.fromhex(UPLINK_MAC.replace(":", ""))
                                     + bytes([10, 20, 0, 12]) + bytes(6) + bytes([198, 51, 100, 1])),
        "a later fragment of nothing": ethernet(ISP_MAC, UPLINK_MAC, ETH_P_IP, ipv4(UPLINK4, CLOUD4, 17, body, ident=77, frag=100)),
    }
    missed = [name for name, frame in bad.items() if judge.judge(frame).kind != "clear"]
    must(not missed, f"not seen as clear: {', '.join(missed)}")


def recorder_keeps_a_burst(stage: Stage) -> None:
    """The witness misses nothing while it waits for a CPU: it stands still during a burst, and has every frame of it afterwards."""
    lab, burst = stage.lab, 20_000
    frame = udp_frame(UPLINK_MAC, ISP_MAC, "192.0.2.77", "192.0.2.78", 7, 7, b"burst")
    place = lab.watch()
    os.kill(lab.witness.child.pid, signal.SIGSTOP)
    try:
        probe.send_raw(lab.topology.isp, frame, "up0", burst)
    finally:
        os.kill(lab.witness.child.pid, signal.SIGCONT)
    lab.since(place)
    kept = sum(seen.data == frame for seen in lab.frames[place:])
    must(kept == burst, f"{kept} of {burst} frames recorded")


def lab_carries_stock_strongswan(stage: Stage) -> None:
    """The lab proves itself in a lab without penstock: stock strongSwan's ESP is recognised, and its leak after a tear-down is seen."""
    with Lab(stage.lab.build) as lab:
        gateway = strongswan.stock_gateway(lab.directory / "stock", lab.topology.gateway, lab.authority, lab.kernel_esp)
        gateway.start(10 * lab.slowness)
        gateway.swanctl("--initiate", "--child", "devices")
        sabotage.open_router(lab.topology.gateway)
        place, spis = lab.watch(), gateway.spis()["out"]
        for target in (READINGS4, READINGS6):
            answer = probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 2 * lab.slowness)
            must(answer.result == probe.ANSWERED, f"{target} through stock strongSwan: {answer.result}")
        verdict = lab.since(place, spis)
        must(verdict.esp and not verdict.clear, f"expected ESP only, saw: {verdict}")
        gateway.swanctl("--terminate", "--ike", "cloud")
        place = lab.watch()
        for target in (READINGS4, READINGS6):
            probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, lab.slowness)
        verdict = lab.since(place, spis)
        must(len(verdict.clear) >= 2, f"a plain router's leak was not seen: {verdict}")


def stays_small(stage: Stage) -> None:
    """Resident memory of both processes, idle, with a policy loaded and the tunnel up."""
    stage.open()
    agent = stage.lab.agent
    for name, pid in (("penstockd", agent.pid), ("penstock-ike", agent.ike_pid())):
        must(pid, f"{name} does not run")
        size = agent.resident_kib(pid or 0)
        stage.notes[f"RSS of {name}"] = f"{size / 1024:.1f} MB"
        must(0 < size < RESIDENT_LIMIT_KIB, f"{name}: {size / 1024:.1f} MB resident, limit 20 MB")


def ike_has_no_power(stage: Stage) -> None:
    """Every thread of penstock-ike: not root, no new privileges, and nothing but CAP_NET_BIND_SERVICE in any set."""
    stage.open()
    pid = stage.lab.agent.ike_pid()
    must(pid, "penstock-ike does not run")
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    must(len(threads) > 4, "too few threads to be libcharon")
    for thread in threads:
        status = dict(re.findall(r"^(\w+):\s*(.*)$", (thread / "status").read_text(), re.MULTILINE))
        must(set(status["Uid"].split()) & {"0"} == set(), f"thread {thread.name} runs as root")
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            extra = int(status[name], 16) & ~(1 << CAP_NET_BIND_SERVICE)
            must(not extra, f"thread {thread.name}: {name} {status[name]} holds more than CAP_NET_BIND_SERVICE")
        must(status["NoNewPrivs"] == "1", f"thread {thread.name}: NoNewPrivs is 0")
        must(status["Seccomp"] == "2", f"thread {thread.name}: no seccomp filter")
    stage.notes["penstock-ike"] = f"{len(threads)} threads without CAP_NET_ADMIN"


def status_tells_the_truth(stage: Stage) -> None:
    """What `penstock status`, `tunnel list` and `events` say, against what the cloud and the wire say."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    place = lab.watch()
    must(probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, "no traffic")
    verdict, status, tunnel = lab.since(place), agent.json("status"), agent.tunnel()
    must(status["gate"]["state"] == "closed", f"gate: {status['gate']}")
    must(status["policy"]["version"] == lab.bundles.version, f"policy: {status['policy']}, pushed {lab.bundles.version}")
    must(status["gate"]["witness"].get("clear") == 0, f"witness: {status['gate']['witness']}")
    must(status["devices"] == 3, f"devices: {status['devices']}")
    one = agent.cli("devices", THERMOSTAT.name).stdout
    must(all(text in one for text in (THERMOSTAT.mac, THERMOSTAT.v4, THERMOSTAT.v6)) and CAMERA.name not in one, one)
    nobody = agent.cli("devices", THERMOSTAT.name[:-1], check=False)
    must(nobody.returncode == 1 and f'did you mean "{THERMOSTAT.name}"' in nobody.stderr, nobody.stderr)
    must(tunnel["esp"] == ("kernel" if lab.kernel_esp else "user"), f"esp: {tunnel['esp']}")
    must(tunnel["peer"].startswith(CLOUD4), f"peer: {tunnel['peer']}")
    told = {tunnel["spi_out"].removeprefix("0x").zfill(8)}
    must(set(verdict.spis) == told, f"on the wire {set(verdict.spis)}, told {told}")
    must(told & lab.cloud.spis()["in"], f"the cloud does not know SPI {told}")
    probe.ask(lab.topology.of(CAMERA), READINGS4, lab.marker, 0.3 * lab.slowness)
    must(wait_until(lambda: sum(agent.json("status")["drops"].values()) > 0, lab.slowness), "a refused packet is not among the drops")


def rekey_loses_nothing(stage: Stage) -> None:
    """A rekey in mid-flow: new SPIs, all of them logged, no gap to speak of."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    place, old = lab.watch(), agent.tunnel()["spi_out"]
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 2) as flow:
        must(flow.wait_for_answers(50, 5 * lab.slowness), "no steady flow")
        moment = time.monotonic()
        agent.cli("tunnel", "rekey", "cloud")
        must(wait_until(lambda: agent.tunnel().get("spi_out") not in (None, old), 5 * lab.slowness, 0.05), "the SPI did not change")
        flow.wait_for_answers(100, 5 * lab.slowness)
        report = flow.finish()
    verdict, gap = lab.since(place), report.gap_after(moment)
    must(not verdict.clear, str(verdict))
    must(len(verdict.spis) == 2, f"expected two SPIs on the wire: {verdict}")
    must(gap is not None and gap < 2 * lab.slowness, f"gap {gap} s")
    stage.notes["rekey"] = f"{report.lost} of {report.sent} lost, gap {(gap or 0) * 1000:.0f} ms"


def nothing_comes_in_but_from_the_tunnel(stage: Stage) -> None:
    """The provider sends to devices in clear, with a service's address as source: only what an SA of ours decrypted may reach one."""
    stage.open()
    lab = stage.lab
    with lab.topology.of(THERMOSTAT).socket(2, 2) as sock:
        sock.bind((THERMOSTAT.v4, 7777))
        sock.settimeout(0.4 * lab.slowness)
        for source in ("203.0.113.10", "198.51.100.1"):
            probe.send_raw(lab.topology.isp, udp_frame(UPLINK_MAC, ISP_MAC, source, THERMOSTAT.v4, 5683, 7777, lab.marker), "up0", 5)
        try:
            heard = sock.recv(2048)
        except TimeoutError:
            heard = b""
    must(not heard, "a datagram from the uplink reached a device in clear")
    must(probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 2 * lab.slowness).result == probe.ANSWERED, "no traffic afterwards")


def witness_sees_an_open_gate(stage: Stage) -> None:
    """Positive control, last because nothing is left after it: programs detached, other layers removed, and the judge sees clear frames."""
    stage.open()
    lab = stage.lab
    detached = sabotage.remove_every_layer(lab)
    must(detached >= 2, f"only {detached} programs were found to detach: the control controls nothing")
    place = lab.watch()
    for target in (READINGS4, READINGS6):
        probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, lab.slowness)
    verdict = lab.since(place)
    seen = " ".join(verdict.clear)
    must(THERMOSTAT.v4 in seen and THERMOSTAT.v6 in seen, f"the witness saw: {verdict}")
    must(re.search("marker", seen), f"the marker was not recognised: {verdict}")
    stage.notes["positive control"] = f"{detached} programs detached, {len(verdict.clear)} clear frames seen"


# Order matters: `start` wants a gateway that never ran, the positive control leaves none behind.
CASES: dict[str, Callable[[Stage], None]] = {
    "judge_knows_clear_frames": judge_knows_clear_frames,
    "recorder_keeps_a_burst": recorder_keeps_a_burst,
    "lab_carries_stock_strongswan": lab_carries_stock_strongswan,
    "starts_closed_then_fast": as_case(scenes.start),
    "policy_decides": as_case(scenes.policy),
    "real_services_and_their_twins": as_case(scenes.services),
    "an_operator_gets_in_and_nobody_else": as_case(scenes.from_outside),
    "everyday_noise_stays_inside": as_case(scenes.everyday_noise),
    "uplink_renews_its_lease": as_case(scenes.uplink_renews),
    "strangers_stay_out": as_case(scenes.strangers),
    "tunnel_down_means_nothing_leaves": as_case(scenes.tunnel_down),
    "silent_peer_means_nothing_in_clear": as_case(scenes.peer_silent),
    "status_tells_the_truth": status_tells_the_truth,
    "stays_small": stays_small,
    "ike_has_no_power": ike_has_no_power,
    "rekey_loses_nothing": rekey_loses_nothing,
    "nothing_comes_in_but_from_the_tunnel": nothing_comes_in_but_from_the_tunnel,
    "forged_frames_from_the_uplink_reach_nobody": forged_frames_from_the_uplink_reach_nobody,
    "fragments_made_anew_are_nobodys": fragments_made_anew_are_nobodys,
    "addresses_given_by_a_rogue": addresses_given_by_a_rogue,
    "essentials_work_for_their_owner_only": essentials_work_for_their_owner_only,
    "a_frame_in_clear_latches_the_gate": a_frame_in_clear_latches_the_gate,
    "a_latch_outlives_a_reboot": a_latch_outlives_a_reboot,
    "clearing_the_witness_puts_no_released_gate_up": clearing_the_witness_puts_no_released_gate_up,
    "kill_9_of_penstockd": as_case(scenes.kill_penstockd),
    "kill_9_of_penstock_ike": as_case(scenes.kill_penstock_ike),
    "right_taken_away_in_mid_flow": as_case(scenes.right_taken_away),
    "rights_keep_hours": rights_keep_hours,
    "keys_change_while_traffic_flows": keys_change_while_traffic_flows,
    "devices_learn_their_addresses": devices_learn_their_addresses,
    "bad_bundles_refused": as_case(scenes.bad_bundles),
    "state_is_sealed": state_is_sealed,
    "state_without_seals_is_taken_over": state_without_seals_is_taken_over,
    "storage_key_is_replaced": storage_key_is_replaced,
    "audit_tells_who_did_what": audit_tells_who_did_what,
    "identities_stay_inside": identities_stay_inside,
    "a_crash_in_the_middle_of_a_push": a_crash_in_the_middle_of_a_push,
    **pushing.CASES,
    **pulling.CASES,
    **healing.CASES,
    **layers.CASES,
    **lans.CASES,
    **carriers.CASES,
    **booting.CASES,
    **mtu.CASES,
    **recovery.CASES,
    **remote.CASES,
    "quickstarts_at_once": quickstarts_at_once,
    "witness_sees_an_open_gate": witness_sees_an_open_gate,
}
# What has nothing to do with the kernel and takes long: an emulated machine plays these only where they are named.
SAME_ON_EVERY_KERNEL = {"quickstarts_at_once", "rights_keep_hours", "two_managers_fight", "policy_expires", "certificate_is_renewed",
                        "peer_away_for_long", "penstock_ike_hangs", "devices_learn_their_addresses",
                        "keys_change_while_traffic_flows", "state_is_sealed", "state_without_seals_is_taken_over", "storage_key_is_replaced", "audit_tells_who_did_what",
                         "a_crash_in_the_middle_of_a_push", "identities_stay_inside", *pushing.CASES, *pulling.CASES, *remote.CASES}
WITHOUT_AGENT = {"quickstarts_at_once", "judge_knows_clear_frames", "lab_carries_stock_strongswan"}
