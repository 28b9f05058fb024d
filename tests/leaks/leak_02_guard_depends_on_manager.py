"""The guard's unit depends on a particular network manager or on basic.target (mullvad#10769)."""

from __future__ import annotations

import re
from pathlib import Path

from leak_01_network_before_guard import provoke as boot_without_a_manager
from scenario import Scene, must

UNITS = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
NEEDS = ("Requires", "Requisite", "BindsTo", "PartOf", "Wants", "After")
# What is there on every machine before any network, and needs none.
EARLY = {"local-fs.target", "systemd-modules-load.service", "systemd-sysctl.service", "network-pre.target", "-.mount", "sys-fs-bpf.mount"}


def _unit(name: str) -> dict[str, list[str]]:
    """Each key of the file with all its words."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (UNITS / name).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(key, []).extend(value.split())
    return found


def provoke(scene: Scene) -> None:
    """What the unit waits for is there on every machine, before any network; then a boot on which no manager ever runs."""
    unit = _unit("penstock-guard.service")
    waits = {name for key in NEEDS for name in unit.get(key, [])}
    must(waits <= EARLY, f"the guard waits for {', '.join(sorted(waits - EARLY))}")
    must(unit.get("DefaultDependencies") == ["no"], "the guard waits for basic.target, as every unit does that does not say otherwise")
    must("network-pre.target" in unit.get("Before", []), "the guard is not before the network")
    must("network-pre.target" in unit.get("Wants", []), "nobody else orders itself behind network-pre.target unless the guard wants it")
    must("sysinit.target" in unit.get("WantedBy", []), "the guard is not started before ordinary services")
    must(unit.get("ExecStart", [])[1:] == ["guard", "arm"], "the guard's unit does not arm the guard")
    boot_without_a_manager(scene)
