"""Interfaces are renamed, moved to another namespace and back, deleted and made again (linux 73b11c2a)."""

from __future__ import annotations

from lab import topology as net
from scenario import Scene

STOCK = True


def _address_uplink(scene: Scene) -> None:
    scene.gateway.ip(f"""link set wan0 up
        addr add {net.UPLINK4}/24 dev wan0
        addr add {net.UPLINK6}/64 dev wan0 nodad
        route add default via {net.ISP4}
        route add default via {net.ISP6}""", check=False)


def provoke(scene: Scene) -> None:
    gateway = scene.gateway
    gateway.ip("link set wan0 down\nlink set wan0 name moved0\nlink set moved0 up")
    gateway.ip(f"addr add {net.UPLINK4}/24 dev moved0\nroute add default via {net.ISP4}", check=False)
    scene.sleep(0.3)
    gateway.ip("link set moved0 down\nlink set moved0 name wan0")
    _address_uplink(scene)
    scene.sleep(0.2)
    gateway.ip(f"link set wan0 netns {scene.switch.name}")
    scene.sleep(0.2)
    scene.switch.ip(f"link set wan0 netns {gateway.name}")
    _address_uplink(scene)
    gateway.ip("link del lan0")
    scene.sleep(0.1)
    scene.switch.ip(f"link add lan0 address {net.GATEWAY_LAN_MAC} netns {gateway.name} type veth peer name p-gw\nlink set p-gw master br0 up")
    gateway.ip(f"link set lan0 up\naddr add {net.GATEWAY_LAN4}/24 dev lan0\naddr add {net.GATEWAY_LAN6}/64 dev lan0 nodad")
    scene.sleep(0.3)
    scene.tunnel("down")
    scene.tunnel("up")
