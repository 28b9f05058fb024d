"""The peer offers ESP-NULL or a weak suite only (libreswan ikev2-algo-13, -15): better no tunnel."""

from __future__ import annotations

from lab.stage import READINGS4
from lab import probe
from scenario import THERMOSTAT, Penstock, must


def _offer(scene: Penstock, text: str) -> None:
    cloud = scene.lab.cloud
    (cloud.swanctl_dir / "swanctl.conf").write_text(text, encoding="utf-8")
    cloud.swanctl("--load-conns", check=False)


def provoke(scene: Penstock) -> None:
    good = (scene.lab.cloud.swanctl_dir / "swanctl.conf").read_text(encoding="utf-8")
    line = next(line for line in good.splitlines() if "esp_proposals" in line)
    try:
        for weak in ("null-sha256", "aes128-sha1", "3des-md5"):
            _offer(scene, good.replace(line, f"            esp_proposals = {weak}"))
            scene.tunnel("down")
            scene.tunnel("up")
            must(scene.agent.tunnel().get("state") != "up", f"a tunnel with {weak} came up")
            answer = probe.ask(scene.of(THERMOSTAT), READINGS4, scene.lab.marker, 0.2)
            must(answer.result != probe.ANSWERED, f"traffic passed with {weak}")
    finally:
        _offer(scene, good)
    scene.tunnel("down")
    scene.tunnel("up")
