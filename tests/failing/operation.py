"""Mistakes of whoever operates it: no agent, no rights, a wrong clock, a reload of something that is no good."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from harness import Case, Desk, as_nobody, must, one_sentence, says
from lab.pki import GATEWAY_ID
from lab.stage import READINGS4
from lab.system import die_with_parent, wait_until
from lab.topology import THERMOSTAT

YEAR = 365 * 86400


def no_agent(desk: Desk) -> None:
    """Every command that asks the agent says how to start it."""
    absent = str(desk.folder / "absent.sock")
    for command in (["status"], ["devices"], ["tunnel", "list"], ["events"], ["guard", "status"], ["push", str(desk.config)],
                    ["explain", "--device", "a", "--to", "192.0.2.1", "--proto", "tcp", "--port", "1"]):
        said = desk.penstock(*command, socket=absent)
        must(said.code == 1, f"{command}: exit {said.code}")
        one_sentence(said.err)
        says(said.err, "penstockd is not running", absent, "systemctl start penstockd")


def wrong_usage(desk: Desk) -> None:
    """Exit status 2, and what was meant; nothing is asked of the agent."""
    said = desk.penstock("stauts")
    must(said.code == 2, f"exit {said.code}")
    says(said.err, 'there is no command "stauts"; did you mean "status"?')
    for command in (["status", "--wach"], ["explain", "--device", "a"], ["tunnel"], ["tunnel", "up"], ["push"], ["status", "--interval", "0"], []):
        said = desk.penstock(*command)
        must(said.code == 2, f"{command}: exit {said.code}")
        must(said.err and not said.out, f"{command}: said {said.out!r}, {said.err!r}")


def help_has_examples(desk: Desk) -> None:
    """Every command's help ends in examples that begin with its own name."""
    top = desk.penstock("--help").out
    for command in (["status"], ["devices"], ["tunnel"], ["tunnel", "list"], ["tunnel", "up"], ["events"], ["explain"], ["push"], ["guard"],
                    ["guard", "release"], ["doctor"]):
        said = desk.penstock(*command, "--help")
        must(said.code == 0, f"{command}: exit {said.code}")
        says(said.out, "Examples:", f"penstock {' '.join(command)}")
        says(top, command[0])
        must("\033" not in said.out, "colours although it is no terminal")


def no_such_tunnel(desk: Desk) -> None:
    desk.running()
    said = desk.penstock("tunnel", "up", "clout")
    must(said.code == 1, f"exit {said.code}")
    says(said.err, 'there is no tunnel "clout"; there is cloud')


def socket_closed_to_the_user(desk: Desk) -> None:
    desk.running()
    program = desk.program_for_others("penstock")
    environment = dict(os.environ, PENSTOCK_SOCKET=str(desk.agent.run_dir / "control.sock"))
    said = desk.run([str(program), "status"], setup=as_nobody, environment=environment)
    must(said.code == 1, f"exit {said.code}")
    one_sentence(said.err)
    says(said.err, "you may not use", "control.sock", "run as root, or join the group penstock")


def sigterm(desk: Desk) -> None:
    """Ends in order, with 0; the gate stays closed."""
    desk.running()
    desk.agent.stop(signal.SIGTERM)
    life = desk.agent._lives()[-1]
    must(life.status == 0, f"exit {life.status}")
    desk.log_says("event=stopped", "gate=closed")
    if not desk.lab.kernel_esp:
        desk.closed()
    else:  # the kernel's SAs go on for what policy allows, and nothing leaves in clear
        place = desk.lab.watch()
        with desk.lab.flow(THERMOSTAT, READINGS4, desk.stage.rate) as flow:
            must(flow.wait_for_sent(100, 5 * desk.lab.slowness), "the device does not send")
        verdict = desk.lab.since(place)
        must(not verdict.clear, f"clear frames: {verdict}")
        must(verdict.esp, "the device sends, and nothing of it was seen as ESP")
    desk.mend()


def _reload(desk: Desk, *wanted: str) -> None:
    os.kill(desk.agent.pid, signal.SIGHUP)
    desk.log_says(*wanted)


def reload_takes_a_new_certificate(desk: Desk) -> None:
    """The tunnel stays up, and the next authentication uses the new one."""
    desk.running()
    pid, ike = desk.agent.pid, desk.agent.ike_pid()
    desk.lab.authority.issue(GATEWAY_ID, desk.agent.etc / "gateway.pem", desk.agent.etc / "gateway.key")
    desk.agent.etc.joinpath("gateway.key").chmod(0o600)
    _reload(desk, "event=reloaded", "certificate, private key and CAs")
    must((desk.agent.pid, desk.agent.ike_pid()) == (pid, ike), "a process was restarted")
    desk.stage.restart_tunnel()
    desk.passes()


