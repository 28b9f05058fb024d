"""Interfaces that come and go, and peers with whom no tunnel comes up. The status says which, in words; nothing leaves in clear."""

from __future__ import annotations

from contextlib import contextmanager
from collections.abc import Iterator

from harness import Case, Desk, must, says
from lab import topology as net
from lab.pki import CLOUD_ID, GATEWAY_ID, Authority
from lab.system import wait_until


def _lan(desk: Desk, name: str = "lan0") -> None:
    """The LAN's interface, as the topology makes it."""
    desk.lab.topology.switch.ip(f"link add p-gw type veth peer name {name} address {net.GATEWAY_LAN_MAC} netns {desk.agent.namespace.name}\n"
                                "link set p-gw master br0 up")
    desk.agent.namespace.ip(f"link set {name} up\naddr add {net.GATEWAY_LAN4}/24 dev {name}\naddr add {net.GATEWAY_LAN6}/64 dev {name} nodad")


def lan_absent_at_the_start(desk: Desk) -> None:
    """penstockd starts, says that it waits, and guards the interface when it comes."""
    desk.agent.stop()
    desk.agent.namespace.ip("link del lan0")
    try:
        desk.restart()
        desk.status_says("lan0 (lan, absent)")
    finally:
        _lan(desk)
    desk.log_says("hook_attached", "lan_ingress", "interface=lan0")
    desk.passes()


def lan_vanishes_and_comes_back(desk: Desk) -> None:
    desk.running()
    desk.agent.namespace.ip("link del lan0")
    try:
        desk.status_says("lan0 (lan, absent)")
    finally:
        _lan(desk)
    desk.passes()


def uplink_vanishes_and_comes_back(desk: Desk) -> None:
    """Unplugged, then there again under the same name: the tunnel comes back without help."""
    desk.running()
    gateway = desk.agent.namespace
    gateway.ip("link set wan0 down")
    desk.closed()
    gateway.ip(f"link set wan0 up\naddr add {net.UPLINK6}/64 dev wan0 nodad\nroute add default via {net.ISP4}\nroute add default via {net.ISP6}", check=False)
    must(wait_until(lambda: desk.agent.tunnel().get("state") == "up", 30 * desk.lab.slowness, 0.1), "the tunnel does not come back")
    desk.passes()


def _renamed(desk: Desk, old: str, new: str, role: str) -> None:
    desk.running()
    gateway = desk.agent.namespace
    gateway.ip(f"link set {old} down\nlink set {old} name {new}\nlink set {new} up", check=False)
    try:
        desk.status_says(f"{old} ({role}, absent)", f"{new} (other)")
        desk.closed()
    finally:
        gateway.ip(f"link set {new} down\nlink set {new} name {old}\nlink set {old} up", check=False)
        gateway.ip(f"addr add {net.GATEWAY_LAN6}/64 dev lan0 nodad\naddr add {net.UPLINK6}/64 dev wan0 nodad\n"
                   f"route add default via {net.ISP4}\nroute add default via {net.ISP6}", check=False)
    must(wait_until(lambda: desk.agent.tunnel().get("state") == "up", 30 * desk.lab.slowness, 0.1), "the tunnel does not come back")
    desk.passes()


def lan_renamed(desk: Desk) -> None:
    """Under another name it is no LAN of the configuration: nothing of it is forwarded."""
    _renamed(desk, "lan0", "lan9", "lan")


def uplink_renamed(desk: Desk) -> None:
    """Under another name it is guarded like any interface that nobody named: nothing leaves."""
    _renamed(desk, "wan0", "wan9", "uplink")


# No tunnel


@contextmanager
def _no_tunnel(desk: Desk, old: str, new: str, *wanted: str) -> Iterator[None]:
    """With this mistake the tunnel stays down, and `penstock tunnel list` and `status` say why."""
    desk.start_with(old, new)
    said = ""

    def trouble() -> bool:
        nonlocal said
        said = desk.agent.tunnel().get("trouble", "")
        return all(piece in said for piece in wanted)
    must(wait_until(trouble, 15 * desk.lab.slowness, 0.1), f"trouble is {said!r}, wanted {wanted}")
    says(" ".join(desk.penstock("tunnel", "list").out.split()), *wanted)
    must(desk.agent.tunnel()["state"] != "up", "the tunnel is up")
    desk.closed()
    yield
    desk.mend()


def peer_unreachable(desk: Desk) -> None:
    desk.lab.topology.silence_peer(True)
    try:
        with _no_tunnel(desk, "", "", "the peer is silent"):
            desk.lab.topology.silence_peer(False)
    finally:
        desk.lab.topology.silence_peer(False)


def wrong_ca_here(desk: Desk) -> None:
    """The CA in our configuration is not the peer's."""
    other = Authority.make(desk.lab.directory / "other-ca", "other")
    (desk.agent.etc / "other.pem").write_bytes(other.certificate.read_bytes())
    with _no_tunnel(desk, 'ca = ["ca.pem"]', 'ca = ["other.pem"]', "certificate of", CLOUD_ID, "CA"):
        pass


def wrong_ca_there(desk: Desk) -> None:
    """Our certificate is of a CA that the peer does not know."""
    other = Authority.make(desk.lab.directory / "other-ca", "other")
    other.issue(GATEWAY_ID, desk.agent.etc / "other.pem", desk.agent.etc / "other.key")
    with _no_tunnel(desk, 'certificate = "gateway.pem"\nprivate_key = "gateway.key"', 'certificate = "other.pem"\nprivate_key = "other.key"',
                    "the peer did not accept our certificate or identity"):
        pass


def wrong_peer_id(desk: Desk) -> None:
    with _no_tunnel(desk, f'remote_id = "{CLOUD_ID}"', 'remote_id = "nobody.penstock.test"', "the peer did not accept our certificate or identity, or has no tunnel for them"):
        pass


def no_common_ike_proposal(desk: Desk) -> None:
    with _no_tunnel(desk, "dpd = 30", 'dpd = 30\nike_proposal = "aes256gcm16-prfsha512-modp4096"', "accepts none of our algorithms"):
        pass


def no_common_esp_proposal(desk: Desk) -> None:
    with _no_tunnel(desk, "dpd = 30", 'dpd = 30\nesp_proposal = "chacha20poly1305-ecp256"', "accepts none of our algorithms"):
        pass


def networks_do_not_fit(desk: Desk) -> None:
    with _no_tunnel(desk, f'local_networks = ["{net.LAN4}", "{net.LAN6}"]', 'local_networks = ["10.99.0.0/24"]',
                    "the peer does not accept our local and remote networks"):
        pass


CASES: dict[str, Case] = {f"network_{case.__name__}": case for case in (
    lan_absent_at_the_start, lan_vanishes_and_comes_back, lan_renamed, uplink_vanishes_and_comes_back, uplink_renamed, peer_unreachable,
    wrong_ca_here, wrong_ca_there, wrong_peer_id, no_common_ike_proposal, no_common_esp_proposal, networks_do_not_fit)}
