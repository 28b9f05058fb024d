"""There is no XFRM policy at all, and the kernel's default is to pass (linux 2d151d39, ec3bb890)."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    scene.in_gateway("ip", "xfrm", "policy", "flush")
    scene.in_gateway("ip", "xfrm", "policy", "setdefault", "in", "accept", "fwd", "accept", "out", "accept")
    scene.sleep(0.5)
    scene.tunnel("down")
    scene.in_gateway("ip", "xfrm", "policy", "flush")
    scene.sleep(0.5)
    scene.recover()
