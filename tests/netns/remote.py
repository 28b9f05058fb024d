"""penstock-api, as those see it who are elsewhere: who may do what, certificates that come and go, and what strangers cost."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from expect import must
from lab.api import NOBODY, OPERATOR, PORT, PUBLISHER, REVOKED, VIEWER, Api, user
from lab.pki import Authority
from lab.stage import READINGS4, Stage
from lab.system import run, wait_until
from lab.topology import CAMERA, GATEWAY_LAN4, ISP4, THERMOSTAT, UPLINK4

RESIDENT_LIMIT_KIB = 64 * 1024
MAX_BUNDLE = 128 << 20
CONNECTIONS = 400


@contextmanager
def _listener(stage: Stage) -> Iterator[Api]:
    """The agent configured anew, with the listener beside it; afterwards as before."""
    stage.open()
    lab, agent = stage.lab, stage.lab.agent
    api = Api(agent, lab.directory / "api", lab.authority, lab.topology.isp)
    configuration = agent.etc / "penstock.toml"
    before = configuration.read_text(encoding="utf-8")
    configuration.write_text(before + api.configuration(), encoding="utf-8")
    agent.stop()
    agent.start()
    try:
        api.start()
        must(wait_until(lambda: api.curl("/v1/status", VIEWER, timeout=3).code == 200, 10 * lab.slowness),
             f"it does not answer: {api.curl('/v1/status', VIEWER, timeout=3)}; {api.last_words()}")
        stage.restart_tunnel()
        yield api
    finally:
        api.stop(signal.SIGKILL)
        configuration.write_text(before, encoding="utf-8")
        agent.stop()
        agent.start()
        stage.restart_tunnel()


def _nothing_of_a_device(stage: Stage, place: int) -> None:
    """The listener's own answers are in clear, by design: TCP of its address, and nothing readable in it."""
    own = re.compile(rf"TCP {re.escape(UPLINK4)} > {re.escape(ISP4)} port \d+$")
    clear = [text for text in stage.lab.since(place).clear if not own.match(text)]
    must(not clear, f"in clear: {clear[:3]}")


def _records(stage: Stage, event: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in stage.lab.agent.cli("audit", "show", "--event", event, "--json").stdout.splitlines()]


