"""What the failure cases share: a desk with a good configuration to spoil, and sentences to look for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.lab import Lab
from lab.stage import READINGS4, Stage
from lab.system import LabError, wait_until
from lab.topology import THERMOSTAT


class Skip(Exception):
    """Why a case says nothing on this machine."""


class Failed(Exception):
    """What was not as it must be."""


def must(condition: object, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


def says(text: str, *wanted: str) -> None:
    """Each of these is somewhere in what a person reads."""
    for piece in wanted:
        must(piece in text, f"does not say {piece!r}: {text.strip()[-500:]!r}")


def one_sentence(text: str) -> None:
    must(len(text.strip().splitlines()) == 1, f"not one sentence: {text!r}")


@dataclass(frozen=True)
class Said:
    """What a program said and how it ended."""

    code: int
    out: str
    err: str


Case = Callable[["Desk"], None]


def as_nobody() -> None:
    """For a child, before it runs a program."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


class Desk:
    """A lab whose configuration can be spoiled, and what the agent says to that."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.stage = lab, Stage(lab)
        self.agent = lab.agent
        self.good = (self.agent.etc / "penstock.toml").read_text(encoding="utf-8")
        self.folder = lab.directory / "desk"
        self.folder.mkdir()

    @property
    def config(self) -> Path:
        return self.agent.etc / "penstock.toml"

    # Another user

    def program_for_others(self, name: str) -> Path:
        """A copy that any user may run: the build may be in a folder that is closed to others."""
        folder = self.lab.directory / "bin"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        copy = folder / name
        shutil.copy(self.agent.binaries / name, copy)
        copy.chmod(0o755)
        return copy

    # A configuration that nothing runs with

    def spoiled(self, old: str = "", new: str = "") -> Path:
        """The good configuration with one piece replaced, in a folder of its own with copies of its files."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.agent.etc, self.folder)
        must(old in self.good, f"{old!r} is not in the configuration")
        file = self.folder / "penstock.toml"
        file.write_text(self.good.replace(old, new, 1), encoding="utf-8")
        return file

    def run(self, argv: list[str], *, setup: Callable[[], None] | None = None, seconds: float = 20,
            environment: dict[str, str] | None = None) -> Said:
        """Run to the end; one that goes on is stopped and has the code 124."""
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  preexec_fn=setup, timeout=seconds * self.lab.slowness, env=environment)
        except FileNotFoundError:
            raise LabError(f"{argv[0]}: no such program") from None
        except subprocess.TimeoutExpired as expired:
            return Said(124, *((text or b"").decode(errors="replace") for text in (expired.stdout, expired.stderr)))
        return Said(done.returncode, done.stdout, done.stderr)

    def check(self, file: Path) -> Said:
        return self.run([str(self.agent.binaries / "penstockd"), "--check-config", str(file)], setup=self.agent.namespace.enter)

    def refused(self, file: Path, *wanted: str) -> str:
        """`--check-config` says no, in these words, and names the file."""
        said = self.check(file)
        must(said.code == 1, f"exit {said.code}, not 1: {said.out}{said.err}")
        says(said.err, str(file.parent), *wanted)
        return said.err

    def penstock(self, *args: str, socket: str | None = None, inside: bool = True) -> Said:
        """inside: in the gateway's network namespace."""
        environment = dict(os.environ, PENSTOCK_SOCKET=socket or str(self.agent.run_dir / "control.sock"))
        setup = self.agent.namespace.enter if inside else None
        return self.run([str(self.agent.binaries / "penstock"), *args], setup=setup, environment=environment)

    # The agent of the lab

    def running(self) -> None:
        """Up with the good configuration and a policy, the tunnel open."""
        if self.config.read_text(encoding="utf-8") != self.good or self.penstock("status").code != 0:
            self.restart()
        self.stage.open()

    def restart(self) -> None:
        self.agent.stop()
        self.config.write_text(self.good, encoding="utf-8")
        self.agent.start()
        self.stage.opened()
        if self.agent.json("status")["policy"] is None:
            self.stage.push_base()

    def start_with(self, old: str, new: str) -> None:
        """The agent starts again with a spoiled configuration, as systemd would."""
        self.agent.stop()
        must(old in self.good, f"{old!r} is not in the configuration")
        self.config.write_text(self.good.replace(old, new, 1), encoding="utf-8")
        self.agent.start()

    def mend(self) -> None:
        """Back to the good configuration; traffic must move again."""
        self.restart()
        self.passes()

    def log_says(self, *wanted: str, seconds: float = 8) -> None:
        """One line of the agent's log, since the last start, has all of these."""
        def found() -> bool:
            return any(all(piece in line for piece in wanted) for line in self._log())
        must(wait_until(found, seconds * self.lab.slowness, 0.05), f"the log has no line with {wanted}: {self._log()[-6:]}")

    def _log(self) -> list[str]:
        return [line.replace('\\"', '"') for line in self.agent.log_tail(400)]

    def status_says(self, *wanted: str, seconds: float = 8) -> None:
        """`penstock status`, as a person reads it; lines are joined, since they are wrapped."""
        text = ""

        def found() -> bool:
            nonlocal text
            text = " ".join(self.penstock("status").out.split())
            return all(piece in text for piece in wanted)
        must(wait_until(found, seconds * self.lab.slowness, 0.1), f"the status does not say {wanted}: {text}")

    def closed(self, what: str = "deny: the gate is closed") -> None:
        """A device's datagram does not leave, neither in clear nor in ESP."""
        row = self.stage.ask(THERMOSTAT, READINGS4, what, False)
        must(row.ok, f"the gate is not closed: {row.why}")

    def passes(self) -> None:
        self.stage.open()
        row = self.stage.ask(THERMOSTAT, READINGS4, "allow", True)
        must(row.ok, f"no traffic: {row.why}")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def line_of(file: Path, piece: str) -> int:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if re.search(piece, line):
            return number
    raise Failed(f"{piece!r} is not in {file}")
