"""An SA goes away before its rekey completes (strongswan#3053): first here, then at the peer."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def provoke(scene: Scene) -> None:
    scene.lab.topology.silence_peer(True)
    scene.tunnel("rekey") if scene.lab.kernel_esp else None
    scene.gateway.ip("xfrm state flush", check=False)  # in user space there is none: then the peer's loss is the row
    scene.sleep(0.5)
    scene.lab.topology.silence_peer(False)
    scene.lab.cloud.swanctl("--terminate", "--ike", "gateways", "--force", check=False)
    scene.sleep(0.5)
    scene.tunnel("down")
    scene.tunnel("up")
