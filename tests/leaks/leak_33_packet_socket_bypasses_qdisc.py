"""AF_PACKET with PACKET_QDISC_BYPASS skips tc egress (linux d346a3fa)."""

from __future__ import annotations

from scenario import ROOT, NotApplicable, Scene


def provoke(scene: Scene) -> None:
    raise NotApplicable(ROOT)