def the_api_knows_its_clients(stage: Stage) -> None:
    """Each role does what it may and nothing else, by SAN and by fingerprint; no certificate, one of another CA, without a role, revoked or
    over TLS 1.2: refused; a push is in the audit log with the certificate's name; a bad bundle is refused by name."""
    lab, agent = stage.lab, stage.lab.agent
    with _listener(stage) as api:
        place = lab.watch()
        bundle, few = lab.bundles.make("by-api"), lab.bundles.make("by-api-too-few", version=lab.bundles.version + 1, signers=("policy-a",))
        body = ["--data-binary", f"@{bundle}"]

        def gets(name: str, expected: int, path: str, *options: str) -> None:
            reply = api.curl(path, name, *options)
            must(reply.code == expected, f"{name} {path}: {reply}")
            if expected >= 400:
                must(reply.json()["ok"] is False and reply.json()["error"], f"{name} {path}: {reply}")

        for name in (VIEWER, OPERATOR, PUBLISHER):
            for path in ("/v1/status", "/v1/devices", "/v1/policy", "/metrics"):
                gets(name, 200, path)
        question = ["--data-raw", json.dumps({"device": THERMOSTAT.name, "to": "203.0.113.10", "proto": "udp", "port": 5683})]
        for name, expected in ((VIEWER, 403), (OPERATOR, 200), (PUBLISHER, 200)):
            gets(name, expected, "/v1/events")
            gets(name, expected, "/v1/explain", *question)
            gets(name, expected, "/v1/bundles?dry_run=true", *body)
        for name in (VIEWER, OPERATOR):
            gets(name, 403, "/v1/bundles", *body)
        for path in ("/v1/status", "/v1/nothing"):
            gets(NOBODY, 403, path)
        gets(VIEWER, 404, "/v1/guard")
        gets(VIEWER, 405, "/v1/bundles")
        gets(OPERATOR, 400, "/v1/explain", "--data-raw", "{}x")
        gets(OPERATOR, 400, "/v1/explain", "--data-raw", '{"devise": "x"}')
        version = lambda: agent.json("status")["policy"]["version"]  # noqa: E731
        before = version()
        must(before < lab.bundles.version, "a dry run, or somebody who may not, changed the policy")
        local, told = agent.json("status"), api.curl("/v1/status", VIEWER).json()
        must(set(local) == set(told) and told["pid"] == agent.pid, f"another status: {set(local) ^ set(told)}")
        must("penstock_gate_closed 1\n" in api.curl("/metrics", VIEWER).body, "the metrics do not say that the gate is closed")
        must(api.curl("/v1/explain", OPERATOR, *question).json()["allow"] is True, "explain says no")
        events = [json.loads(line) for line in api.curl("/v1/events", OPERATOR).body.splitlines()]
        must(any(event["event"] == "agent_started" for event in events), "no events")

        # Who gets no further than the handshake
        foreign = Authority.make(lab.directory / "foreign", "foreign")
        foreign.issue("ci.penstock.test", lab.directory / "api/foreign.pem", lab.directory / "api/foreign.key")
        api.revoke(REVOKED)
        time.sleep(3)
        for name in (None, "foreign", REVOKED):
            reply = api.curl("/v1/status", name)
            must(reply.code == 0, f"{name or 'nobody'} got an answer: {reply}")
        old = api.curl("/v1/status", VIEWER, "--tls-max", "1.2")
        must(old.code == 0, f"TLS 1.2 is spoken: {old}")

        # penstock push --to
        said = api.push(few, PUBLISHER)
        must(said.returncode == 1 and "signature" in said.stderr, f"a bundle of one key: {said}")
        said = api.push(bundle, REVOKED)
        must(said.returncode == 1 and "is revoked" in said.stderr, f"a revoked certificate: {said}")
        said = api.push(bundle, "foreign")
        must(said.returncode == 1 and "does not know the CA" in said.stderr, f"another CA: {said}")
        said = api.push(bundle, VIEWER)
        must(said.returncode == 1 and "needs the role publisher" in said.stderr, f"a viewer: {said}")
        said = api.push(bundle, PUBLISHER, ca=foreign.certificate)
        must(said.returncode == 1 and "is not trusted" in said.stderr, f"the listener of another CA: {said}")
        said = api.push(bundle, PUBLISHER, to=f"{UPLINK4}:{PORT + 1}")
        must(said.returncode == 1, f"another port: {said}")
        said = api.push(bundle, PUBLISHER, to="nowhere")
        must(said.returncode == 2, f"no HOST:PORT: {said}")
        must(version() == before, "one of them changed the policy")
        said = api.push(bundle, PUBLISHER, "--dry-run")
        must(said.returncode == 0 and "would be accepted" in said.stdout and version() == before, f"a dry run: {said}")
        said = api.push(bundle, PUBLISHER)
        must(said.returncode == 0 and "is in force" in said.stdout, f"a push: {said}")
        must(version() > before, "the policy is not in force")
        record = _records(stage, "policy_in_force")[-1]
        must(record["client"] == f"dns:{PUBLISHER}" and record["role"] == "publisher" and record["client_address"] == ISP4
             and str(record["fingerprint"]).startswith("sha256:") and record["uid"] == user().pw_uid, f"the record: {record}")
        record = _records(stage, "bundle_refused")[-1]
        must(record["client"] == f"dns:{PUBLISHER}" and record["refusal"], f"the record of the refusal: {record}")
        _nothing_of_a_device(stage, place)
    stage.push_base()


