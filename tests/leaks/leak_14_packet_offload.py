"""A network card does the encryption, and a tc hook never sees ESP (kernel xfrm_device.rst, strongswan#1462)."""

from __future__ import annotations

from scenario import NO_HARDWARE, NotApplicable, Scene


def provoke(scene: Scene) -> None:
    raise NotApplicable(NO_HARDWARE)
