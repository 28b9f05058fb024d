"""Another rule wipes our mark (`meta mark set ct mark`), or traffic never had one.

A rule that asks for our mark then finds none: what leaves must be judged by addresses and the SA map, not by the mark alone."""

from __future__ import annotations

from lab import topology as net
from scenario import THERMOSTAT, Scene

STOCK = True


def _wipe(mark: str) -> str:
    chains = "".join(f"chain {hook} {{ type filter hook {hook} priority {priority}; meta mark set {mark}; }}\n"
                     for hook in ("prerouting", "forward", "postrouting") for priority in (-300,))
    return f"table inet wipe {{ {chains} }}"


def provoke(scene: Scene) -> None:
    for mark in ("0", "ct mark", "0xffffffff"):
        with scene.nft(_wipe(mark)):
            scene.sleep(0.2)
            scene.tunnel("down")
            scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683), scene.datagram(THERMOSTAT, net.TELEMETRY6, 5683))
            scene.sleep(0.2)
        scene.tunnel("up")
