"""penstock-pull: what is published at a URL comes into force if it is signed, and nothing else does, whoever configures where it comes from."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from expect import must
from lab import probe
from lab.api import user
from lab.pki import Authority
from lab.pull import WEB_PORT, Pull, WebServer
from lab.stage import READINGS4, Stage
from lab.system import run, wait_until
from lab.topology import HUB4, ISP4, THERMOSTAT, UPLINK4


@contextmanager
def _pulling(stage: Stage, name: str, where: str, address: str) -> Iterator[tuple[WebServer, Pull]]:
    """The agent configured anew with a web server to look at, and penstock-pull beside it; afterwards as before."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    directory = lab.directory / name
    web = WebServer(directory / "web", lab.topology.all[where], address, lab.authority)
    pull = Pull(agent, directory, lab.authority)
    configuration = agent.etc / "penstock.toml"
    before = configuration.read_text(encoding="utf-8")
    configuration.write_text(before + pull.configuration(web.url, f"{address}/32"), encoding="utf-8")
    agent.stop()
    agent.start()
    try:
        web.publish(lab.bundles.make(f"first-{name}"))
        web.start(10 * lab.slowness)
        pull.start()
        stage.restart_tunnel()
        yield web, pull
    finally:
        pull.stop(signal.SIGKILL)
        web.stop()
        configuration.write_text(before, encoding="utf-8")
        agent.stop()
        agent.start()
        stage.restart_tunnel()


def _policy(stage: Stage) -> dict[str, Any]:
    policy: dict[str, Any] = stage.lab.agent.json("status")["policy"]
    return policy


def _records(stage: Stage, event: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stage.lab.agent.cli("audit", "show", "--event", event, "--json").stdout.splitlines()]


def _comes(stage: Stage, version: int) -> bool:
    return bool(wait_until(lambda: _policy(stage).get("version") == version, 15 * stage.lab.slowness, 0.1))


def _looked(stage: Stage, web: WebServer, pull: Pull) -> str:
    """The server's line of one more look."""
    before = len(web.looks())
    pull.look()
    must(wait_until(lambda: len(web.looks()) > before, 10 * stage.lab.slowness, 0.05), f"it does not look: {pull.said()[-300:]}")
    return web.looks()[-1]


