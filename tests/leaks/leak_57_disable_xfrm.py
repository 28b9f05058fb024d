"""`disable_xfrm=1` or `disable_policy=1` on an interface defeats block policies.

The kernel then looks no policy up for what goes out there, or comes in: neither the one that encrypts nor the one that blocks."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    settings = {f"ipv4/conf/{name}/{key}": 1 for name in ("wan0", "lan0", "all") for key in ("disable_xfrm", "disable_policy")}
    settings |= {f"ipv6/conf/{name}/disable_policy": 1 for name in ("wan0", "lan0")}
    with scene.sysctl(settings):
        scene.sleep(0.3)
        scene.tunnel("down")
        scene.sleep(0.4)
        scene.tunnel("up")
    scene.tunnel("down")
    scene.tunnel("up")
