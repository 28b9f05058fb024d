"""Mistakes in penstock.toml and in the files it names. All of them are found by `penstockd --check-config`."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from harness import Case, Desk, as_nobody, line_of, lines, must, one_sentence, says
from lab import topology as net
from lab.pki import GATEWAY_ID, Authority
from lab.system import run


def good(desk: Desk) -> None:
    """The configuration that every other case spoils is good."""
    said = desk.check(desk.spoiled())
    must(said.code == 0, f"exit {said.code}: {said.err}")
    says(said.out, "good")


def missing(desk: Desk) -> None:
    """No configuration file: says how to write one, and a running gate is not opened by it."""
    text = desk.refused(desk.folder / "absent.toml", "there is no configuration", "penstock.toml(5)")
    one_sentence(text)
    desk.running()
    desk.agent.stop()
    said = desk.run([str(desk.agent.binaries / "penstockd"), "--config", str(desk.folder / "absent.toml")], setup=desk.agent.namespace.enter)
    must(said.code == 1, f"exit {said.code}")
    says(said.err, "there is no configuration")
    # Nothing runs: what the agent before put up must hold. Kernel SAs of its last tunnel still carry what policy allows.
    if not desk.lab.kernel_esp:
        desk.closed()
    desk.mend()


def unreadable(desk: Desk) -> None:
    """A folder in the file's place, and a file that is no text."""
    one_sentence(desk.refused(Path(str(desk.folder)), "cannot read", "Is a directory"))
    file = desk.spoiled()
    file.write_bytes(b"[gateway]\nname = \"gw\xff\xfe\"\n")
    desk.refused(file, "penstock.toml:2")


def not_toml(desk: Desk) -> None:
    file = desk.spoiled('name = "gw-1"', "name = gw-1")
    one_sentence(desk.refused(file, f"penstock.toml:{line_of(file, 'gw-1')}"))


def unknown_key(desk: Desk) -> None:
    file = desk.spoiled("remote_networks =", "remote_netwroks =")
    desk.refused(file, f"penstock.toml:{line_of(file, 'netwroks')}: unknown key [[tunnel]] remote_netwroks", 'did you mean "remote_networks"?')


def unknown_section(desk: Desk) -> None:
    file = desk.spoiled("[policy]", "[polizy]")
    desk.refused(file, f"penstock.toml:{line_of(file, 'polizy')}: unknown section [polizy]", 'did you mean "policy"?')


def wrong_type(desk: Desk) -> None:
    file = desk.spoiled('interfaces = ["lan0"]', 'interfaces = "lan0"')
    one_sentence(desk.refused(file, f":{line_of(file, 'lan0')}: [lan] interfaces must be a list"))
    file = desk.spoiled("dpd = 30", 'dpd = "often"')
    one_sentence(desk.refused(file, f":{line_of(file, 'often')}: [[tunnel]] dpd must be a whole number"))


def contradiction(desk: Desk) -> None:
    """LAN also uplink; a remote network that holds the peer; networks that overlap; a mark of the wrong shape."""
    file = desk.spoiled('interfaces = ["wan0"]', 'interfaces = ["lan0"]')
    one_sentence(desk.refused(file, ":7: interface lan0 is named twice", "either LAN or uplink"))
    desk.refused(desk.spoiled(net.SERVICES4, "192.0.2.0/24"), "holds the peer 192.0.2.2")
    desk.refused(desk.spoiled(net.SERVICES4, "10.0.0.0/8"), f"local network {net.LAN4} and remote network 10.0.0.0/8 overlap")
    desk.refused(desk.spoiled("[policy]", "[mark]\nmask = 0x50000000\n[policy]"), "[mark] mask must be two adjacent bits")
    second = '[[tunnel]]\nname = "second"\npeer = "192.0.2.9"\nlocal_id = "a"\nremote_id = "b"\nlocal_networks = ["10.30.0.0/24"]\n' \
             f'remote_networks = ["{net.SERVICES4}"]\n[policy]'
    desk.refused(desk.spoiled("[policy]", second), f"tunnels cloud and second both claim {net.SERVICES4}")


def absurd_capacity(desk: Desk) -> None:
    desk.refused(desk.spoiled("[policy]", "[policy]\ndevices = 4000000000"), "[policy] devices must be a whole number from 1 to 100000")


def every_mistake_at_once(desk: Desk) -> None:
    """Three mistakes in the text are three lines; three in the files as well."""
    file = desk.spoiled('name = "gw-1"', "name = 7")
    file.write_text(file.read_text().replace("dpd = 30", "dpd = 0\nretries = 3"), encoding="utf-8")
    must(len(lines(desk.refused(file))) == 3, "not three lines")
    file = desk.spoiled()
    (desk.folder / "ca.pem").unlink()
    (desk.folder / "gateway.key").chmod(0o644)
    (desk.folder / "root.json").write_text("{}")
    text = desk.refused(file, "ca.pem", "gateway.key", "root.json")
    must(len(lines(text)) == 3, f"not three lines: {text}")


