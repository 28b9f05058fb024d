"""The lab's wires and addresses, and nothing about what runs on them.

    thermostat-12 --+                                            | the witness listens here
      10.20.0.12    |                                            v
    camera-7 -------+-- br0 -- lan0 [ gateway ] wan0 --------- up0 [ isp ] cl0 ------- wan0 [ cloud ] lo
      10.20.0.7     |  switch  10.20.0.1      198.51.100.2     198.51.100.1  192.0.2.1    192.0.2.2   203.0.113.10
    intruder -------+          fd20::1        2001:db8:51::2   ...:51::1     ...:2::1     ...:2::2    203.0.113.20, .30, .50
      10.20.0.66    |                                                                                 2001:db8:203::10, ::20, ...
    bulb-3 ---------+
      10.20.0.3

Every box in [] and every device is a network namespace with a random suffix. The isp also routes the services' addresses
in clear to the cloud: what leaks, arrives and is answered, so that a leak cannot hide behind a missing route.
"""

from __future__ import annotations

from dataclasses import dataclass

from .system import NETNS_DIR, LabError, Namespace, run

LAN4, LAN6 = "10.20.0.0/24", "fd20::/64"
GATEWAY_LAN4, GATEWAY_LAN6, GATEWAY_LAN_MAC = "10.20.0.1", "fd20::1", "02:00:00:00:00:01"
UPLINK4, UPLINK6, UPLINK_MAC = "198.51.100.2", "2001:db8:51::2", "02:00:00:00:51:02"
ISP4, ISP6, ISP_MAC = "198.51.100.1", "2001:db8:51::1", "02:00:00:00:51:01"
CLOUD4, CLOUD6 = "192.0.2.2", "2001:db8:2::2"
SERVICES4, SERVICES6 = "203.0.113.0/24", "2001:db8:203::/64"
TELEMETRY4, TELEMETRY6 = "203.0.113.10", "2001:db8:203::10"
VIDEO4, VIDEO6 = "203.0.113.20", "2001:db8:203::20"
HUB4, HUB6 = "203.0.113.30", "2001:db8:203::30"
OPERATOR4, OPERATOR6 = "203.0.113.50", "2001:db8:203::50"
UDP_PORTS = (5683, 4000, 123)
TCP_PORTS = (8883, 443, 22)


@dataclass(frozen=True)
class Device:
    """A thing on the LAN, as it really is; what policy calls it is the policy's business."""

    name: str
    mac: str
    v4: str
    v6: str

    def address(self, version: int) -> str:
        return self.v4 if version == 4 else self.v6


THERMOSTAT = Device("thermostat-12", "02:00:00:00:00:12", "10.20.0.12", "fd20::12")
CAMERA = Device("camera-7", "02:00:00:00:00:07", "10.20.0.7", "fd20::7")
INTRUDER = Device("intruder", "02:00:00:00:00:66", "10.20.0.66", "fd20::66")
BULB = Device("bulb-3", "02:00:00:00:00:03", "10.20.0.3", "fd20::3")  # speaks all the time, see noise.py
DEVICES = (THERMOSTAT, CAMERA, INTRUDER, BULB)


