"""A connection is cancelled while it is half open (oaksisfolks/ksw#1)."""

from __future__ import annotations

import subprocess
import time

from lab.system import die_with_parent
from scenario import Penstock


def provoke(scene: Penstock) -> None:
    for _ in range(2):
        scene.tunnel("down")
        scene.lab.topology.silence_peer(True)
        argv = [str(scene.agent.binaries / "penstock"), "--socket", str(scene.agent.run_dir / "control.sock"), "tunnel", "up", "cloud"]
        asking = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        try:
            time.sleep(0.3)
            scene.lab.topology.silence_peer(False)
            scene.tunnel("down")
        finally:
            scene.lab.topology.silence_peer(False)
            asking.kill()
            asking.wait()
    scene.tunnel("up")