def a_push_from_elsewhere_goes_back(stage: Stage) -> None:
    """`push --to --wait-healthy`: what shuts a probe out goes back, and who pushed hears of it, though the listener was away meanwhile; what
    is well stays; a new push ends the wait of the one before."""
    lab, agent = stage.lab, stage.lab.agent

    def version() -> int:
        return int(agent.json("status")["policy"]["version"])

    with _listener(stage) as api:
        stage.push_base()
        place, before = lab.watch(), version()
        with lab.flow(THERMOSTAT, READINGS4, stage.rate / 8) as flow:
            must(flow.wait_for_answers(20, 5 * lab.slowness), "no steady flow")
            said = api.push(lab.bundles.make("well-from-elsewhere"), PUBLISHER, "--wait-healthy", "600", "--probe", THERMOSTAT.name)
            must(said.returncode == 0 and "goes back by itself" in said.stdout and f"version {before + 1} stays in force" in said.stdout, f"well: {said}")
            must(version() == before + 1, "it did not stay")
            bad = lab.bundles.without_readings()
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(api.push, bad, PUBLISHER, "--wait-healthy", "6", "--probe", THERMOSTAT.name, "--json")
                must(wait_until(lambda: "pending" in agent.json("status")["policy"], 5 * lab.slowness, 0.05), "no push waits")
                api.stop()
                time.sleep(2)
                api.start()
                said = waiting.result(timeout=60 * lab.slowness)
            answer = json.loads(said.stdout)
            must(said.returncode == 1 and answer["went_back"] and answer["version"] == before + 2 and answer["changed"] and not answer["ok"] and
                 f"nothing of {THERMOSTAT.name}" in answer["error"], f"not well: {said}")
            must(version() == before + 1, "it did not go back")
        record = _records(stage, "policy_reverted")[-1]
        must(record["version"] == before + 2, f"on record: {record}")
        again = api.push(lab.bundles.make("nobody-probes"), PUBLISHER, "--wait-healthy", "60", "--probe", "thermostat-13")
        must(again.returncode == 1 and 'no device "thermostat-13"' in again.stderr and version() == before + 1, f"a probe that is not there: {again}")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(api.push, lab.bundles.make("overtaken"), PUBLISHER, "--wait-healthy", "60", "--probe", CAMERA.name)
            must(wait_until(lambda: "pending" in agent.json("status")["policy"], 5 * lab.slowness, 0.05), "no push waits")
            must(agent.push(lab.bundles.make("overtakes")).accepted, "the next one was refused")
            said = waiting.result(timeout=60 * lab.slowness)
        must(said.returncode == 1 and "before another policy was pushed" in said.stderr, f"overtaken: {said}")
        _nothing_of_a_device(stage, place)
    stage.push_base()


