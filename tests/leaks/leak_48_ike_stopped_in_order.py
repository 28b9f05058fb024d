"""The IKE daemon is stopped in order (SIGTERM), and takes its policies away (strongSwan 5.9.8)."""

from __future__ import annotations

import signal

from scenario import Penstock, Scene

STOCK = True


def provoke(scene: Scene) -> None:
    scene.kill_ike(signal.SIGTERM)
    scene.sleep(0.6)
    if isinstance(scene, Penstock):
        scene.agent.wait_tunnel("up", 10)
    else:
        scene.start()
