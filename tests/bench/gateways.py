"""The gateways under test: each between network namespaces of its own, wired alike, with another filter in the middle.

    NAME-device out0 --- lan0 NAME-gateway wan0 --- in0 NAME-cloud
                                           tun0 --- back0
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filters import NFTables, Policy, iptables
from lab.system import LabError, Namespace, run

GATEWAY_MAC = "02:ff:00:00:00:01"
DEVICE_MAC = "02:00:00:00:00:00"  # of device 0
NETS = {False: {"device": "10.0.1.0/32", "lan": "10.0.0.1", "devices": "10.0.0.0/10", "next": "10.63.255.254", "services": "172.16.0.0/12",
                "wan": "192.0.2.1", "cloud": "192.0.2.2", "tun": "192.0.2.129", "back": "192.0.2.130", "net": 25, "lan_net": 10},
        True: {"device": "fd20::100/128", "lan": "fd20::1", "devices": "fd20::/64", "next": "fd20::ffff:ffff", "services": "2001:db8:1::/48",
               "wan": "2001:db8:2::1", "cloud": "2001:db8:2::2", "tun": "2001:db8:3::1", "back": "2001:db8:3::2", "net": 64, "lan_net": 64}}


@dataclass(frozen=True)
class Size:
    """devices with ten rules each; of one role: the same ten."""

    devices: int
    roles: int
    ipv6: bool

    def arguments(self) -> list[str]:
        return ["--devices", str(self.devices), "--roles", str(self.roles), *(["--ipv6"] if self.ipv6 else [])]


class Bench:
    """The program that does what Python is too slow or too far away for, and a folder that is ours."""

    def __init__(self, build: Path, folder: Path) -> None:
        self.program, self.folder = build / "bin" / "penstock-bench", folder
        if not self.program.is_file():
            raise LabError(f"not built: {self.program}")

    def __call__(self, command: str, *arguments: str, inside: Namespace | None = None, timeout: float = 600) -> str:
        argv = [str(self.program), command, *arguments]
        return (inside.run(argv, timeout=timeout) if inside else run(argv, timeout=timeout)).stdout

    def lines(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(command, *arguments, timeout=3600).splitlines()]

    def policies(self, size: Size) -> tuple[Policy, Policy]:
        """Two of the same size, in which every device has other rights."""
        both = json.loads(self("policy", *size.arguments()))
        return both["first"], both["second"]


class Gateway:
    """One of them. Its filter is put up by a method; namespaces take everything along when they go."""

    def __init__(self, bench: Bench, name: str, size: Size) -> None:
        self.bench, self.name, self.size = bench, name, size
        self.folder = bench.folder / name
        self.folder.mkdir()
        self.device, self.gateway, self.cloud = (Namespace(f"{name}-{side}") for side in ("device", "gateway", "cloud"))
        for space in (self.device, self.gateway, self.cloud):
            run(["ip", "netns", "add", space.name])
        self._wire()

    def _wire(self) -> None:
        n, queues = NETS[self.size.ipv6], "numrxqueues 1 numtxqueues 1"
        family = "-6" if self.size.ipv6 else "-4"
        nodad = " nodad" if self.size.ipv6 else ""
        for inner, outer, space in (("lan0", "out0", self.device), ("wan0", "in0", self.cloud), ("tun0", "back0", self.cloud)):
            run(["ip", "-n", self.gateway.name, "link", "add", inner, *queues.split(), "type", "veth", "peer", "name", outer, *queues.split(),
                 "netns", space.name])
        for space in (self.device, self.gateway, self.cloud):
            space.sysctl({"ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0, "ipv6/conf/default/accept_dad": 0,
                          "ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/router_solicitations": 0}, missing_ok=True)
        macs = {"out0": DEVICE_MAC, "lan0": GATEWAY_MAC, "wan0": "02:ff:00:00:00:02", "in0": "02:ff:00:00:00:03",
                "tun0": "02:ff:00:00:00:04", "back0": "02:ff:00:00:00:05"}

        def up(space: Namespace, *links: str) -> None:
            space.ip("link set lo up\n" + "".join(f"link set {link} address {macs[link]}\nlink set {link} up\n" for link in links))

        up(self.device, "out0")
        up(self.gateway, "lan0", "wan0", "tun0")
        up(self.cloud, "in0", "back0")

        def ip(space: Namespace, *lines: str) -> None:
            run(["ip", family, "-n", space.name, "-batch", "-"], stdin="".join(line + "\n" for line in lines))

        ip(self.device, f"addr add {n['device']} dev out0{nodad}", f"neigh add {n['lan']} lladdr {GATEWAY_MAC} dev out0 nud permanent",
           f"route add {n['lan']} dev out0", f"route add default via {n['lan']} dev out0")
        ip(self.gateway, f"addr add {n['lan']}/{n['lan_net']} dev lan0{nodad} noprefixroute",
           f"route add {n['next']} dev lan0", f"neigh add {n['next']} lladdr {DEVICE_MAC} dev lan0 nud permanent",
           f"route add {n['devices']} via {n['next']} dev lan0",
           f"addr add {n['wan']}/{n['net']} dev wan0{nodad}", f"neigh add {n['cloud']} lladdr {macs['in0']} dev wan0 nud permanent",
           f"route add {n['services']} via {n['cloud']} dev wan0",
           f"addr add {n['tun']}/{n['net']} dev tun0{nodad}", f"neigh add {n['back']} lladdr {macs['back0']} dev tun0 nud permanent")
        ip(self.cloud, f"addr add {n['cloud']}/{n['net']} dev in0{nodad}", f"addr add {n['back']}/{n['net']} dev back0{nodad}",
           f"neigh add {n['tun']} lladdr {macs['tun0']} dev back0 nud permanent", f"route add local {n['services']} dev lo",
           f"route add default via {n['tun']} dev back0")
        self.gateway.sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1, "ipv4/conf/all/send_redirects": 0}, missing_ok=True)
        for interface in ("lan0", "tun0"):  # NAPI: what live frames need, and what a network card's driver has
            self.gateway.run(["ethtool", "-K", interface, "gro", "on"])

    # What judges the packets

    def plain(self) -> None:
        """Nothing."""

    def empty(self) -> None:
        self.bench("empty", "--folder", str(self.bpffs()), inside=self.gateway)

    def drop(self) -> None:
        self.bench("drop", inside=self.gateway)

    def penstock(self, *options: str) -> int:
        """Bytes of the maps."""
        self.bpffs()
        told = self.bench("install", "--folder", str(self.folder), *self.size.arguments(), *options, inside=self.gateway)
        return int(json.loads(told)["map_bytes"])

    def nftables(self, rules: str) -> None:
        file = self.folder / "rules.nft"
        file.write_text(rules, encoding="ascii")
        self.gateway.run(["nft", "-f", str(file)], timeout=600)
        self.conntrack(300, 3600)

    def conntrack(self, single: int, answered: int) -> None:
        """How long a flow without and with an answer is kept, in seconds."""
        self.gateway.sysctl({"netfilter/nf_conntrack_udp_timeout": single, "netfilter/nf_conntrack_udp_timeout_stream": answered})

    def iptables(self, policy: Policy) -> None:
        self.gateway.run([("ip6" if self.size.ipv6 else "ip") + "tables-legacy-restore"], stdin=iptables(policy), timeout=600)

    def bpffs(self) -> Path:
        folder = self.folder / "bpf"
        folder.mkdir(exist_ok=True)
        run(["mount", "-t", "bpf", "bpf", str(folder)])
        return folder

    def remove(self) -> None:
        subprocess.run(["umount", str(self.folder / "bpf")], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.folder)
        for space in (self.device, self.gateway, self.cloud):
            subprocess.run(["ip", "netns", "del", space.name], check=False)


__all__ = ["Bench", "Gateway", "NFTables", "Size"]
