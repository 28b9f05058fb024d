"""Another tc program runs before ours and passes the packet (cilium#41393)."""

from __future__ import annotations

from scenario import Scene


def provoke(scene: Scene) -> None:
    tc = ("tc", "-n", scene.gateway.name)
    for interface, direction in (("wan0", "egress"), ("lan0", "ingress")):
        scene.in_gateway(*tc, "qdisc", "add", "dev", interface, "clsact")
        scene.in_gateway(*tc, "filter", "add", "dev", interface, direction, "prio", "1", "protocol", "all", "matchall", "action", "pass")
    try:
        scene.sleep(0.3)
        scene.tunnel("down")
        scene.sleep(0.3)
    finally:
        for interface, direction in (("wan0", "egress"), ("lan0", "ingress")):
            scene.in_gateway(*tc, "filter", "del", "dev", interface, direction, "prio", "1")
    scene.tunnel("up")