def reload_says_what_needs_a_restart(desk: Desk) -> None:
    desk.running()
    desk.config.write_text(desk.good.replace("dpd = 30", "dpd = 31").replace('on_expiry = "keep"', 'on_expiry = "lockdown"'), encoding="utf-8")
    _reload(desk, "reload_needs_restart", "[[tunnel]], [policy] on_expiry", "systemctl restart penstockd")
    desk.passes()
    desk.config.write_text(desk.good, encoding="utf-8")


def reload_of_something_bad_changes_nothing(desk: Desk) -> None:
    desk.running()
    desk.config.write_text(desk.good.replace("[policy]", "[polizy]"), encoding="utf-8")
    _reload(desk, "reload_refused", "unknown section [polizy]", "nothing has changed")
    desk.config.write_text(desk.good, encoding="utf-8")
    key = desk.agent.etc / "gateway.key"
    key.chmod(0o644)
    _reload(desk, "reload_refused", "is a private key that others may read")
    key.chmod(0o600)
    desk.passes()


def started_with_a_readable_key_then_mended(desk: Desk) -> None:
    """It starts, closes the gate, and says in the status why there is no tunnel; mended, it goes on by itself."""
    key = desk.agent.etc / "gateway.key"
    key.chmod(0o644)
    try:
        desk.start_with("", "")
        desk.status_says("is a private key that others may read; mend: chmod 600")
        desk.closed()
    finally:
        key.chmod(0o600)
    must(wait_until(lambda: desk.agent.tunnel().get("state") == "up", 20 * desk.lab.slowness, 0.1), "it does not take up the mended file")
    desk.passes()


def started_without_the_trust_anchor(desk: Desk) -> None:
    """No root document: no policy is in force, and a push says why."""
    desk.running()
    root = desk.agent.etc / "root.json"
    shutil.move(root, desk.folder / "root.kept")
    try:
        desk.start_with("", "")
        desk.log_says("configuration_problem", "root.json: No such file")
        desk.closed()
        said = desk.penstock("push", str(desk.lab.bundles.make("no-anchor")))
        must(said.code == 1, f"exit {said.code}")
        says(said.err, "root.json: No such file")
    finally:
        shutil.move(desk.folder / "root.kept", root)
    desk.stage.push_base()
    desk.passes()


@contextmanager
def _clock(desk: Desk, shift: int) -> Iterator[None]:
    """penstockd believes in another year; monotonic time and everybody else's clock are right."""
    library = desk.agent.binaries / "penstock-clock.so"
    must(library.exists(), f"{library} was not built")
    desk.agent.stop()
    environment = dict(os.environ, LD_PRELOAD=str(library), PENSTOCK_CLOCK_SHIFT=str(shift))

    def setup() -> None:
        die_with_parent()
        desk.agent.namespace.enter()
    with desk.agent.log.open("ab") as log:
        process = subprocess.Popen([str(desk.agent.binaries / "penstockd"), "--config", str(desk.config)], env=environment, preexec_fn=setup,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        must(wait_until(lambda: desk.penstock("status").code == 0, 10 * desk.lab.slowness, 0.1), f"it does not start: {desk.agent.last_words()}")
        yield
    finally:
        process.terminate()
        process.wait(10)


def clock_ten_years_ahead(desk: Desk) -> None:
    """Certificates have expired for it, and it says so; the gate stays closed for everything else, and nothing crashes."""
    desk.running()
    with _clock(desk, 10 * YEAR):
        desk.log_says("configuration_problem", "gateway.pem expired at", "put a new one there")
        must(desk.agent.json("status")["gate"]["state"] == "closed", "the gate is not closed")
        must(desk.agent.json("status")["policy"], "the policy in force is lost")
    desk.mend()


def clock_ten_years_behind(desk: Desk) -> None:
    """As on a machine without a battery: not yet valid, and what to do about it."""
    desk.running()
    with _clock(desk, -10 * YEAR):
        desk.log_says("configuration_problem", "gateway.pem is not valid before", "set the clock if it is wrong")
        desk.log_says("clock_behind", "set the clock")
        must(desk.agent.json("status")["time_at_least"] > "2026", "it believes the clock")
        says(desk.penstock("status").out, "BEHIND")
        said = desk.agent.push(desk.lab.bundles.expired())  # in the year of this clock it would not have been
        must(not said.accepted and "expired" in said.reason, f"what has expired was taken: {said}")
        must(desk.agent.json("status")["gate"]["state"] == "closed", "the gate is not closed")
        must(desk.agent.json("status")["policy"], "the policy in force is lost")
    desk.mend()


CASES: dict[str, Case] = {f"operation_{case.__name__}": case for case in (
    no_agent, wrong_usage, help_has_examples, no_such_tunnel, socket_closed_to_the_user, sigterm, reload_takes_a_new_certificate, reload_says_what_needs_a_restart,
    reload_of_something_bad_changes_nothing, started_with_a_readable_key_then_mended, started_without_the_trust_anchor,
    clock_ten_years_ahead, clock_ten_years_behind)}
