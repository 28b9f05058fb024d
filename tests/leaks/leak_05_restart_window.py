"""An agent restart or package upgrade leaves a window (tailscale#10773, Openswan#32)."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    for _ in range(3):
        scene.terminate()
        scene.start()
        scene.sleep(0.2)
