"""The tunnel is lost and traffic falls back to the direct route (tailscale#16619, netbird ios-client#157)."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    scene.tunnel("down")
    scene.sleep(0.5)
    scene.tunnel("up")
    scene.sleep(0.2)
    scene.lab.topology.silence_peer(True)
    scene.sleep(0.5)
    scene.lab.topology.silence_peer(False)
