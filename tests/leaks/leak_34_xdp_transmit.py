"""XDP_TX and XDP redirect frames never reach the qdisc layer (cilium#41884)."""

from __future__ import annotations

from scenario import ROOT, NotApplicable, Scene


def provoke(scene: Scene) -> None:
    raise NotApplicable(ROOT)
