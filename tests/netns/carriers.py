"""Uplinks as they are: a bridge, a VLAN, a bond, an interface without Ethernet. What is below them lets their frames out and no others."""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from expect import Skip, must
from lab import probe, sabotage
from lab import topology as net
from lab.capture import Frame
from lab.frames import UDP, ethernet, ipv4, udp, udp_frame
from lab.stage import READINGS4, READINGS6, VIDEO6, Stage
from lab.system import Channel, Child, Namespace, wait_until
from lab.topology import CAMERA, THERMOSTAT
from lab.witness import Verdict, judge

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
VLAN, OTHER_VLAN = 7, 8
_STRANGER = "198.51.100.99"


@dataclass(frozen=True)
class Kind:
    """An uplink above wan0, and what makes it."""

    uplink: str
    make: str
    vlan: int = 0


BRIDGE = Kind("br-wan", f"link add br-wan address {net.UPLINK_MAC} type bridge\nlink set wan0 master br-wan")
TAGGED = Kind(f"wan0.{VLAN}", f"link add link wan0 name wan0.{VLAN} type vlan id {VLAN}", VLAN)
BOND = Kind("bond0", "link add bond0 type bond mode active-backup miimon 100\nlink set wan0 down\nlink set wan0 master bond0\nlink set wan0 up")


def _addresses(uplink: str) -> str:
    return (f"link set {uplink} up\naddr replace {net.UPLINK4}/24 dev {uplink}\naddr replace {net.UPLINK6}/64 dev {uplink} nodad\n"
            f"route replace default via {net.ISP4} dev {uplink}\nroute replace default via {net.ISP6} dev {uplink}")


def _provider_at(isp: Namespace, interface: str) -> None:
    isp.ip(f"addr flush dev {'up0' if interface != 'up0' else f'up0.{VLAN}'} scope global", check=False)
    isp.ip(f"addr replace {net.ISP4}/24 dev {interface}\naddr replace {net.ISP6}/64 dev {interface} nodad\n"
           f"route replace {net.LAN4} via {net.UPLINK4}\nroute replace {net.LAN6} via {net.UPLINK6}")


@contextmanager
def _configured(stage: Stage, uplink: str) -> Iterator[None]:
    """The agent anew with this uplink; afterwards with the lab's own again."""
    configuration = stage.lab.agent.etc / "penstock.toml"
    before = configuration.read_text(encoding="utf-8")
    configuration.write_text(before.replace('["wan0"]', json.dumps([uplink])), encoding="utf-8")
    stage.lab.agent.start()
    try:
        yield
    finally:
        configuration.write_text(before, encoding="utf-8")
        stage.lab.agent.stop()


@contextmanager
def _stands_on_wan0(stage: Stage, kind: Kind) -> Iterator[None]:
    stage.open()
    lab, gateway, isp = stage.lab, stage.lab.topology.gateway, stage.lab.topology.isp
    lab.agent.stop()
    try:
        gateway.ip(kind.make, check=False)
        if f"{kind.uplink}:" not in gateway.ip("link show").replace("@wan0:", ":"):
            raise Skip(f"this kernel has no {kind.make.split(' type ')[1].split()[0]} interfaces")
        gateway.ip("addr flush dev wan0\nroute flush default", check=False)
        if kind.vlan:
            isp.ip(f"link add link up0 name up0.{VLAN} type vlan id {VLAN}\nlink set up0.{VLAN} up")
            _provider_at(isp, f"up0.{VLAN}")
        gateway.ip(_addresses(kind.uplink))
        with _configured(stage, kind.uplink):
            yield
    finally:
        if kind.vlan:
            _provider_at(isp, "up0")
            isp.ip(f"link del up0.{VLAN}", check=False)
        # Down and up: its link-local address comes back too.
        gateway.ip(f"link set wan0 nomaster\nlink del {kind.uplink}\nlink set wan0 down\nlink set wan0 address {net.UPLINK_MAC}\nlink set wan0 up",
                   check=False)
        gateway.ip(_addresses("wan0"))
        lab.agent.start()


def _wait_watched(stage: Stage) -> None:
    """Layer 5 looks only once the others have stood for a while."""
    agent = stage.lab.agent
    must(wait_until(lambda: agent.json("status")["gate"]["witness"]["state"] in ("watching", "absent"), 10 * stage.lab.slowness),
         f"{agent.json('status')['gate']['witness']}")


