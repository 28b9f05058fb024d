"""LANs: from device to device through the gateway, devices that are believed on one LAN alone, two LANs, a bridge as LAN."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from expect import must
from lab import probe
from lab import topology as net
from lab.probe import ANSWERED, Target
from lab.stage import READINGS4, READINGS6, VIDEO4, Stage
from lab.system import Channel, Child, wait_until
from lab.topology import BULB, CAMERA, INTRUDER, THERMOSTAT, Device

PORT = 5000
LAN_PEERS = {
    "  time:  ": '  pictures: { to: ["group:cameras"], ports: [udp/5000] }\n  time:  ',
    "allow: [telemetry, readings,": "allow: [pictures, telemetry, readings,",
}


@contextmanager
def _answering(stage: Stage, device: Device) -> Iterator[None]:
    """A service of the device, both families, that sends back what it gets."""

    def serve(family: socket.AddressFamily, address: str) -> Child:
        def live(channel: Channel) -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind((address, PORT))
                channel.send("ready")
                while True:
                    data, sender = sock.recvfrom(2048)
                    sock.sendto(data, sender)

        child = Child.start("answering", live, stage.lab.topology.of(device))
        child.channel.receive(5)
        return child

    children = [serve(socket.AF_INET, device.v4), serve(socket.AF_INET6, device.v6)]
    try:
        yield
    finally:
        for child in children:
            child.stop()


@contextmanager
def _by_way_of_the_gateway(stage: Stage, *devices: Device) -> Iterator[None]:
    """As on a switch with isolated ports: each device sends to the others by the gateway."""
    routes = [(here, other.address(family), gateway) for here in devices for other in devices if here is not other
              for family, gateway in ((4, net.GATEWAY_LAN4), (6, net.GATEWAY_LAN6))]
    for here, address, gateway in routes:
        stage.lab.topology.of(here).ip(f"route add {address} via {gateway}")
    try:
        yield
    finally:
        for here, address, _ in routes:
            stage.lab.topology.of(here).ip(f"route del {address}", check=False)


def _asks(stage: Stage, sender: Device, receiver: Device, family: int) -> str:
    target = Target(receiver.address(family), "udp", PORT)
    return probe.ask(stage.lab.topology.of(sender), target, stage.lab.marker, 1.5 * stage.lab.slowness).result


def device_to_device(stage: Stage) -> None:
    """A service to a group of devices: its members answer, nobody else does, nothing of it is seen on the uplink, and a
    bundle without it ends it."""
    stage.open()
    lab = stage.lab
    with _answering(stage, CAMERA), _by_way_of_the_gateway(stage, THERMOSTAT, CAMERA, BULB):
        for family in (4, 6):
            must(_asks(stage, THERMOSTAT, CAMERA, family) != ANSWERED, f"IPv{family}: answered without a right")
        place = lab.watch()
        push = lab.agent.push(lab.bundles.make("between-devices", replace=LAN_PEERS))
        must(push.accepted, push.reason)
        for family in (4, 6):
            must(wait_until(lambda: _asks(stage, THERMOSTAT, CAMERA, family) == ANSWERED, 8 * lab.slowness), f"IPv{family}: no answer")
            must(_asks(stage, BULB, CAMERA, family) != ANSWERED, f"IPv{family}: a device without the right is answered")
        verdict = lab.since(place)
        must(not verdict.clear and not verdict.esp, f"on the uplink: {verdict}")
        stage.push_base()
        for family in (4, 6):
            must(_asks(stage, THERMOSTAT, CAMERA, family) != ANSWERED, f"IPv{family}: answered after the right was taken away")
        must(not lab.since(place).clear, str(lab.since(place)))


def believed_on_one_lan_alone(stage: Stage) -> None:
    """A device bound to an interface: heard there, not where another is bound to; and again when the LAN comes back as a new interface."""
    stage.open()
    lab, gateway = stage.lab, stage.lab.topology.gateway

    def bound_to(interface: str) -> None:
        push = lab.agent.push(lab.bundles.make(f"bound-to-{interface}", replace={"name: thermostat-12,": f"name: thermostat-12, interface: {interface},"}))
        must(push.accepted, push.reason)

    def answered() -> bool:
        return probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 1.5 * lab.slowness).result == ANSWERED

    place = lab.watch()
    bound_to("lan0")
    must(wait_until(answered, 5 * lab.slowness), "no answer on the LAN that it is bound to")
    bound_to("lan9")
    must(not answered(), "answered although it is bound to another LAN")
    bound_to("lan0")
    must(wait_until(answered, 5 * lab.slowness), "no answer on the LAN that it is bound to again")
    gateway.ip("link del lan0")
    lab.topology.switch.ip(f"link add lan0 address {net.GATEWAY_LAN_MAC} netns {gateway.name} type veth peer name p-gw\nlink set p-gw master br0 up")
    gateway.ip(f"link set lan0 up\naddr add {net.GATEWAY_LAN4}/24 dev lan0\naddr add {net.GATEWAY_LAN6}/64 dev lan0 nodad")
    must(wait_until(answered, 10 * lab.slowness), "no answer after the LAN came back as another interface")
    must(not lab.since(place).clear, str(lab.since(place)))
    stage.push_base()


@contextmanager
def _lans(stage: Stage, *names: str, **settings: str) -> Iterator[None]:
    """The agent anew with these LANs and settings of theirs; afterwards with the lab's own again."""
    agent = stage.lab.agent
    configuration = agent.etc / "penstock.toml"
    before = configuration.read_text(encoding="utf-8")
    lines = [json.dumps(names), *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    configuration.write_text(before.replace('["lan0"]', "\n".join(lines)), encoding="utf-8")
    agent.stop()
    agent.start()
    try:
        yield
    finally:
        configuration.write_text(before, encoding="utf-8")
        agent.stop()
        agent.start()


def _stays_closed_and_carries(stage: Stage) -> None:
    lab, agent = stage.lab, stage.lab.agent
    must(wait_until(lambda: agent.json("status")["gate"]["state"] == "closed", 8 * lab.slowness), f"{agent.json('status')['gate']}")
    time.sleep(4)  # rounds of comparing; a fight would be recognised
    gate = agent.json("status")["gate"]
    must(gate["state"] == "closed", f"after four rounds: {gate}")
    stage.open()
    for target in (READINGS4, READINGS6):
        answer = probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 3 * lab.slowness)
        must(answer.result == ANSWERED, f"{target}: {answer.result}")


