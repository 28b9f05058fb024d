"""The uplink's DHCP hands out a service's address, or one of the devices' network, and the look-up becomes local.

The table `local` is asked before main, and an address there is the gateway's own, whatever routes say."""

from __future__ import annotations

from lab import provider
from lab import topology as net
from scenario import THERMOSTAT, Scene

STOCK = True
SCRIPT = """#!/bin/sh
[ "$1" != bound ] || ip addr add "$ip/24" dev wan0
"""


def provoke(scene: Scene) -> None:
    for number, address in enumerate((net.TELEMETRY4, "10.20.0.200")):
        directory = scene.lab.directory / f"lease{number}"
        directory.mkdir(exist_ok=True)
        script = directory / "script"
        script.write_text(SCRIPT, encoding="utf-8")
        script.chmod(0o755)
        router = address.rsplit(".", 1)[0] + ".254"
        scene.isp.ip(f"addr add {router}/24 dev up0", check=False)
        try:
            with provider.provider(scene.isp, directory, address), provider.dhcp_client(scene.gateway, directory, str(script)) as client:
                if not client.wait_for("lease of", 0, 1.5 * scene.lab.slowness):  # the gate may refuse such a lease: then somebody types it
                    scene.gateway.ip(f"addr add {address}/24 dev wan0", check=False)
                scene.sleep(0.4)
                scene.raw(THERMOSTAT, scene.datagram(THERMOSTAT, net.TELEMETRY4, 5683))
                scene.from_gateway(net.VIDEO4, 4000)
                scene.sleep(0.2)
        finally:
            scene.gateway.ip(f"addr del {address}/24 dev wan0", check=False)
            scene.isp.ip(f"addr del {router}/24 dev up0", check=False)
    scene.tunnel("down")
    scene.tunnel("up")