def bundles_are_pulled(stage: Stage) -> None:
    """What is published comes into force, the newer after it too, with the gate closed and the tunnel down; what strangers sign, or too few,
    or what is older is refused and named, handed in once, and the policy stays; the record says that it was pulled."""
    lab, agent, bundles = stage.lab, stage.lab.agent, stage.lab.bundles
    with _pulling(stage, "pulled", "isp", ISP4) as (web, pull):
        place = lab.watch()
        must(_comes(stage, bundles.version), f"the first bundle is not in force: {pull.said()[-400:]}")
        record = _records(stage, "policy_in_force")[-1]
        must(record["client"] == "pull" and record["client_address"] == ISP4 and record["uid"] == user().pw_uid, f"the record: {record}")
        must(" 200 " in web.looks()[0] and re.search(r'"penstock-pull/[0-9.]+"$', web.looks()[0]), f"how it asks: {web.looks()}")
        line = _looked(stage, web, pull)
        must(" 304 " in line and pull.count("pulled") == 1, f"what has not changed: {line}")

        # Newer, while nothing but the essential can get out; and nobody else by its way
        agent.cli("tunnel", "down", "cloud", check=False)
        web.publish(bundles.make("newer"))
        pull.look()
        must(_comes(stage, bundles.version), f"the newer bundle is not in force: {pull.said()[-400:]}")
        other = run(["curl", "-sk", "--max-time", "2", web.url], setup=lab.topology.gateway.enter, check=False)
        must(other.returncode != 0, "another process of the gateway reaches the server")
        stage.restart_tunnel()

        good = _policy(stage)
        newer = bundles.version + 1
        for name, signers, version in (("strangers", ("stranger-a", "stranger-b"), newer), ("too-few", ("policy-a",), newer),
                                       ("older", ("policy-a", "policy-b"), bundles.version - 1)):
            bad, told, refused = bundles.make(f"pulled-{name}", version=version, signers=signers), pull.count("pull_refused"), len(_records(stage, "bundle_refused"))
            web.publish(bad)
            line = _looked(stage, web, pull)
            must(" 200 " in line and wait_until(lambda: pull.count("pull_refused") == told + 1, 10 * lab.slowness), f"{name}: {pull.said()[-300:]}")
            for _ in range(2):
                must(" 304 " in _looked(stage, web, pull), f"{name} is fetched again")
            events = [json.loads(text) for text in agent.cli("events", "--json").stdout.splitlines()]
            last = [event for event in events if event.get("event") == "bundle_refused"][-1]
            must(last["client"] == "pull" and last["refusal"] and last["why"], f"{name}: the event {last}")
            must(len(_records(stage, "bundle_refused")) == refused + 1, f"{name} was handed in again")
            must(_policy(stage) == good, f"{name}: {_policy(stage)}, not {good}")
        answer = probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 2 * lab.slowness)
        must(answer.result == probe.ANSWERED, f"a device's right: {answer.result}")

        # Root documents come the same way: here those in force
        newest = next(path for path in (bundles.directory / "root-4.json", bundles.root()) if path.exists())
        web.publish(newest)
        pull.look()
        must(wait_until(lambda: pull.count("pulled", f"root of penstock-lab version {agent.json('status')['root']['version']} is already in force"), 10 * lab.slowness),
             f"root documents: {pull.said()[-300:]}")

        # A new start of penstockd may decide otherwise
        web.publish(bundles.make("pulled-again", version=bundles.version + 1, signers=("policy-a",)))
        told = pull.count("pull_refused")
        _looked(stage, web, pull)
        must(wait_until(lambda: pull.count("pull_refused") == told + 1, 10 * lab.slowness), f"not refused: {pull.said()[-300:]}")
        refused = len(_records(stage, "bundle_refused"))
        agent.stop()
        agent.start()
        line = _looked(stage, web, pull)
        must(" 200 " in line and wait_until(lambda: len(_records(stage, "bundle_refused")) == refused + 1, 10 * lab.slowness), f"not tried again: {line}")

        # What goes wrong is said once, and ends nothing
        web.stop()
        for _ in range(3):
            pull.look()
            must(wait_until(lambda: pull.count("pull_failed"), 10 * lab.slowness, 0.05), "a server that is away is not said")
        web.publish(bundles.make("after-all"))
        web.start(10 * lab.slowness)
        pull.look()
        must(_comes(stage, bundles.version), f"after the server came back: {pull.said()[-400:]}")
        must(pull.count("pull_failed") == 1 and not pull.ended(), f"said {pull.count('pull_failed')} times: {pull.said()[-400:]}")
        own = re.compile(rf"TCP {re.escape(UPLINK4)} > {re.escape(ISP4)} port {WEB_PORT}$")
        clear = [text for text in lab.since(place).clear if not own.match(text)]
        must(not clear, f"in clear: {clear[:3]}")
        must(pull.stop() == 0, "it does not stop in order")
    stage.push_base()


def bundles_are_pulled_through_the_tunnel(stage: Stage) -> None:
    """From a server behind the tunnel: as ESP and nothing else, and not while the tunnel is down."""
    lab, bundles = stage.lab, stage.lab.bundles
    with _pulling(stage, "tunnelled", "cloud", HUB4) as (web, pull):
        place = lab.watch()
        must(_comes(stage, bundles.version), f"the first bundle is not in force: {pull.said()[-400:]}")
        verdict = lab.since(place)
        must(verdict.esp and not verdict.clear, str(verdict))
        lab.agent.cli("tunnel", "down", "cloud", check=False)
        web.publish(bundles.make("behind"))
        looks, place = len(web.looks()), lab.watch()
        pull.look()
        must(wait_until(lambda: pull.count("pull_failed"), 40 * lab.slowness, 0.1), "it says nothing while the tunnel is down")
        must(len(web.looks()) == looks and not lab.since(place).clear, f"past the tunnel: {lab.since(place)}")
        stage.restart_tunnel()
        pull.look()
        must(_comes(stage, bundles.version), f"with the tunnel up again: {pull.said()[-400:]}")
    stage.push_base()


