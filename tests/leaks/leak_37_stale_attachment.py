"""Attaching "succeeded" but nothing is attached, or stale pins of an older version remain (cilium#21345, #36172, #18344)."""

from __future__ import annotations

import os

from lab import topology as net
from scenario import Penstock, must


def provoke(scene: Penstock) -> None:
    scene.terminate()
    detached = 0
    for folder, _, names in os.walk(scene.agent.bpffs):
        for name in names:
            if "egress" in name:
                done = scene.gateway.run(["bpftool", "link", "detach", "pinned", os.path.join(folder, name)], check=False)
                detached += done.returncode == 0
    for interface in ("lan0", "wan0"):  # where the kernel has no links at these hooks
        done = scene.gateway.run(["tc", "-n", scene.gateway.name, "filter", "del", "dev", interface, "egress"], check=False)
        detached += done.returncode == 0
    must(detached >= 2, f"only {detached} attachments were taken away: nothing is stale")
    scene.sleep(0.3)
    scene.start()
    for target in (net.TELEMETRY4, net.ISP4, net.CLOUD4):  # shows whether the uplink's program is there again
        scene.from_gateway(target, 4500)
    scene.sleep(0.1)
