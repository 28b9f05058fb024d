"""The agent is killed (-9), with it an unpinned link to its programs (linux abbc61a5)."""

from __future__ import annotations

from scenario import Penstock


def provoke(scene: Penstock) -> None:
    for _ in range(3):
        scene.kill()
        scene.sleep(0.2)
        scene.agent.wait_ready()