# Certificates and keys


def _issue(desk: Desk, not_before: float, not_after: float, identity: str = GATEWAY_ID) -> None:
    """Another certificate for the desk's key, of the same CA, with these dates (days from now)."""
    authority: Authority = desk.lab.authority
    moment = [time.strftime("%d.%m.%y %H:%M:%S", time.gmtime(time.time() + days * 86400)) for days in (not_before, not_after)]
    environment = dict(os.environ, TZ="UTC")
    public = run(["pki", "--pub", "--in", str(desk.folder / "gateway.key"), "--outform", "pem"], env=environment).stdout
    made = run(["pki", "--issue", "--cacert", str(authority.certificate), "--cakey", str(authority.directory / "ca.key"), "--type", "pub",
                "--dn", "CN=gateway", "--san", identity, "--not-before", moment[0], "--not-after", moment[1], "--outform", "pem"],
               stdin=public, env=environment)
    (desk.folder / "gateway.pem").write_text(made.stdout)


def certificate_expired(desk: Desk) -> None:
    file = desk.spoiled()
    _issue(desk, -30, -2)
    one_sentence(desk.refused(file, "gateway.pem expired at 20", "put a new one there", "taken over by itself"))


def certificate_not_yet_valid(desk: Desk) -> None:
    file = desk.spoiled()
    _issue(desk, 2, 30)
    one_sentence(desk.refused(file, "gateway.pem is not valid before 20", "set the clock if it is wrong"))


def certificate_of_another_name(desk: Desk) -> None:
    file = desk.spoiled()
    _issue(desk, -1, 30, "somebody.else.test")
    one_sentence(desk.refused(file, "gateway.pem", f'does not name "{GATEWAY_ID}", the local_id of tunnel cloud'))


def key_not_matching(desk: Desk) -> None:
    file = desk.spoiled()
    desk.lab.authority.issue(GATEWAY_ID, desk.folder / "other.pem", desk.folder / "gateway.key")
    one_sentence(desk.refused(file, "gateway.key does not belong to certificate", "gateway.pem"))


def key_world_readable(desk: Desk) -> None:
    file = desk.spoiled()
    (desk.folder / "gateway.key").chmod(0o644)
    one_sentence(desk.refused(file, "gateway.key is a private key that others may read; mend: chmod 600"))


