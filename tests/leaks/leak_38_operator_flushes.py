"""firewalld, systemd-networkd or an operator flushes qdiscs, rules, routes and nft (firewalld#742, Datadog 2023-03-08)."""

from __future__ import annotations

from scenario import Penstock, Scene

STOCK = True


def provoke(scene: Scene) -> None:
    name = scene.gateway.name
    scene.in_gateway("nft", "flush", "ruleset")
    for interface in ("lan0", "wan0"):
        scene.in_gateway("tc", "-n", name, "qdisc", "del", "dev", interface, "clsact")
    scene.sleep(0.2)
    for family in ("-4", "-6"):
        scene.in_gateway("ip", "-n", name, family, "rule", "flush")
        for pref, table in (("0", "local"), ("32766", "main"), ("32767", "default")):
            scene.in_gateway("ip", "-n", name, family, "rule", "add", "pref", pref, "lookup", table)
    scene.sleep(0.2)
    for family in ("-4", "-6"):
        scene.in_gateway("ip", "-n", name, family, "route", "flush", "table", "20480")
    scene.sleep(0.2)
    scene.tunnel("down")
    scene.sleep(0.2)
    if isinstance(scene, Penstock):  # a rule for `local` before its own: it keeps the gate shut, says so, and leaves the operator's rule to him
        for family in ("-4", "-6"):
            scene.in_gateway("ip", "-n", name, family, "rule", "del", "pref", "0")
    scene.recover()
