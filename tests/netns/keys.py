"""A fleet changes its keys while its gateways run: roots pushed like bundles, several versions at once, and never back."""

from __future__ import annotations

from pathlib import Path

from expect import must
from lab.stage import READINGS4, Stage
from lab.topology import THERMOSTAT


def keys_change_while_traffic_flows(stage: Stage) -> None:
    """Another root key and another policy key: the policy in force stays in force, what the retired key signed is refused, the new one's
    is taken; a gateway two roots behind catches up with one push; a restart changes nothing of it; an older root and one that the old key
    did not sign are refused."""
    stage.open()
    lab, agent, bundles = stage.lab, stage.lab.agent, stage.lab.bundles
    first = bundles.root()
    unsigned = bundles.next_root("root-2-alone", first, root="root-b", policy=("policy-a", "policy-c"), signers=("root-b",))
    second = bundles.next_root("root-2", first, root="root-b", policy=("policy-a", "policy-c"), signers=("root", "root-b"))
    third = bundles.next_root("root-3", second, root="root-b", policy=("policy-c",), signers=("root-b",))
    fourth = bundles.next_root("root-4", third, root="root", policy=("policy-a", "policy-b"), signers=("root-b", "root"))

    def refused(what: str, path: Path, reason: str) -> None:
        push = agent.push(path)
        must(not push.accepted, f"{what}: accepted")
        must(reason in push.reason, f"{what}: {push.reason}")

    place = lab.watch()
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 10) as flow:
        must(flow.wait_for_answers(20, 8 * lab.slowness), "no flow before")
        refused("a root that the old key did not sign", unsigned, "by the keys of version 1")
        push = agent.push(second)
        must(push.accepted, push.reason)
        must(flow.wait_for_answers(20, 8 * lab.slowness), "the policy in force went with the old root")
        refused("a bundle of a retired key", bundles.make("retired"), "signature")
        push = agent.push(bundles.make("renewed", signers=("policy-a", "policy-c")))
        must(push.accepted, push.reason)
        agent.stop()
        agent.start()
        must(agent.wait_tunnel("up"), "no tunnel after a restart")
        must(flow.wait_for_answers(20, 15 * lab.slowness), "the new root or its policy is not there after a restart")
        push = agent.push(fourth)
        must(push.accepted, push.reason)
        must("version 4" in push.reason, push.reason)
        refused("an older root", second, "version")
        stage.push_base()
        must(flow.wait_for_answers(20, 8 * lab.slowness), "no traffic with the first policy keys again")
    verdict = lab.since(place)
    must(not verdict.clear, str(verdict))
    must(verdict.esp, "nothing moved")
