#!/usr/bin/python3
"""Shows penstock's main job on network namespaces as a table; packaging/quickstart installs and builds, then starts this."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import lab as labs  # noqa: E402
from lab import table, topology  # noqa: E402
from lab.agent import require_built  # noqa: E402
from lab.lab import Lab  # noqa: E402
from lab.scenes import SCENES  # noqa: E402
from lab.stage import Stage  # noqa: E402
from lab.system import LabError, wait_until  # noqa: E402

KEEPER = "keeper.pid"  # of a kept lab, in its folder: the process that it belongs to
CHECKOUT = Path(__file__).resolve().parents[2]


def try_next(lab: Lab) -> str:
    agent, gateway = lab.agent, lab.topology.gateway.name
    device = lab.topology.of(topology.THERMOSTAT).name
    return f"""
The lab {lab.id} stays up. Its rule book and keys: {lab.directory}/bundles (base.yaml; policy-a.pem and policy-b.pem must both sign). Try:
  export PENSTOCK_SOCKET={agent.run_dir}/control.sock PATH={agent.binaries}:$PATH
  penstock status
  penstock devices
  penstock events --follow                             # bulb-3 never stops talking: its drops are expected
  penstock explain --device thermostat-12 --to {topology.VIDEO4} --proto udp --port 4000
  nsenter --net=/run/netns/{device} ping -c 3 {topology.TELEMETRY4}   # no policy allows it: `penstock events` says so, best with --follow in another terminal
  nsenter --net=/run/netns/{gateway} penstock doctor --config {agent.etc}/penstock.toml
  nsenter --net=/run/netns/{gateway} ip rule                # the gateway's view
  tcpdump -nr {lab.directory}/uplink.pcapng            # the wire, as the witness recorded it
When done:
  sudo packaging/quickstart --down {lab.id}"""


def show(lab: Lab, arguments: argparse.Namespace) -> bool:
    esp = "in the kernel" if lab.kernel_esp else "in user space (this kernel has none)"
    print(f"penstock on kernel {platform.release()}, ESP {esp}. Lab {lab.id}: devices, gateway, provider and cloud in network namespaces.\n")
    print(table.head(), flush=True)
    stage = Stage(lab, table.Printer())
    lab.make_noise()
    for scene in SCENES:
        print(table.heading(scene.__doc__ or ""), flush=True)
        stage.play(scene)
    whole = lab.since(0)
    passed = sum(row.ok for row in stage.rows)
    failed = len(stage.rows) - passed
    print(f"\nThe witness, on the provider's end of the wire: {sum(whole.kinds.values())} frames from the gateway, {whole.esp} of them ESP under "
          f"{len(whole.spis)} logged SPIs,\n{sum(whole.kinds[kind] for kind in ('ike', 'arp', 'nd', 'mld', 'dhcp'))} of the gateway's own (IKE, ARP, ND, MLD, DHCP), "
          f"{len(whole.clear)} in clear.")
    for name, value in stage.notes.items():
        print(f"{name}: {value}")
    if arguments.json:
        report = {"rows": [row.as_json() for row in stage.rows], "clear_frames": len(whole.clear), "passed": passed, "failed": failed}
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    good = not failed and not whole.clear
    print(f"\n{passed} rows as expected, {failed} not.")
    if not good:
        print(f"The agent's last words: {lab.agent.last_words()}")
    return good


def keep_running(lab: Lab, arguments: argparse.Namespace, report_to: int) -> None:
    """The lab belongs to this process; with --keep it goes on in the background until the lab is taken down."""
    with lab:
        good = show(lab, arguments)
        print(try_next(lab), flush=True)
        os.setsid()
        (lab.directory / KEEPER).write_text(f"{os.getpid()}\n", encoding="ascii")
        silent = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silent, fd)
        os.write(report_to, bytes([0 if good else 1]))
        os.close(report_to)
        while lab.directory.exists():
            time.sleep(0.5)


def take_down(lab_id: str) -> int:
    """Ends the lab's own process, whose janitor cleans up where the lab lives, which may be another mount namespace; then what is left."""
    folder = labs.LABS / lab_id
    if not folder.is_dir():
        kept = ", ".join(sorted(path.name for path in labs.LABS.glob("*"))) or "none"
        print(f"quickstart: there is no lab {lab_id}; kept are: {kept}", file=sys.stderr)
        return 1
    try:
        os.kill(int((folder / KEEPER).read_text(encoding="ascii")), signal.SIGKILL)
        wait_until(lambda: not folder.exists(), 15, 0.1)
    except (OSError, ValueError):
        pass  # it ended by itself, or was never kept
    labs.take_down(lab_id)
    if labs.gone(lab_id):
        return 0
    print(f"quickstart: something of lab {lab_id} is still there, under {folder} or in /run/netns; try again", file=sys.stderr)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="quickstart", description="penstock's main job, shown on network namespaces")
    parser.add_argument("--build", type=Path, default=CHECKOUT / "build-release", help="build tree with bin/penstockd")
    parser.add_argument("--keep", action="store_true", help="leave the lab up and say what to try next")
    parser.add_argument("--down", metavar="ID", help="take a kept lab down")
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    topology.require_root()
    if arguments.down:
        return take_down(arguments.down)
    require_built(arguments.build)
    lab = Lab(arguments.build.resolve())
    if not arguments.keep:
        with lab:
            return 0 if show(lab, arguments) else 1
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        keep_running(lab, arguments, theirs)
        os._exit(0)
    os.close(theirs)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child ends on Ctrl-C and cleans up; we wait for it
    answer = os.read(ours, 1)
    return answer[0] if answer else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"quickstart: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
