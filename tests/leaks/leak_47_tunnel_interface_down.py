"""The tunnel's interface goes down, its route vanishes, and traffic takes the default route (kernels 6.1, 6.12)."""

from __future__ import annotations

from lab import topology as net
from scenario import Scene, must

STOCK = True


def provoke(scene: Scene) -> None:
    if scene.lab.kernel_esp:  # there the uplink is the only interface the tunnel hangs on; the default route goes with it and comes back first
        scene.gateway.ip("link set wan0 down")
        scene.gateway.ip(f"link set wan0 up\nroute add default via {net.ISP4}\naddr add {net.UPLINK6}/64 dev wan0 nodad\n"
                         f"route add default via {net.ISP6}", check=False)
    else:
        names = [line.split(":")[1].strip() for line in scene.in_gateway("ip", "-o", "link", "show", "type", "tun").splitlines()]
        must(names, "there is no TUN to take down")
        for name in names:
            scene.gateway.ip(f"link set {name} down")
        scene.sleep(0.5)
        for name in names:
            scene.gateway.ip(f"link set {name} up", check=False)
    scene.sleep(0.5)
    scene.tunnel("down")
    scene.tunnel("up")