def two_lans(stage: Stage) -> None:
    """Two LANs with one link-local address, as VLANs of one card have: the gate stays closed, nothing is put back again and again."""
    stage.open()
    gateway = stage.lab.topology.gateway
    gateway.ip(f"link add lan1 address {net.GATEWAY_LAN_MAC} type veth peer name lan1-far\nlink set lan1-far up\nlink set lan1 up")
    try:
        with _lans(stage, "lan0", "lan1"):
            _stays_closed_and_carries(stage)
    finally:
        gateway.ip("link del lan1")


def a_bridge_as_lan(stage: Stage) -> None:
    """The LAN is a bridge, the devices hang on its ports: they are judged once, on the bridge."""
    stage.open()
    lab, gateway = stage.lab, stage.lab.topology.gateway
    gateway.ip(f"link add br0 address {net.GATEWAY_LAN_MAC} type bridge\naddr flush dev lan0\nlink set lan0 master br0\nlink set br0 up\n"
               f"addr add {net.GATEWAY_LAN4}/24 dev br0\naddr add {net.GATEWAY_LAN6}/64 dev br0 nodad")
    try:
        with _lans(stage, "br0"):
            place = lab.watch()
            _stays_closed_and_carries(stage)
            roles = {one["name"]: one["role"] for one in lab.agent.json("status")["gate"]["interfaces"]}
            must(roles["br0"] == "lan" and roles["lan0"] == "lan port", f"{roles}")
            must(probe.ask(lab.topology.of(THERMOSTAT), VIDEO4, lab.marker, stage.refusal).result != ANSWERED, "what policy forbids is answered")
            must(not lab.since(place).clear, str(lab.since(place)))
            # Down and up: the flush took its link-local address too, without which nobody is asked for on IPv6.
            gateway.ip(f"link set lan0 nomaster\nlink del br0\nlink set lan0 down\nlink set lan0 up\n"
                       f"addr add {net.GATEWAY_LAN4}/24 dev lan0\naddr add {net.GATEWAY_LAN6}/64 dev lan0 nodad")
    finally:
        gateway.ip("link del br0", check=False)


def _early_drop(stage: Stage) -> str:
    interfaces = stage.lab.agent.json("status")["gate"]["interfaces"]
    return str(next(one["early_drop"] for one in interfaces if one["name"] == "lan0"))


def strangers_dropped_in_the_driver(stage: Stage) -> None:
    """XDP where it is asked for: strangers end there, devices and forgers are judged as ever, and a release takes it away. A veth has it only
    if told so, and one with somebody else's program not at all."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    must("a veth gains nothing" in _early_drop(stage), _early_drop(stage))
    with _lans(stage, "lan0", early_drop="on"):
        stage.open()
        must(_early_drop(stage) == "on", _early_drop(stage))
        place = lab.watch()
        for target in (READINGS4, READINGS6):
            must(probe.ask(lab.topology.of(THERMOSTAT), target, lab.marker, 3 * lab.slowness).result == ANSWERED, f"{target}: no answer")
            must(probe.ask(lab.topology.of(INTRUDER), target, lab.marker, stage.refusal).result != ANSWERED, f"{target}: a stranger is answered")
        told = [json.loads(line) for line in agent.cli("events", "--json").stdout.splitlines()]
        events = [event for event in told if event["event"] == "drop" and event.get("mac") == INTRUDER.mac]
        must(any(event["hook"] == "early_drop" and event["reason"] == "unknown_device" for event in events), f"{events}")
        must(not lab.since(place).clear, str(lab.since(place)))
    gateway = lab.topology.gateway
    gateway.ip(f"link add lan1 address {net.GATEWAY_LAN_MAC} type veth peer name lan1-far\nlink set lan1-far up\nlink set lan1 up")
    try:
        with _lans(stage, "lan0", "lan1", early_drop="on"):
            must("xdp" in gateway.ip("link show lan1"), "not on the second LAN")
        must("xdp" not in gateway.ip("link show lan1"), "a LAN no more, and the program is still there")
    finally:
        gateway.ip("link del lan1")
    with _lans(stage, "lan0", early_drop="on"):
        agent.cli("guard", "release", "--yes")
        must("xdp" not in gateway.ip("link show lan0"), "released, and the program is still there")
    with _lans(stage, "lan0", early_drop="off"):
        must(_early_drop(stage) == "off by the configuration", _early_drop(stage))


CASES: dict[str, Callable[[Stage], None]] = {
    "device_to_device": device_to_device,
    "believed_on_one_lan_alone": believed_on_one_lan_alone,
    "strangers_dropped_in_the_driver": strangers_dropped_in_the_driver,
    "two_lans": two_lans,
    "a_bridge_as_lan": a_bridge_as_lan,
}
