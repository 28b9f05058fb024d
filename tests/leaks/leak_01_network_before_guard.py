"""The network is up before the IKE daemon or the guard (After=network-online; mullvad#3904)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab import sabotage
from lab import topology as net
from lab.system import Namespace
from scenario import Penstock, Scene, must


def _network_up(gateway: Namespace) -> None:
    """As a network manager does it, whoever it is."""
    gateway.ip("link set lan0 up\nlink set wan0 up")
    gateway.ip(f"""addr add {net.UPLINK6}/64 dev wan0 nodad
        addr add {net.GATEWAY_LAN6}/64 dev lan0 nodad
        route replace default via {net.ISP4}
        route replace default via {net.ISP6}""", check=False)


@contextmanager
def _peer_not_heard(scene: Scene) -> Iterator[None]:
    """The provider carries nothing from the peer to the gateway. A kernel that boots refuses the late packets of the tunnel before in
    clear (ICMP): frames of its own, which name no device, and are not what this is about."""
    scene.isp.ip(f"route add blackhole {net.UPLINK4}/32")
    try:
        yield
    finally:
        scene.isp.ip(f"route del blackhole {net.UPLINK4}/32")


def provoke(scene: Scene) -> None:
    """A boot with everything in the wrong order: first the network, then the guard, then somebody who switches forwarding on, last penstockd."""
    assert isinstance(scene, Penstock)
    with _peer_not_heard(scene):
        _guard_last(scene)
    sabotage.open_router(scene.gateway)
    scene.sleep(0.5)
    scene.start()


def _guard_last(scene: Penstock) -> None:
    gateway = scene.gateway
    gateway.ip("link set lan0 down\nlink set wan0 down")
    sabotage.remove_every_layer(scene.lab)
    gateway.sysctl({f"ipv{version}/conf/{name}/forwarding": 0 for version in (4, 6) for name in ("all", "lan0", "wan0")})  # as a kernel boots
    _network_up(gateway)
    scene.sleep(0.5)
    code, words = scene.agent.arm()
    must(code == 0, f"the guard is not armed: {words}")
