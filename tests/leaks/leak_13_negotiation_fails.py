"""The IKE negotiation fails (libreswan failureshunt=none): no common proposal, a peer with the wrong name, a silent peer."""

from __future__ import annotations

from scenario import Scene

STOCK = True


def _reload(scene: Scene, text: str) -> None:
    cloud = scene.lab.cloud
    (cloud.swanctl_dir / "swanctl.conf").write_text(text, encoding="utf-8")
    cloud.swanctl("--load-conns", check=False)


def provoke(scene: Scene) -> None:
    good = (scene.lab.cloud.swanctl_dir / "swanctl.conf").read_text(encoding="utf-8")
    changes = (("aes256gcm16-prfsha384-ecp384,aes256gcm16-prfsha384-x25519,aes256-sha384-ecp384", "aes128-sha256-modp2048"),
               ("id = gw-1.penstock.test", "id = another.penstock.test"))
    try:
        for old, new in changes:
            if old not in good:
                raise ValueError(f"{old!r} is not in the cloud's configuration")
            _reload(scene, good.replace(old, new))
            scene.tunnel("down")
            scene.lab.cloud.swanctl("--terminate", "--ike", "gateways", "--force", check=False)
            scene.tunnel("up")
            scene.sleep(0.3)
    finally:
        _reload(scene, good)
    scene.tunnel("down")
    scene.tunnel("up")
