"""The network is up before the IKE daemon or the guard (After=network-online; mullvad#3904)."""

from __future__ import annotations

from scenario import Open, Scene


def provoke(scene: Scene) -> None:
    raise Open("needs a scenario of its own; the netns case armed_before_the_network shows it")