def key_encrypted(desk: Desk) -> None:
    file = desk.spoiled()
    key = desk.folder / "gateway.key"
    run(["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(key) + ".new"])
    shutil.move(str(key) + ".new", key)
    one_sentence(desk.refused(file, "gateway.key is encrypted", "openssl pkey"))


def certificate_is_no_certificate(desk: Desk) -> None:
    file = desk.spoiled()
    (desk.folder / "gateway.pem").write_text("hello")
    one_sentence(desk.refused(file, "gateway.pem holds no X.509 certificate"))


def storage_key_wrong(desk: Desk) -> None:
    """A storage key that is none, that others may read, and one that is lost although the state is sealed with it."""
    desk.running()
    for text in ("", "secret\n", "0" * 63 + "\n", "0" * 65 + "\n"):
        file = desk.spoiled()
        (desk.folder / "storage.key").write_text(text, encoding="ascii")
        desk.refused(file, "[storage] key", "64 hex digits", "openssl rand -hex 32")
    file = desk.spoiled()
    (desk.folder / "storage.key").chmod(0o644)
    desk.refused(file, "[storage] key", "chmod 600")
    file = desk.spoiled()
    (desk.folder / "storage.key").unlink()
    desk.refused(file, "[storage] key", str(desk.agent.state), "put it back")
    must(not (desk.folder / "storage.key").exists(), "a check made a key")
    file = desk.spoiled()
    (desk.folder / "storage.key").write_text("7" * 64 + "\n", encoding="ascii")
    desk.refused(file, "sealed with the key", "previous_keys")


def ca_missing(desk: Desk) -> None:
    file = desk.spoiled()
    (desk.folder / "ca.pem").unlink()
    one_sentence(desk.refused(file, "cannot read", "ca.pem: No such file"))


def ca_is_no_ca(desk: Desk) -> None:
    file = desk.spoiled()
    shutil.copy(desk.folder / "gateway.pem", desk.folder / "ca.pem")
    one_sentence(desk.refused(file, "ca.pem is not the certificate of a CA"))


def anybody_may_write_the_trust_anchor(desk: Desk) -> None:
    file = desk.spoiled()
    (desk.folder / "root.json").chmod(0o666)
    one_sentence(desk.refused(file, "root.json may be written by others than its owner; mend: chmod go-w"))


def others_may_write_the_configuration(desk: Desk) -> None:
    """By a group, by everybody, or because it is theirs: whoever writes it decides what the gate is."""
    for mode in (0o664, 0o646):
        file = desk.spoiled()
        file.chmod(mode)
        one_sentence(desk.refused(file, "penstock.toml may be written by others than its owner; mend: chmod go-w"))
    file = desk.spoiled()
    os.chown(file, 65534, 65534)
    one_sentence(desk.refused(file, "penstock.toml belongs to user 65534; mend: chown root"))
    for name in ("gateway.pem", "ca.pem"):
        file = desk.spoiled()
        (desk.folder / name).chmod(0o664)
        one_sentence(desk.refused(file, f"{name} may be written by others than its owner; mend: chmod go-w"))


def root_document_damaged(desk: Desk) -> None:
    file = desk.spoiled()
    text = (desk.folder / "root.json").read_text()
    (desk.folder / "root.json").write_text(text[: len(text) // 2])
    one_sentence(desk.refused(file, "root.json: "))


# The network the configuration means


def bridge_holds_lan_and_uplink(desk: Desk) -> None:
    gateway = desk.agent.namespace
    gateway.ip("link add br9 type bridge\nlink add lan8 type veth peer name wan8\nlink set lan8 master br9\nlink set wan8 master br9")
    try:
        file = desk.spoiled('interfaces = ["lan0"]', 'interfaces = ["lan8"]')
        file.write_text(file.read_text().replace('interfaces = ["wan0"]', 'interfaces = ["wan8"]'), encoding="utf-8")
        desk.refused(file, "LAN lan8 and uplink wan8 are on the same bridge br9", "ip link set wan8 nomaster")
        file.write_text(file.read_text().replace('interfaces = ["wan8"]', 'interfaces = ["br9"]'), encoding="utf-8")
        desk.refused(file, "LAN lan8 and uplink br9 are on the same bridge br9", "ip link set lan8 nomaster")
        file.write_text(file.read_text().replace('["br9"]', '["ppp0"]\npppoe = ["ppp0@wan8"]').replace('["lan8"]', '["br9"]'), encoding="utf-8")
        desk.refused(file, "LAN br9 and uplink ppp0 are both carried by wan8", "an interface of its own")
    finally:
        gateway.ip("link del br9\nlink del lan8", check=False)


def uplink_address_is_a_devices(desk: Desk) -> None:
    gateway = desk.agent.namespace
    gateway.ip("addr add 10.20.0.99/32 dev wan0")
    try:
        desk.refused(desk.spoiled(), f"address 10.20.0.99 of wan0, an uplink, is inside {net.LAN4}", "take it away")
    finally:
        gateway.ip("addr del 10.20.0.99/32 dev wan0")


def interface_absent(desk: Desk) -> None:
    """May come later: a warning, not an error."""
    said = desk.check(desk.spoiled('interfaces = ["lan0"]', 'interfaces = ["lan0", "usb0"]'))
    must(said.code == 0, f"exit {said.code}: {said.err}")
    says(said.err, "warning: there is no interface usb0 (LAN) yet; nothing passes it until it comes")


def user_missing(desk: Desk) -> None:
    user = next(line for line in desk.good.splitlines() if line.startswith("user"))
    one_sentence(desk.refused(desk.spoiled(user, 'user = "penstock-nobody"'), "there is no user penstock-nobody", "adduser --system"))


def file_closed_to_its_reader(desk: Desk) -> None:
    """A configuration that the caller may not read."""
    file = desk.spoiled()
    file.chmod(0o600)
    desk.folder.chmod(0o755)
    said = desk.run([str(desk.program_for_others("penstockd")), "--check-config", str(file)], setup=as_nobody)
    must(said.code == 1, f"exit {said.code}")
    says(said.err, "cannot read", "Permission denied")


CASES: dict[str, Case] = {f"configuration_{case.__name__}": case for case in (
    good, missing, unreadable, not_toml, unknown_key, unknown_section, wrong_type, contradiction, absurd_capacity, every_mistake_at_once,
    certificate_expired, certificate_not_yet_valid, certificate_of_another_name, certificate_is_no_certificate, key_not_matching,
    key_world_readable, key_encrypted, storage_key_wrong, ca_missing, ca_is_no_ca, anybody_may_write_the_trust_anchor,
    others_may_write_the_configuration, root_document_damaged,
    bridge_holds_lan_and_uplink, uplink_address_is_a_devices, interface_absent, user_missing, file_closed_to_its_reader)}