def the_api_takes_up_renewed_files(stage: Stage) -> None:
    """A renewed certificate is shown without a restart, and a CRL ends connections that are open; files that are no good change nothing;
    a CRL that has expired lets nobody in; a LAN address is refused, a wildcard and an unknown key too."""
    lab, agent = stage.lab, stage.lab.agent

    def shown() -> str:
        done = run(["openssl", "s_client", "-connect", f"{UPLINK4}:{PORT}", "-cert", str(api.certificate(VIEWER)), "-key", str(api.key(VIEWER))],
                   setup=lab.topology.isp.enter, check=False, stdin="")
        serial = run(["openssl", "x509", "-noout", "-serial"], stdin=done.stdout, check=False)
        return serial.stdout.strip()

    with _listener(stage) as api:
        pid, first = api.pid, shown()
        must(first, "no certificate is shown")
        with _following(api) as follower:
            must(wait_until(lambda: (api.directory / "followed").stat().st_size, 5 * lab.slowness), "no events come")
            api.renew()
            must(wait_until(lambda: shown() != first, 10 * lab.slowness, 0.3), "the renewed certificate is not shown")
            must(wait_until(lambda: follower.poll() is not None, 5 * lab.slowness), "a stream goes on under the old files")
        must(api.curl("/v1/status", VIEWER).code == 200, "no answer with the renewed certificate")
        second = shown()
        (agent.etc / "api.key").write_text("no key\n", encoding="ascii")
        must(wait_until(lambda: "reload_refused" in api.log.read_text(errors="replace"), 10 * lab.slowness), "a bad key was not refused")
        must(shown() == second and api.curl("/v1/status", VIEWER).code == 200, "a bad key changed something")
        api.renew()
        must(wait_until(lambda: shown() not in ("", second), 10 * lab.slowness, 0.3), "the certificate after the bad one is not shown")
        before = api.log.read_text(errors="replace").count("event=reloaded")
        (agent.etc / "clients.crl").write_bytes(_expired_crl(lab.directory / "api", lab.authority))
        must(wait_until(lambda: api.log.read_text(errors="replace").count("event=reloaded") > before, 10 * lab.slowness), "the CRL was not taken up")
        must(api.curl("/v1/status", VIEWER).code == 0, "an expired CRL lets clients in")
        api.revoke()
        must(wait_until(lambda: api.curl("/v1/status", VIEWER, timeout=3).code == 200, 10 * lab.slowness), "no answer with a good CRL")
        must(api.pid == pid and not api.ended(), "it was restarted")

        # What it does not start with
        configuration = agent.etc / "penstock.toml"
        good = configuration.read_text(encoding="utf-8")
        checked = run(["setpriv", f"--reuid={user().pw_uid}", f"--regid={user().pw_gid}", "--clear-groups", str(agent.binaries / "penstock-api"), "--check",
                       "--config", str(configuration)], setup=agent.namespace.enter, check=False)
        must(checked.returncode == 0, f"--check: {checked}")
        for wrong, reason in ((api.configuration(f"{GATEWAY_LAN4}:{PORT}"), "allow_lan"), (api.configuration(f"0.0.0.0:{PORT}"), "not one address"),
                              (api.configuration().replace("crl =", "crll ="), "unknown key [api] crll")):
            configuration.write_text(good[:good.index("[api]")] + wrong, encoding="utf-8")
            checked = run([str(agent.binaries / "penstockd"), "--check-config", str(configuration)], setup=agent.namespace.enter, check=False)
            must(checked.returncode == 1 and reason in checked.stderr, f"--check-config: {checked.stderr}")
            started = run([str(agent.binaries / "penstock-api"), "--config", str(configuration)], setup=agent.namespace.enter, check=False, timeout=10)
            must(started.returncode == 1 and reason in started.stderr, f"it starts: {started}")
        configuration.write_text(good, encoding="utf-8")


def _expired_crl(directory: Path, authority: Authority) -> bytes:
    """With openssl: strongSwan's pki signs none that has expired."""
    work = directory / "ca"
    work.mkdir(exist_ok=True)
    (work / "index").write_text("", encoding="ascii")
    (work / "number").write_text("99\n", encoding="ascii")
    settings = work / "openssl.cnf"
    settings.write_text(f"[ca]\ndefault_ca = lab\n[lab]\ndatabase = {work}/index\ncrlnumber = {work}/number\ndefault_md = sha384\n", encoding="ascii")
    run(["openssl", "ca", "-config", str(settings), "-gencrl", "-cert", str(authority.certificate), "-keyfile", str(authority.key_for_tests),
         "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z", "-out", str(work / "old.crl")])
    return (work / "old.crl").read_bytes()


