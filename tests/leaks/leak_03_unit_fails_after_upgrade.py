"""The agent cannot start after an upgrade (getsolus/packages#8565): its configuration does not fit any more."""

from __future__ import annotations

from scenario import Penstock


def provoke(scene: Penstock) -> None:
    scene.terminate()
    file = scene.agent.etc / "penstock.toml"
    good = file.read_text(encoding="utf-8")
    file.write_text(good + "\n[no_such_section]\n", encoding="utf-8")
    try:
        scene.agent.launch()
        scene.sleep(0.6)
    finally:
        file.write_text(good, encoding="utf-8")
    scene.agent.wait_ready()
