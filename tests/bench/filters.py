"""The same policy for other packet filters: nftables as well as we know how, and a linear list for iptables.

Argue with it: the policy comes as penstock-bench describes it (services, roles, devices), the rules are all made here.
Equivalent means: default deny, MAC and address belong together (anti-spoof), each role reaches its ten (network, protocol,
port) and nothing else, answers pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Policy = dict[str, Any]


def _elements(items: Iterator[str]) -> str:
    return "elements = { " + ",\n".join(items) + " };"


class NFTables:
    """Who a device is: one look-up of (MAC, address). Where to: one look-up of the destination's network gives a number,
    another one (who, number, protocol, port) the right. Established flows meet neither (ct), with a flowtable not even the
    forwarding path."""

    def __init__(self, policy: Policy, ipv6: bool, flowtable: bool = False) -> None:
        self.policy, self.flowtable = policy, flowtable
        self.family, self.address = ("ip6", "ipv6_addr") if ipv6 else ("ip", "ipv4_addr")
        self.shared = len(policy["roles"]) < len(policy["devices"])

    def _services(self) -> str:
        numbers = (f"{prefix} : {int(number) + 1}" for number, (prefix, _, _) in self.policy["services"].items())
        return f"map service {{ type {self.address} : mark; flags interval; {_elements(numbers)} }}\n"

    def _right(self, service: int) -> str:
        _, protocol, port = self.policy["services"][str(service)]
        return f"{service + 1} . {protocol} . {port}"

    def _rights(self) -> str:
        """Devices of one role share a chain that a verdict map leads to; else the device itself is part of the key."""
        if not self.shared:
            roles = self.policy["roles"]
            rights = (f"{address} . {self._right(service)}" for _, address, role in self.policy["devices"] for service in roles[role])
            return f"set rights {{ type {self.address} . mark . inet_proto . inet_service; {_elements(rights)} }}\n"
        text = ""
        for role, services in enumerate(self.policy["roles"]):
            text += f"set rights_{role} {{ type mark . inet_proto . inet_service; {_elements(self._right(s) for s in services)} }}\n"
            text += f"chain role_{role} {{ meta mark . meta l4proto . th dport @rights_{role} accept\n }}\n"
        jumps = (f"{address} : jump role_{role}" for _, address, role in self.policy["devices"])
        return text + f"map roles {{ type {self.address} : verdict; {_elements(jumps)} }}\n"

    def _judge(self) -> str:
        who = f"{self.family} saddr vmap @roles" if self.shared else \
            f"{self.family} saddr . meta mark . meta l4proto . th dport @rights accept"
        return f'iifname "lan0" meta mark set {self.family} daddr map @service {who}'

    def _anti_spoof(self) -> str:
        pairs = (f"{mac} . {address}" for mac, address, _ in self.policy["devices"])
        return f"set known {{ type ether_addr . {self.address}; {_elements(pairs)} }}\n"

    def ruleset(self) -> str:
        """Replaces the whole policy in one transaction, also the first time."""
        spoofed = f"ether saddr . {self.family} saddr != @known drop"
        tables = f"table {self.family} bench {{}}\ndelete table {self.family} bench\n"
        offload = ""
        if self.flowtable:  # what is in the flowtable passes by prerouting: anti-spoof must stand before it
            tables += "table netdev bench {}\ndelete table netdev bench\n"
            pre = f'chain spoof {{ type filter hook ingress device "lan0" priority -10; policy accept;\n {spoofed}\n }}\n'
            tables += f"table netdev bench {{\n{self._anti_spoof()}{pre}}}\n"
            offload = "meta l4proto { tcp, udp } ct state established flow add @fast\n"
        own = 'flowtable fast { hook ingress priority 0; devices = { lan0, wan0 }; }\n' if self.flowtable else self._anti_spoof()
        if not self.flowtable:
            own += f'chain spoof {{ type filter hook prerouting priority -300; policy accept;\n iifname "lan0" {spoofed}\n }}\n'
        return (f"{tables}table {self.family} bench {{\n{own}{self._services()}{self._rights()}"
                f"chain forward {{ type filter hook forward priority 0; policy drop;\n {offload}ct state established,related accept\n"
                f" {self._judge()}\n }}\n}}\n")

    def early(self) -> str:
        """Only who may come in at all, at the first hook there is."""
        macs = (mac for mac, _, _ in self.policy["devices"])
        return (f"table netdev early {{\nset macs {{ type ether_addr; {_elements(macs)} }}\n"
                'chain early { type filter hook ingress device "lan0" priority -500; policy accept;\n'
                " ether saddr != @macs drop\n }\n}\n")


def iptables(policy: Policy) -> str:
    """One rule after the other, for iptables-restore."""
    lines = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", "-A FORWARD ! -i lan0 -j ACCEPT"]
    for mac, address, role in policy["devices"]:
        for service in policy["roles"][role]:
            prefix, protocol, port = policy["services"][str(service)]
            lines.append(f"-A FORWARD -i lan0 -s {address} -d {prefix} -p {protocol} -m mac --mac-source {mac} -m {protocol} "
                         f"--dport {port} -j ACCEPT")
    return "\n".join([*lines, "COMMIT", ""])