def _clear_witness(stage: Stage) -> None:
    """It must have seen the control's frames, without any process that moved."""
    agent, patience = stage.lab.agent, 15 * stage.lab.slowness
    if agent.json("status")["gate"]["witness"]["state"] != "absent":
        must(wait_until(lambda: "the witness saw" in agent.json("status")["gate"].get("problem", ""), patience), "the witness saw nothing")
        agent.cli("guard", "clear-witness")
    must(wait_until(lambda: agent.json("status")["gate"]["state"] == "closed", patience), f"{agent.json('status')['gate']}")


def _without_tag(frames: list[Frame], vlan: int) -> list[Frame]:
    """As the uplink sent them: what is in another VLAN keeps its tag, and the judge calls it clear."""
    tag = struct.pack("!HH", 0x8100, vlan)
    return [replace(frame, data=frame.data[:12] + frame.data[16:]) if vlan and frame.data[12:16] == tag else frame for frame in frames]


def _since(stage: Stage, place: int, vlan: int) -> Verdict:
    lab = stage.lab
    time.sleep(0.05 * lab.slowness)
    lab.watch()
    return judge(_without_tag(lab.frames[place:], vlan), lab.expect, lab.agent.spis())


def _tagged(frame: bytes, *vlans: int) -> bytes:
    return frame[:12] + b"".join(struct.pack("!HH", 0x8100, vlan) for vlan in vlans) + frame[12:]


def _clear_frames(stage: Stage, vlan: int) -> list[bytes]:
    """Ways around the uplink: as it is on its carrier, in another VLAN, in a PPPoE session; and in its own VLAN, what it would not send."""
    marker = stage.lab.marker
    devices = [udp_frame(net.ISP_MAC, net.UPLINK_MAC, source, target, 5683, 5683, marker)
               for source, target in ((THERMOSTAT.v4, net.TELEMETRY4), (THERMOSTAT.v6, net.TELEMETRY6), (net.UPLINK4, _STRANGER))]
    spi = next(iter(stage.lab.agent.spis()), "c0000001")
    esp = ethernet(net.ISP_MAC, net.UPLINK_MAC, 0x0800, ipv4(net.UPLINK4, net.CLOUD4, 50, bytes.fromhex(spi + "00000001") + marker))
    session = ethernet(net.ISP_MAC, net.UPLINK_MAC, 0x8864, bytes.fromhex("11000001") + struct.pack("!HH", 100, 0x21) + devices[0][14:])
    strange = ethernet(net.ISP_MAC, net.UPLINK_MAC, 0x88B5, marker)
    frames = [*devices, esp, session, strange]
    return frames + [_tagged(frame, *tags) for frame in frames for tags in ((OTHER_VLAN,), (VLAN,), (VLAN, VLAN))]


def _send(stage: Stage, interface: str, packets: list[bytes]) -> None:
    for packet in packets:
        with suppress(OSError):  # what a program drops is told to who sends by a packet socket
            probe.send_raw(stage.lab.topology.gateway, packet, interface, 1)


