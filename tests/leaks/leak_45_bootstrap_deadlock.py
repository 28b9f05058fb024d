"""Locked out: programs and block policies of an agent that is gone keep it from coming up again (calico#5280, cilium#45077, strongswan#274)."""

from __future__ import annotations

import signal

from lab import provider
from lab import topology as net
from scenario import Penstock, must

SCRIPT = """#!/bin/sh
[ "$1" != bound ] || ip addr replace "$ip/24" dev wan0
[ "$1" != bound ] || ip route replace default via "$router"
"""


def provoke(scene: Penstock) -> None:
    """Agent gone, uplink without address: DHCP, ARP and ND must do through the closed gate, then IKE, with nobody's help."""
    directory = scene.lab.directory / "bootstrap"
    directory.mkdir(exist_ok=True)
    script = directory / "script"
    script.write_text(SCRIPT, encoding="utf-8")
    script.chmod(0o755)
    scene.agent.stop(signal.SIGKILL)
    scene.kill_ike() if scene.agent.ike_pid() else None
    scene.gateway.ip("link set wan0 down\naddr flush dev wan0\nneigh flush all", check=False)
    scene.sleep(0.3)
    scene.gateway.ip(f"link set wan0 up\naddr add {net.UPLINK6}/64 dev wan0 nodad\nroute add default via {net.ISP6}", check=False)
    with provider.provider(scene.isp, directory), provider.dhcp_client(scene.gateway, directory, str(script)) as client:
        must(client.wait_for("lease of", 0, 10 * scene.lab.slowness), "no address for the uplink")
        scene.start()
        must(scene.agent.wait_tunnel("up", 15), "the tunnel does not come up by itself")
