"""Attaching "succeeded" but nothing is attached, or stale pins of an older version remain (cilium#21345, #36172, #18344)."""

from __future__ import annotations

import os

from scenario import Penstock


def provoke(scene: Penstock) -> None:
    scene.terminate()
    detached = 0
    for folder, _, names in os.walk(scene.agent.bpffs):
        for name in names:
            if "egress" in name:
                detached += "rror" not in scene.in_gateway("bpftool", "link", "detach", "pinned", os.path.join(folder, name))
    scene.in_gateway("tc", "-n", scene.gateway.name, "filter", "del", "dev", "wan0", "egress")
    scene.sleep(0.3)
    scene.start()
