"""Maps in use are edited entry by entry, and a packet sees half of two policies (cilium#3897)."""

from __future__ import annotations

from lab.stage import VIDEO4
from scenario import CAMERA, Penstock, must


def provoke(scene: Penstock) -> None:
    bundles = scene.lab.bundles
    with scene.flow(CAMERA, VIDEO4) as steady:
        steady.wait_for_answers(20, 5 * scene.lab.slowness)
        for number in range(6):
            bundle = bundles.without_readings() if number % 2 == 0 else bundles.make("base")
            must(scene.agent.push(bundle).accepted, "a good bundle was refused")
        report = steady.finish()
    # A busy machine loses some with or without new bundles; half a policy would lose nearly all until the next one.
    must(report.lost <= report.sent * 0.4, f"a flow that both policies allow lost {report.lost} of {report.sent} packets")
