"""Rights that keep hours: the clock takes them away and gives them, without a new bundle."""

from __future__ import annotations

import time

from expect import must
from lab import probe
from lab.stage import READINGS4, VIDEO4, Stage
from lab.topology import CAMERA, THERMOSTAT


def _hours(begin: int, end: int) -> str:
    """A window between two instants (UNIX time, whole minutes) of one day, as the rule book writes it."""
    last = time.strftime("%H:%M", time.gmtime(end))
    return f'when: {{ hours: "{time.strftime("%H:%M", time.gmtime(begin))}-{"24:00" if last == "00:00" else last}", zone: Etc/UTC }}'


def rights_keep_hours(stage: Stage) -> None:
    """At one minute's turn a running flow of one device ends and another device may begin: nobody pushed anything."""
    stage.open()
    lab = stage.lab
    turn = (int(time.time() + 15 * lab.slowness) // 60 + 1) * 60
    lab.agent.push(lab.bundles.make("hours", replace={
        "sensors, diagnose] }": f"sensors, diagnose], {_hours(turn - 1800, turn)} }}",
        "allow: [video] }": f"allow: [video], {_hours(turn, turn + 1800)} }}"}))
    limit = 6 * lab.slowness
    must(probe.ask(lab.topology.of(CAMERA), VIDEO4, lab.marker, 0.5 * lab.slowness).result != probe.ANSWERED, "the camera was early")
    with lab.flow(THERMOSTAT, READINGS4, stage.rate / 4) as flow:
        must(flow.wait_for_answers(50, 5 * lab.slowness), "no flow before the turn")
        time.sleep(max(0.0, turn + limit - time.time()))
        over = time.monotonic()
        flow.wait_for_sent(100, 5 * lab.slowness)
        report = flow.finish()
    open_until = report.last_arrival() - (over - limit)
    must(-1 < open_until < limit, f"the thermostat's last answer came {open_until:.2f} s after the turn")
    must(probe.ask(lab.topology.of(CAMERA), VIDEO4, lab.marker, limit).result == probe.ANSWERED, "the camera's hour did not come")
    must(probe.ask(lab.topology.of(THERMOSTAT), READINGS4, lab.marker, 0.5 * lab.slowness).result != probe.ANSWERED,
         "the thermostat began again after its hours")
    stage.push_base()
    stage.notes["hours"] = f"closed {max(0.0, open_until):.2f} s after the minute"
