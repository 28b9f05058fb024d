"""Keeps penstockd running as systemd would (Type=notify, Restart=always, RestartSec=100ms) and remembers when it started, was ready and died."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .system import Channel, Child, Namespace, adopt_orphans, die_with_parent

RESTART_DELAY = 0.1


@dataclass
class Life:
    """One life of the daemon; times are CLOCK_MONOTONIC seconds, 0 where it has not come to that."""

    pid: int
    started: float
    ready: float = 0.0
    ended: float = 0.0
    status: int = 0


class _Keeper:
    def __init__(self, argv: list[str], log: Path, notify: Path) -> None:
        self._argv, self._log = argv, log
        self._lives: list[Life] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted, self._restart_at = False, 0.0
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.unlink(missing_ok=True)
        self._notify.bind(str(notify))
        self._environment = dict(os.environ, NOTIFY_SOCKET=str(notify))

    def _start(self) -> None:
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        started = time.monotonic()
        self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
                                         preexec_fn=die_with_parent)
        os.close(log)
        self._lives.append(Life(self._process.pid, started))

    def _reap(self) -> None:
        if self._process and self._process.poll() is not None:
            life = self._lives[-1]
            life.ended, life.status = time.monotonic(), self._process.returncode
            self._process = None
            self._restart_at = life.ended + RESTART_DELAY
        own = self._process.pid if self._process else -1
        try:  # orphans of a daemon that died come to us; its own end must be left to Popen
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid != own:
                os.waitpid(found.si_pid, 0)
        except ChildProcessError:
            pass

    def _obey(self, request: dict[str, Any]) -> None:
        self._wanted = request["run"] if "run" in request else self._wanted
        if not self._wanted and self._process and (signum := request.get("signal")):
            os.kill(self._process.pid, signum)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._reap()

    def serve(self, channel: Channel) -> None:
        while True:
            if self._wanted and not self._process and time.monotonic() >= self._restart_at:
                self._start()
            for sock in select.select([channel.sock, self._notify], [], [], 0.01)[0]:
                if sock is self._notify:
                    if b"READY=1" in self._notify.recv(4096).split(b"\n") and self._lives and not self._lives[-1].ready:
                        self._lives[-1].ready = time.monotonic()
                else:
                    self._obey(channel.receive(0))
                    if self._wanted and not self._process and not self._lives:
                        self._start()
                    channel.send([asdict(life) for life in self._lives])
            self._reap()


@dataclass
class Supervisor:
    """The keeper's process as seen from the lab."""

    child: Child

    @staticmethod
    def start(namespace: Namespace, argv: list[str], log: Path, notify: Path) -> "Supervisor":
        def body(channel: Channel) -> None:
            adopt_orphans()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _Keeper(argv, log, notify).serve(channel)

        return Supervisor(Child.start("supervisor", body, namespace))

    def _ask(self, **request: Any) -> list[Life]:
        return [Life(**life) for life in self.child.ask(request)]

    def lives(self) -> list[Life]:
        return self._ask()

    def run(self) -> list[Life]:
        return self._ask(run=True)

    def end(self, signum: int = signal.SIGTERM) -> list[Life]:
        """End the daemon and leave it ended."""
        return self._ask(run=False, signal=signum)
