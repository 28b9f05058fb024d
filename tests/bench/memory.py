"""What a policy takes: the kernel's memory of all maps, and that of a penstockd that has just been given it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from gateways import NETS, Bench, Gateway, Size
from lab.agent import ike_user
from lab.system import LabError, run, wait_until
from results import Row

MIB = 1 << 20


def _configuration(folder: Path, binaries: Path, size: Size) -> str:
    """No certificates: penstock-ike does not start, which is no matter here."""
    net = NETS[size.ipv6]
    return f"""
[gateway]
name = "bench"
[lan]
interfaces = ["lan0"]
[uplink]
interfaces = ["wan0"]
[ike]
certificate = "none.pem"
private_key = "none.key"
ca = ["none.pem"]
user = "{ike_user()}"
[[tunnel]]
name = "cloud"
peer = "198.51.100.2"
local_id = "gw"
remote_id = "cloud"
local_networks = ["{net['devices']}"]
remote_networks = ["{net['services']}"]
[policy]
root = "root.json"
devices = {size.devices}
[paths]
state = "{folder}/state"
run = "{folder}/run"
bpffs = "{folder}/bpf/penstock"
libexec = "{binaries}"
"""


def _resident(bench: Bench, gateway: Gateway) -> float:
    """Bytes of penstockd after `penstock push`."""
    folder, binaries = gateway.folder, bench.program.parent
    for name in ("state", "run"):
        (folder / name).mkdir(mode=0o700)
    bench("bundle", "--folder", str(folder), *gateway.size.arguments())
    (folder / "penstock.toml").write_text(_configuration(folder, binaries, gateway.size), encoding="utf-8")
    environment = dict(os.environ, PENSTOCK_SOCKET=str(folder / "run" / "control.sock"))
    with open(folder / "log", "wb") as log, \
            subprocess.Popen([str(binaries / "penstockd"), "--config", str(folder / "penstock.toml")], stdout=log, stderr=log,
                             preexec_fn=gateway.gateway.enter) as daemon:
        try:
            if not wait_until((folder / "run" / "control.sock").exists, 20, 0.05):
                raise LabError("penstockd did not start: " + (folder / "log").read_text(errors="replace")[-400:])
            run([str(binaries / "penstock"), "push", str(folder / "policy.bundle")], env=environment, timeout=120)
            time.sleep(1)  # what the push took is given back after its answer
            status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
        finally:
            daemon.send_signal(signal.SIGTERM)
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    if not found:
        raise LabError("penstockd says nothing of its memory")
    return int(found[1]) * 1024


def measure(bench: Bench, size: Size, suffix: str) -> Iterator[Row]:
    for variant, ask in (("maps", lambda gateway: gateway.penstock()), ("rss", lambda gateway: _resident(bench, gateway))):
        gateway = Gateway(bench, f"memory-{variant}{suffix}-{size.devices}-{int(size.ipv6)}", size)
        try:
            if variant == "rss":
                gateway.bpffs()
            yield Row("memory", size.devices, size.ipv6, variant + suffix, [ask(gateway) / MIB], unit="MiB")
        finally:
            gateway.remove()
