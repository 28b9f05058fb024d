"""With ESP offload the hook sees a large packet with readable payload behind an ESP header (esp4_offload)."""

from __future__ import annotations

import socket
import time

from lab.stage import TELEMETRY4
from scenario import NO_ESP, NO_MODULE, THERMOSTAT, NotApplicable, Scene, must


def provoke(scene: Scene) -> None:
    if not scene.lab.kernel_esp:
        raise NotApplicable(NO_ESP)
    for module in ("esp4_offload", "esp6_offload"):
        scene.in_gateway("modprobe", module)
    with open("/proc/modules", encoding="ascii") as file:
        if "esp4_offload" not in file.read():
            raise NotApplicable(NO_MODULE)
    scene.tunnel("down")
    scene.tunnel("up")  # SAs take up offload when they are made
    with scene.of(THERMOSTAT).socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(10 * scene.lab.slowness)
        sock.connect((TELEMETRY4.address, TELEMETRY4.port))
        sent = sum(sock.send((scene.lab.marker * 64)[:1024] * 32) for _ in range(16))
        deadline, heard = time.monotonic() + 10 * scene.lab.slowness, 0
        while heard < 65536 and time.monotonic() < deadline:
            heard += len(sock.recv(65536))
    must(sent > 65536 and heard >= 65536, f"only {heard} of {sent} bytes came back")