def _leaves_only_as_it_must(stage: Stage, kind: Kind) -> None:
    """Traffic goes through it; nothing goes around it; and without its program the same frames are seen."""
    lab, agent = stage.lab, stage.lab.agent
    place = lab.watch()
    must(agent.wait_tunnel("up", 20), f"the tunnel does not come up: {agent.last_words()}")
    for device, target in ((THERMOSTAT, READINGS4), (THERMOSTAT, READINGS6), (CAMERA, VIDEO6)):
        must(wait_until(lambda: probe.ask(lab.topology.of(device), target, lab.marker, lab.slowness).result == probe.ANSWERED, 8 * lab.slowness),
             f"{device.name}, {target}: no answer")
    status = agent.json("status")
    shown = {one["name"]: one for one in status["gate"]["interfaces"]}
    must(shown["wan0"]["role"] == "carrier" and shown["wan0"]["carries"] == [kind.uplink], f"{shown['wan0']}")
    before = status["drops"].get("carrier", 0)
    frames = _clear_frames(stage, kind.vlan)
    _send(stage, "wan0", frames)
    verdict = _since(stage, place, kind.vlan)
    must(not verdict.clear and verdict.esp >= 3, str(verdict))
    status = agent.json("status")
    must(status["gate"]["state"] == "closed", f"{status['gate']}")
    must(status["drops"].get("carrier", 0) - before >= len(frames) // 2, f"not told: {status['drops']}")
    _wait_watched(stage)
    with agent.stopped():
        must(sabotage.detach_programs(lab, ("uplink_egress",)), "no program to detach")
        place = lab.watch()
        _send(stage, "wan0", frames)
        verdict = _since(stage, place, kind.vlan)
        must(len(verdict.clear) >= len(frames), f"control: without the program the judge saw {verdict}")
    _clear_witness(stage)


def _over(kind: Kind) -> Callable[[Stage], None]:
    def case(stage: Stage) -> None:
        with _stands_on_wan0(stage, kind):
            _leaves_only_as_it_must(stage, kind)
        stage.restart_tunnel()

    case.__doc__ = f"The uplink is {kind.uplink} on wan0."
    return case


class Modem:
    """Somebody else's TUN: carries IP between the gateway and the provider, and keeps what the gateway said."""

    def __init__(self, stage: Stage) -> None:
        self.lab = stage.lab
        self.record = self.lab.directory / "modem"
        self.ends = [self._tun(self.lab.topology.gateway, "wwan0"), self._tun(self.lab.topology.isp, "modem0")]
        self.child = Child.start("modem", self._carry, self.lab.topology.isp)

    @staticmethod
    def _tun(namespace: Namespace, name: str) -> int:
        with namespace.inside():
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        namespace.ip(f"link set {name} addrgenmode none\nlink set {name} up")
        return fd

    def _carry(self, _channel: Channel) -> None:
        gateway, isp = self.ends
        with self.record.open("ab", buffering=0) as record:
            while True:
                for fd in select.select(self.ends, [], [])[0]:
                    packet = os.read(fd, 65536)
                    if fd == gateway:
                        record.write(struct.pack("!I", len(packet)) + packet)
                    try:
                        os.write(isp if fd == gateway else gateway, packet)
                    except OSError:  # no IP packet, or the other end is down
                        pass

    def heard(self) -> list[Frame]:
        time.sleep(0.1 * self.lab.slowness)
        data, frames = self.record.read_bytes(), []
        while data:
            size = struct.unpack("!I", data[:4])[0]
            packet, data = data[4:4 + size], data[4 + size:]
            kind = {4: 0x0800, 6: 0x86DD}.get(packet[0] >> 4, 0x88B5)
            frames.append(Frame(0.0, True, ethernet(net.ISP_MAC, net.UPLINK_MAC, kind, packet)))
        return frames

    def close(self) -> None:
        self.child.stop(0.1)
        for fd in self.ends:
            os.close(fd)


def uplink_without_ethernet(stage: Stage) -> None:
    """An LTE modem's kind of interface, with a TUN of somebody else in its place: packets begin with IP."""
    stage.open()
    lab, gateway, isp, agent = stage.lab, stage.lab.topology.gateway, stage.lab.topology.isp, stage.lab.agent
    agent.stop()
    modem = Modem(stage)
    try:
        gateway.ip("addr flush dev wan0\nroute flush default", check=False)
        gateway.ip(f"addr add {net.UPLINK4}/32 dev wwan0\naddr add {net.UPLINK6}/128 dev wwan0 nodad\nroute replace 0.0.0.0/0 dev wwan0\n"
                   "route replace ::/0 dev wwan0")
        isp.ip(f"route add {net.UPLINK4}/32 dev modem0\nroute add {net.UPLINK6}/128 dev modem0")
        with _configured(stage, "wwan0"):
            must(agent.wait_tunnel("up", 20), f"the tunnel does not come up: {agent.last_words()}")
            for device, target in ((THERMOSTAT, READINGS4), (CAMERA, VIDEO6)):
                must(wait_until(lambda: probe.ask(lab.topology.of(device), target, lab.marker, lab.slowness).result == probe.ANSWERED,
                                8 * lab.slowness), f"{device.name}, {target}: no answer")
            datagrams = [frame[14:] for frame in _clear_frames(stage, 0)[:4]]
            datagrams += [ipv4(net.UPLINK4, _STRANGER, UDP, udp(net.UPLINK4, _STRANGER, 9, 9, lab.marker)), b"\x00" * 20 + lab.marker]
            _send(stage, "wwan0", datagrams)
            verdict = judge(modem.heard(), lab.expect, agent.spis())
            must(not verdict.clear and verdict.esp >= 2, str(verdict))
            must(agent.json("status")["gate"]["state"] == "closed", f"{agent.json('status')['gate']}")
            _wait_watched(stage)
            with agent.stopped():
                must(sabotage.detach_programs(lab, ("uplink_egress",), ("lan0", "wan0", "wwan0")), "no program to detach")
                _send(stage, "wwan0", datagrams)
                verdict = judge(modem.heard(), lab.expect, agent.spis())
                must(len(verdict.clear) >= len(datagrams), f"control: without the program the modem got {verdict}")
            _clear_witness(stage)
    finally:
        modem.close()
        gateway.ip(f"link set wan0 down\nlink set wan0 up\n{_addresses('wan0')}")
        agent.start()
    stage.restart_tunnel()


def _closed_but_for_witness(stage: Stage) -> bool:
    gate = stage.lab.agent.json("status")["gate"]
    if gate.get("witness", {}).get("state") == "latched":
        stage.lab.agent.cli("guard", "clear-witness", check=False)
    return bool(gate["state"] == "closed")


def carrier_put_into_the_lan_bridge(stage: Stage) -> None:
    """Somebody makes the uplink's carrier a port of the LAN's bridge, while the agent runs: what a bridge carries is never routed."""
    stage.open()
    lab, gateway, agent = stage.lab, stage.lab.topology.gateway, stage.lab.agent
    gateway.ip(f"link add br-lan address {net.GATEWAY_LAN_MAC} type bridge\naddr flush dev lan0\nlink set lan0 master br-lan\nlink set br-lan up\n"
               f"addr add {net.GATEWAY_LAN4}/24 dev br-lan\naddr add {net.GATEWAY_LAN6}/64 dev br-lan nodad")
    configuration = agent.etc / "penstock.toml"
    before = configuration.read_text(encoding="utf-8")
    agent.stop()
    configuration.write_text(before.replace('["lan0"]', '["br-lan"]').replace('["wan0"]', '["ppp0"]\npppoe = ["ppp0@wan0"]'), encoding="utf-8")
    marker = lab.marker
    frames = [udp_frame(net.ISP_MAC, THERMOSTAT.mac, source, target, 5683, 5683, marker)
              for source, target in ((THERMOSTAT.v4, net.TELEMETRY4), (THERMOSTAT.v6, net.TELEMETRY6))]

    def clear_from_the_device() -> Verdict:
        place = lab.watch()
        for frame in frames * 3:
            probe.send_raw(lab.topology.of(THERMOSTAT), frame)
        return _since(stage, place, 0)

    try:
        agent.start()
        must(wait_until(lambda: agent.json("status")["gate"]["state"] == "closed", 10 * lab.slowness), f"{agent.json('status')['gate']}")
        pins = [pin.name for pin in (agent.bpffs / "penstock/links").glob(gateway.ip("link show lan0").split(":")[0] + "-*")]
        must(not pins, f"lan0 is a port now, and keeps {pins}")
        gateway.ip("link set wan0 master br-lan")
        verdict = clear_from_the_device()
        must(not verdict.clear, f"through the bridge: {verdict}")
        must(wait_until(lambda: "both carried by wan0" in agent.json("status")["gate"].get("problem", ""), 10 * lab.slowness),
             f"{agent.json('status')['gate']}")
        verdict = clear_from_the_device()
        must(not verdict.clear, f"once it is told: {verdict}")
        with agent.stopped():
            must(sabotage.detach_programs(lab, ("uplink_egress",)), "no program to detach")
            verdict = clear_from_the_device()
            must(verdict.clear, f"control: without the program the judge saw {verdict}")
        gateway.ip("link set wan0 nomaster")
        # It looks only once all has been well for a while: it may have seen the control or not.
        must(wait_until(lambda: _closed_but_for_witness(stage), 15 * lab.slowness, 0.2), f"{agent.json('status')['gate']}")
    finally:
        agent.stop()
        configuration.write_text(before, encoding="utf-8")
        gateway.ip("link set wan0 nomaster", check=False)
        # Down and up: the flush took its link-local address too.
        gateway.ip(f"link set lan0 nomaster\nlink del br-lan\nlink set lan0 down\nlink set lan0 up\n"
                   f"addr add {net.GATEWAY_LAN4}/24 dev lan0\naddr add {net.GATEWAY_LAN6}/64 dev lan0 nodad")
        agent.start()
    stage.restart_tunnel()


CASES: dict[str, Callable[[Stage], None]] = {
    "carrier_put_into_the_lan_bridge": carrier_put_into_the_lan_bridge,
    "uplink_is_a_bridge": _over(BRIDGE),
    "uplink_is_a_vlan": _over(TAGGED),
    "uplink_is_a_bond": _over(BOND),
    "uplink_without_ethernet": uplink_without_ethernet,
}
