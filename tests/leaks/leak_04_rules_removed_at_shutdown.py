"""The machine shuts down: the agent ends in order while devices still send (mullvad#3966)."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    scene.terminate()
    scene.sleep(0.8)
    scene.start()
