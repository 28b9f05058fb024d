"""DHCP option 121 or a more specific route pulls traffic off the tunnel (CVE-2024-3661, CVE-2023-36672, CVE-2023-35838)."""

from __future__ import annotations

from lab import provider
from lab import topology as net
from scenario import Scene

STOCK = True
SCRIPT = """#!/bin/sh
# What DHCP clients do with option 121: pairs of network and router.
set -- $staticroutes
while [ $# -ge 2 ]; do ip route replace "$1" via "$2" dev wan0; shift 2; done
"""


def provoke(scene: Scene) -> None:
    directory = scene.lab.directory / "option121"
    directory.mkdir(exist_ok=True)
    script = directory / "script"
    script.write_text(SCRIPT, encoding="utf-8")
    script.chmod(0o755)
    networks = (net.SERVICES4, f"{net.TELEMETRY4}/32", "0.0.0.0/1", "128.0.0.0/1")
    options = ",".join(f"{network},{net.ISP4}" for network in networks)
    try:
        with provider.provider(scene.isp, directory, net.UPLINK4, f"--dhcp-option-force=121,{options}") as server, \
                provider.dhcp_client(scene.gateway, directory, str(script)):
            server.wait_for("DHCPACK", 0, 8 * scene.lab.slowness)
            scene.sleep(0.3)
            scene.gateway.ip(f"route replace {net.TELEMETRY6}/128 via {net.ISP6} dev wan0", check=False)
            scene.tunnel("down")
            scene.sleep(0.3)
            scene.tunnel("up")
    finally:
        scene.gateway.ip("\n".join(f"route del {network}" for network in networks) + f"\nroute del {net.TELEMETRY6}/128", check=False)