class Topology:
    """The namespaces of one lab. Addresses are the same in every lab: namespaces keep them apart."""

    def __init__(self, lab_id: str) -> None:
        names = [d.name for d in DEVICES] + ["switch", "gateway", "isp", "cloud"]
        self.all = {name: Namespace(f"pl-{lab_id}-{name}") for name in names}
        self.switch, self.gateway = self.all["switch"], self.all["gateway"]
        self.isp, self.cloud = self.all["isp"], self.all["cloud"]

    def of(self, device: Device) -> Namespace:
        return self.all[device.name]

    def make(self) -> None:
        for namespace in self.all.values():
            run(["ip", "netns", "add", namespace.name])
            # IPv4 settings of a new namespace are copied from the host's; the lab must not depend on them.
            namespace.sysctl({"ipv4/ip_forward": 0, "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0,
                              "ipv6/conf/all/disable_ipv6": 0, "ipv6/conf/default/disable_ipv6": 0,
                              "ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0,
                              "ipv6/conf/default/accept_ra": 0})
        self.isp.sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1, "ipv6/conf/default/forwarding": 1})
        self._wire_devices()
        self._wire_uplink()

    def _wire_devices(self) -> None:
        ports = [f"link add lan0 address {GATEWAY_LAN_MAC} netns {self.gateway.name} type veth peer name p-gw"]
        for number, device in enumerate(DEVICES):
            ports.append(f"link add eth0 address {device.mac} netns {self.of(device).name} type veth peer name p{number}")
        names = ["p-gw"] + [f"p{number}" for number in range(len(DEVICES))]
        self.switch.ip("\n".join(["link add br0 type bridge", "link set br0 up", *ports,
                                  *(f"link set {name} master br0 up" for name in names)]))
        for device in DEVICES:
            self.of(device).ip(f"""link set lo up
                link set eth0 up
                addr add {device.v4}/24 dev eth0
                addr add {device.v6}/64 dev eth0 nodad
                route add default via {GATEWAY_LAN4}
                route add default via {GATEWAY_LAN6}""")

    def _wire_uplink(self) -> None:
        self.isp.ip(f"""link set lo up
            link add up0 address {ISP_MAC} type veth peer name wan0 address {UPLINK_MAC} netns {self.gateway.name}
            link add cl0 type veth peer name wan0 netns {self.cloud.name}
            link set up0 up
            link set cl0 up
            addr add {ISP4}/24 dev up0
            addr add {ISP6}/64 dev up0 nodad
            addr add 192.0.2.1/24 dev cl0
            addr add 2001:db8:2::1/64 dev cl0 nodad
            route add {SERVICES4} via {CLOUD4}
            route add {LAN4} via {UPLINK4}
            route add {SERVICES6} via {CLOUD6}
            route add {LAN6} via {UPLINK6}""")
        self.cloud.ip(f"""link set lo up
            link set wan0 up
            addr add {CLOUD4}/24 dev wan0
            addr add {CLOUD6}/64 dev wan0 nodad
            addr add {TELEMETRY4}/32 dev lo
            addr add {VIDEO4}/32 dev lo
            addr add {TELEMETRY6}/128 dev lo nodad
            addr add {VIDEO6}/128 dev lo nodad
            addr add {HUB4}/32 dev lo
            addr add {HUB6}/128 dev lo nodad
            addr add {OPERATOR4}/32 dev lo
            addr add {OPERATOR6}/128 dev lo nodad
            route add default via 192.0.2.1
            route add default via 2001:db8:2::1""")
        self.gateway.ip(f"""link set lo up
            link set lan0 up
            addr add {GATEWAY_LAN4}/24 dev lan0
            addr add {GATEWAY_LAN6}/64 dev lan0 nodad
            link set wan0 up
            addr add {UPLINK4}/24 dev wan0
            addr add {UPLINK6}/64 dev wan0 nodad
            route add default via {ISP4}
            route add default via {ISP6}""")

    def delete(self) -> None:
        for namespace in self.all.values():
            run(["ip", "netns", "del", namespace.name], check=False)

    def silence_peer(self, silent: bool) -> None:
        """The provider stops (or goes on) carrying packets to the cloud's outer address: the peer looks dead."""
        verb = "add" if silent else "del"
        self.isp.ip(f"route {verb} blackhole {CLOUD4}/32\nroute {verb} blackhole {CLOUD6}/128", check=False)


def kernel_has_esp() -> bool:
    """Found out by trying, in a namespace thrown away after: module lists and /proc say too little."""
    import os

    probe = Namespace(f"pl-probe-{os.getpid()}")
    run(["ip", "netns", "add", probe.name])
    try:
        key = "0x" + "5a" * 36
        done = run(["ip", "-n", probe.name, "xfrm", "state", "add", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "0x1000",
                    "reqid", "1", "mode", "tunnel", "aead", "rfc4106(gcm(aes))", key, "128"], check=False)
        return done.returncode == 0
    finally:
        run(["ip", "netns", "del", probe.name], check=False)


def require_root() -> None:
    import os

    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes network namespaces (never touching the host's own)")
    os.makedirs(NETNS_DIR, exist_ok=True)
