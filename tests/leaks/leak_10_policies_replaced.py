"""XFRM policies are replaced one by one (cilium#25257): at rekeys and when a tunnel is taken down and up again."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    for _ in range(3):
        scene.tunnel("rekey")
        scene.tunnel("down")
        scene.tunnel("up")
