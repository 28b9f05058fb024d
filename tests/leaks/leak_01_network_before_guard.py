"""The network is up before the IKE daemon or the guard (After=network-online; mullvad#3904)."""

from __future__ import annotations

from scenario import Open, Scene


def provoke(scene: Scene) -> None:
    raise Open("needs the boot-time `penstockd guard arm`")
