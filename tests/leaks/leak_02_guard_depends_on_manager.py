"""The guard's unit depends on a particular network manager or on basic.target (mullvad#10769)."""

from __future__ import annotations

from scenario import Open, Scene


def provoke(scene: Scene) -> None:
    raise Open("needs the packaged unit of the boot-time guard")
