"""A look-up that misses is read as "everything off", that is: allow (Android netd.c): unknown devices, and no policy at all."""

from __future__ import annotations

import shutil

from lab import topology as net
from scenario import INTRUDER, THERMOSTAT, Penstock, Scene


def attack(scene: Scene) -> None:
    for device in (THERMOSTAT, INTRUDER):
        scene.raw(device, *(scene.datagram(device, target, port) for target in (net.TELEMETRY4, net.TELEMETRY6, net.VIDEO4) for port in (22, 443)))
    scene.sleep(0.1)


def provoke(scene: Penstock) -> None:
    attack(scene)
    scene.terminate()
    kept = scene.agent.directory / "kept"
    shutil.move(scene.agent.state, kept)
    scene.agent.state.mkdir(mode=0o700)
    try:
        scene.start()
        attack(scene)
        scene.sleep(0.2)
    finally:
        scene.terminate()
        shutil.rmtree(scene.agent.state)
        shutil.move(kept, scene.agent.state)
    scene.start()
