"""VLAN, bridge and raw-IP carriers: other ethertypes, no Ethernet header (review)."""

from __future__ import annotations

from lab import topology as net
from scenario import THERMOSTAT, Scene, must

STOCK = True
SEEN = "marker readable|0x8100"


def _kinds(scene: Scene) -> list[str]:
    """What this kernel has of them, each an upper interface of wan0."""
    made = []
    for name, words in (("wan0.5", "link wan0 name wan0.5 type vlan id 5"), ("mac0", "link wan0 name mac0 type macvlan mode bridge"),
                        ("ip0", "link wan0 name ip0 type ipvlan"), ("gre0", f"name greleak type gre local {net.UPLINK4} remote {net.CLOUD4}")):
        scene.gateway.ip(f"link add {words}", check=False)
        name = "greleak" if name == "gre0" else name
        if name in scene.in_gateway("ip", "-o", "link"):
            made.append(name)
    return made


def attack(scene: Scene) -> None:
    made = _kinds(scene)
    try:
        for name in made:
            scene.gateway.ip(f"""link set {name} up
                addr add 198.51.102.2/24 dev {name}
                neigh add 198.51.102.1 lladdr {net.ISP_MAC} dev {name}
                route add {net.SERVICES4} via 198.51.102.1 dev {name} onlink
                route add 8.8.8.8/32 dev {name}""", check=False)
            scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683), scene.datagram(THERMOSTAT, "8.8.8.8", 53))
            scene.from_gateway(net.TELEMETRY4, 5683)
            scene.from_gateway("8.8.8.8", 5683)
            scene.sleep(0.15)
            scene.gateway.ip(f"link set {name} down", check=False)
    finally:
        scene.gateway.ip("\n".join(f"link del {name}" for name in made), check=False)


def control(scene: Scene) -> None:
    made = _kinds(scene)
    scene.gateway.ip("\n".join(f"link del {name}" for name in made), check=False)
    if made:
        attack(scene)
    else:
        scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, "8.8.8.8", 53))
        scene.sleep(0.1)


def provoke(scene: Scene) -> None:
    attack(scene)
    scene.tunnel("down")
    attack(scene)
    scene.tunnel("up")
    must(scene.in_gateway("ip", "-o", "link", "show", "wan0"), "the uplink is gone")