def unsigned_configuration_widens_no_trust(stage: Stage) -> None:
    """Whoever changes [bundle] alone, server, CA, certificate and proxy, brings nothing into force that the root document's keys did not sign:
    no policy, no root of their own; and there is no key by which to say whom to believe (row 42 of the catalogue)."""
    lab, agent, bundles = stage.lab, stage.lab.agent, stage.lab.bundles
    with _pulling(stage, "rerouted", "isp", ISP4) as (web, pull):
        must(_comes(stage, bundles.version), f"the first bundle is not in force: {pull.said()[-400:]}")
        pull.stop()
        web.stop()
        good, root = _policy(stage), agent.json("status")["root"]
        configuration = agent.etc / "penstock.toml"
        text = configuration.read_text(encoding="utf-8")
        rogue = Authority.make(lab.directory / "rogue", "rogue")
        (agent.etc / "rogue.pem").write_bytes(rogue.certificate.read_bytes())
        theirs = WebServer(lab.directory / "rogue/web", lab.topology.isp, ISP4, rogue)
        pull.renew(rogue)
        configuration.write_text(text.replace('ca = ["ca.pem"]\ncertificate = "pull.pem"', 'ca = ["rogue.pem"]\ncertificate = "pull.pem"'), encoding="utf-8")
        own_root = lab.directory / "rogue/root.json"
        bundles._bundle("init-root", "--fleet", "penstock-lab", "--root-key", bundles.public("stranger-root"), "--root-threshold", 1,
                        "--policy-key", bundles.public("stranger-a"), "--policy-threshold", 1, "--expires", "2099-01-01T00:00:00Z", "--out", own_root)
        bundles._bundle("sign", "--key", bundles.key("stranger-root"), own_root)
        next_root = bundles.next_root("stolen-next", bundles.root(), root="stranger-root", policy=("stranger-a",), signers=("stranger-root",))
        try:
            theirs.publish(own_root)
            theirs.start(10 * lab.slowness)
            agent.stop()
            agent.start()
            pull.start()
            version = bundles.version + 1
            for number, offered in enumerate((own_root, next_root, bundles.make("theirs", version=version, signers=("stranger-a",)))):
                theirs.publish(offered)
                _looked(stage, theirs, pull)
                must(wait_until(lambda: pull.count("pull_refused") == number + 1, 10 * lab.slowness), f"{offered.name} was not refused: {pull.said()[-400:]}")
                must(_policy(stage) == good and agent.json("status")["root"] == root, f"{offered.name} changed {agent.json('status')['root']}")
            must(pull.count("pull_refused") == 3 and pull.count("pulled") == 1, f"{pull.said()[-600:]}")
        finally:
            theirs.stop()
        for line in ('root = "root.json"', 'policy_keys = ["k.pem"]', "threshold = 1"):
            configuration.write_text(text.replace("interval = 86400", f"interval = 86400\n{line}"), encoding="utf-8")
            for program in (["penstockd", "--check-config", str(configuration)], ["penstock-pull", "--check", "--config", str(configuration)]):
                said = run([str(agent.binaries / program[0]), *program[1:]], setup=agent.namespace.enter, check=False)
                must(said.returncode == 1 and "unknown key [bundle]" in said.stderr, f"{line}: {said}")
        configuration.write_text(text.replace("https://", "http://"), encoding="utf-8")
        said = run([str(agent.binaries / "penstockd"), "--check-config", str(configuration)], setup=agent.namespace.enter, check=False)
        must(said.returncode == 1 and "must begin with https://" in said.stderr, f"http: {said}")
        configuration.write_text(text, encoding="utf-8")
    stage.push_base()


CASES = {
    "bundles_are_pulled": bundles_are_pulled,
    "bundles_are_pulled_through_the_tunnel": bundles_are_pulled_through_the_tunnel,
    "unsigned_configuration_widens_no_trust": unsigned_configuration_widens_no_trust,
}