@contextmanager
def _following(api: Api) -> Iterator["subprocess.Popen[bytes]"]:
    (api.directory / "followed").write_bytes(b"")
    follower = subprocess.Popen(["curl", "-sSN", "-o", str(api.directory / "followed"), "--cacert", str(api.authority.certificate), "--cert", str(api.certificate(OPERATOR)), "--key",
                                 str(api.key(OPERATOR)), f"https://{UPLINK4}:{PORT}/v1/events?follow"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                preexec_fn=api.clients.enter)
    try:
        yield follower
    finally:
        follower.kill()
        follower.wait()


def a_hijacked_listener_gains_little(stage: Stage) -> None:
    """Whoever has taken penstock-api over asks penstockd what the listener may ask, and nothing else; nobody but its user reaches the socket."""
    agent = stage.lab.agent
    with _listener(stage):
        who = user()
        path = str(agent.run_dir / "api.sock")

        def ask(request: dict[str, object], uid: int, gid: int) -> dict[str, object]:
            script = ("import json, os, socket, sys\n"
                      f"os.setgroups([]); os.setgid({gid}); os.setuid({uid})\n"
                      "s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
                      "s.sendall(sys.argv[2].encode() + b'\\n'); print(s.makefile().readline())\n")
            done = run(["python3", "-c", script, path, json.dumps(request)], setup=agent.namespace.enter, check=False)
            return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else {}

        must(ask({"op": "status"}, who.pw_uid, who.pw_gid).get("ok") is True, "the listener's user is not answered")
        must(ask({"op": "status"}, 12345, 12345) == {}, "another user reaches the socket")
        must(ask({"op": "status"}, 12345, who.pw_gid) == {}, "another user of its group is answered")
        for request in ({"op": "guard", "action": "release"}, {"op": "guard", "action": "clear-witness"}, {"op": "guard", "action": "status"},
                        {"op": "tunnel", "name": "cloud", "action": "down"}, {"op": "tunnels"}, {"op": "audit", "last": 10}, {"op": "nothing"}):
            for uid in (who.pw_uid, 0):
                answer = ask(request, uid, who.pw_gid)
                must(answer.get("ok") is False and "the API may not" in str(answer.get("error")), f"{request} as {uid}: {answer}")
        done = run(["python3", "-c", "import os, socket, sys\n"
                    f"os.setgroups([]); os.setgid({who.pw_gid}); os.setuid({who.pw_uid})\n"
                    "socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n", str(agent.run_dir / "control.sock")], setup=agent.namespace.enter, check=False)
        must(done.returncode != 0 and "PermissionError" in done.stderr, "the listener's user reaches the other socket")
        must(agent.json("status")["gate"]["state"] == "closed", "the gate is not closed")


def strangers_cost_the_api_little(stage: Stage) -> None:
    """Hundreds of connections that say nothing, bad handshakes, half requests and bundles that are too large: memory stays bounded, an honest
    client is served, traffic goes on; kill -9 of the listener changes nothing at the gate."""
    lab, agent = stage.lab, stage.lab.agent
    with _listener(stage) as api:
        place = lab.watch()
        idle = agent.resident_kib(api.pid)
        agent_idle = agent.resident_kib(agent.pid)
        with lab.flow(THERMOSTAT, READINGS4, stage.rate / 2) as flow:
            must(flow.wait_for_answers(50, 8 * lab.slowness), "no flow before")
            moment = time.monotonic()

            # More than any bundle may have: refused before it is sent, by its length; without one, too.
            big = lab.directory / "api/big"
            with big.open("wb") as file:
                file.truncate(MAX_BUNDLE + 1)
            reply = api.curl("/v1/bundles", PUBLISHER, "-X", "POST", "-T", str(big), "-H", "Expect: 100-continue")
            must(reply.code == 413 and "envelope_bytes" in reply.body, f"too large: {reply}")
            reply = api.curl("/v1/bundles", PUBLISHER, "-X", "POST", "-T", str(big), "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue")
            must(reply.code == 411, f"without a length: {reply}")
            with big.open("wb") as file:
                file.truncate(MAX_BUNDLE)
            said = api.push(big, PUBLISHER, timeout=120)
            must(said.returncode == 1 and "this is not a bundle" in said.stderr, f"the largest there may be, of zeros: {said}")
            streamed = agent.resident_kib(api.pid)
            must(streamed < idle + 8 * 1024, f"{streamed} KiB resident after {MAX_BUNDLE >> 20} MiB were passed on, {idle} before")
            reply = api.curl("/v1/status", VIEWER, "-H", "X-Long: " + "x" * 20000)
            must(reply.code == 431, f"a long header: {reply}")

            quiet = [api.connect() for _ in range(CONNECTIONS)]
            half = [_hello(api, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)) for _ in range(CONNECTIONS)]
            junk = [_hello(api, b"GET / HTTP/1.1\r\n\r\n") for _ in range(CONNECTIONS)]
            loaded = agent.resident_kib(api.pid)
            slow = _slow_uploads(api, 6)
            served = sum(api.curl("/v1/status", VIEWER, timeout=10).code == 200 for _ in range(5))
            must(served == 5, f"an honest client was served {served} of 5 times: {api.last_words()}")
            must(not api.ended(), f"it ended: {api.last_words()}")
            must(wait_until(lambda: agent.resident_kib(api.pid) < RESIDENT_LIMIT_KIB, 2), f"{agent.resident_kib(api.pid)} KiB resident")
            grown = agent.resident_kib(agent.pid) - agent_idle
            must(grown < 32 * 1024, f"penstockd grew by {grown} KiB")
            for sock in quiet + half + junk:
                sock.close()
            for process in slow:
                process.kill()
                process.wait()
            metrics = api.curl("/metrics", VIEWER).body
            must(re.search(r"^penstock_api_handshakes_evicted_total [1-9]", metrics, re.MULTILINE), "nobody had to make room")

            api.stop(signal.SIGKILL)
            must(flow.wait_for_answers(100, 8 * lab.slowness), "no traffic without the listener")
            report = flow.finish()
        gap = report.gap_after(moment)
        must(gap is not None and gap < 2 * lab.slowness, f"traffic stood still for {gap} s")
        must(report.lost <= report.sent * 0.05, f"{report.lost} of {report.sent} were lost")
        must(agent.json("status")["gate"]["state"] == "closed", "the gate is not closed")
        _nothing_of_a_device(stage, place)
        stage.notes["penstock-api"] = (f"{idle / 1024:.1f} MB idle, {loaded / 1024:.1f} MB after {3 * CONNECTIONS} connections of strangers; "
                                       f"meanwhile {report.lost} of {report.sent} datagrams lost, gap {(gap or 0) * 1000:.0f} ms")


def _hello(api: Api, first: bytes) -> socket.socket:
    sock = api.connect()
    try:
        sock.sendall(first)
    except OSError:
        pass
    return sock


def _slow_uploads(api: Api, count: int) -> list["subprocess.Popen[bytes]"]:
    """Publishers who announce the largest bundle there is, and send it at a crawl."""
    body = api.directory / "slow"
    with body.open("wb") as file:
        file.truncate(MAX_BUNDLE)
    return [subprocess.Popen(["curl", "-sS", "--limit-rate", "2k", "--cacert", str(api.authority.certificate), "--cert", str(api.certificate(PUBLISHER)),
                              "--key", str(api.key(PUBLISHER)), "-X", "POST", "-T", str(body), f"https://{UPLINK4}:{PORT}/v1/bundles"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=api.clients.enter) for _ in range(count)]


CASES = {
    "the_api_knows_its_clients": the_api_knows_its_clients,
    "a_push_from_elsewhere_goes_back": a_push_from_elsewhere_goes_back,
    "the_api_takes_up_renewed_files": the_api_takes_up_renewed_files,
    "a_hijacked_listener_gains_little": a_hijacked_listener_gains_little,
    "strangers_cost_the_api_little": strangers_cost_the_api_little,
}
