"""What a policy takes: the kernel's memory of all maps, and that of a penstockd that has just been given it; and what many pushes leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def _daemon(bench: Bench, gateway: Gateway) -> Iterator[int]:
    """A penstockd in the gateway's folder, which has a root document; its pid."""
    folder, binaries = gateway.folder, bench.program.parent
    for name in ("state", "run"):
        (folder / name).mkdir(mode=0o700)
    (folder / "penstock.toml").write_text(_configuration(folder, binaries, gateway.size), encoding="utf-8")
    with open(folder / "log", "wb") as log, \
            subprocess.Popen([str(binaries / "penstockd"), "--config", str(folder / "penstock.toml")], stdout=log, stderr=log,
                             preexec_fn=gateway.gateway.enter) as daemon:
        try:
            if not wait_until((folder / "run" / "control.sock").exists, 20, 0.05):
                raise LabError("penstockd did not start: " + (folder / "log").read_text(errors="replace")[-400:])
            yield daemon.pid
        finally:
            daemon.send_signal(signal.SIGTERM)


def _rss(pid: int) -> int:
    """Bytes, once what a push took is given back after its answer."""
    time.sleep(1)
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    if not found:
        raise LabError("penstockd says nothing of its memory")
    return int(found[1]) * 1024


def _resident(bench: Bench, gateway: Gateway) -> float:
    """Bytes of penstockd after `penstock push`."""
    folder = gateway.folder
    bench("bundle", "--folder", str(folder), *gateway.size.arguments())
    with _daemon(bench, gateway) as pid:
        environment = dict(os.environ, PENSTOCK_SOCKET=str(folder / "run" / "control.sock"))
        run([str(bench.program.parent / "penstock"), "push", str(folder / "policy.bundle")], env=environment, timeout=120)
        return _rss(pid)


def _maps() -> int:
    """Bytes of every map of penstock that the kernel has: also of one that nobody would find any more."""
    names = {"policy", "flows_ipv6", "device_state", "total_rates"}
    return sum(one["bytes_memlock"] for one in json.loads(run(["bpftool", "map", "show", "--json"]).stdout) if one.get("name") in names)


def pushes(bench: Bench, size: Size, count: int) -> Iterator[Row]:
    """What many pushes leave behind: after the first tenth of them and after the last."""
    gateway = Gateway(bench, f"pushes-{size.devices}-{int(size.ipv6)}", size)
    argv = [str(bench.program), "pushes", "--folder", str(gateway.folder), *size.arguments(), "--rounds", str(count)]
    took: list[float] = []
    left: list[dict[str, float]] = []
    try:
        gateway.bpffs()
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pusher:
            assert pusher.stdin and pusher.stdout
            pusher.stdout.readline()
            with _daemon(bench, gateway) as pid:
                for _ in range(10):
                    print(file=pusher.stdin, flush=True)
                    answer = pusher.stdout.readline()
                    if not answer:
                        raise LabError("penstock-bench pushes has ended")
                    took += [ns / 1e6 for ns in json.loads(answer)["took_ns"]]
                    left.append({"rss": _rss(pid) / MIB, "fds": len(os.listdir(f"/proc/{pid}/fd")), "maps": _maps() / MIB})
            pusher.stdin.close()
    finally:
        gateway.remove()
    yield Row("pushes", size.devices, size.ipv6, "push", took, unit="ms")
    for name, unit in (("rss", "MiB"), ("fds", "open"), ("maps", "MiB")):
        for when, what in (("early", left[0]), ("late", left[-1])):
            yield Row("pushes", size.devices, size.ipv6, f"{name}_{when}", [what[name]], unit=unit)


def measure(bench: Bench, size: Size, suffix: str) -> Iterator[Row]:
    for variant, ask in (("maps", lambda gateway: gateway.penstock()), ("rss", lambda gateway: _resident(bench, gateway))):
        gateway = Gateway(bench, f"memory-{variant}{suffix}-{size.devices}-{int(size.ipv6)}", size)
        try:
            if variant == "rss":
                gateway.bpffs()
            yield Row("memory", size.devices, size.ipv6, variant + suffix, [ask(gateway) / MIB], unit="MiB")
            if variant == "rss":
                yield Row("memory", size.devices, size.ipv6, "bundle" + suffix, [(gateway.folder / "policy.bundle").stat().st_size / MIB], unit="MiB")
        finally:
            gateway.remove()
