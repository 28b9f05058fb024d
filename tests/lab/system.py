"""System calls and processes: namespaces entered by setns, children that die with their parent, commands that must succeed."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NETNS_DIR = "/run/netns"

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something the lab itself needs did not work; never a verdict about the agent."""


class ChannelClosed(LabError):
    """The other end is gone; in a child that means: the lab is over."""


def _check(result: int, what: str) -> None:
    if result < 0:
        raise LabError(f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, fstype: str | None, flags: int = 0) -> None:
    kind = fstype.encode() if fstype else None
    _check(_libc.mount(source.encode(), target.encode(), kind, flags, None), f"cannot mount {source} on {target}")


def umount(target: str) -> None:
    _check(_libc.umount2(target.encode(), 2), f"cannot unmount {target}")  # 2: MNT_DETACH


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def run(argv: Sequence[str], *, stdin: str | None = None, check: bool = True, env: dict[str, str] | None = None,
        setup: Callable[[], None] | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. `setup` runs in the child before exec (the lab has one thread, so that is safe)."""
    try:
        done = subprocess.run(argv, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=setup, timeout=timeout)
    except FileNotFoundError:
        raise LabError(f"{argv[0]}: no such program") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(argv)}: no end after {timeout:.0f} s") from None
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done


def wait_until(condition: Callable[[], Any], seconds: float, every: float = 0.01) -> Any:
    """Poll until the condition holds; its (truthy) value, or its last (falsy) one after the time is up."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(every)


@dataclass(frozen=True)
class Namespace:
    """A named network namespace. The lab's own process enters it for the length of a system call or two."""

    name: str

    @property
    def path(self) -> str:
        return f"{NETNS_DIR}/{self.name}"

    def enter(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(fd, CLONE_NEWNET), f"cannot enter {self.name}")
        finally:
            os.close(fd)

    @contextmanager
    def inside(self) -> Iterator[None]:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.enter()
            yield
        finally:
            if _libc.setns(home, CLONE_NEWNET) < 0:
                os._exit(70)  # a lab that cannot get home must not go on: the next command could be meant for the host
            os.close(home)

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket belongs to the namespace it was made in, wherever it is used."""
        with self.inside():
            return socket.socket(family, kind, proto)

    def sysctl(self, settings: dict[str, object], missing_ok: bool = False) -> None:
        with self.inside():
            for key, value in settings.items():
                try:
                    with open("/proc/sys/net/" + key, "w", encoding="ascii") as file:
                        file.write(str(value))
                except FileNotFoundError:
                    if not missing_ok:
                        raise

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return run(argv, setup=self.enter, **options)

    def ip(self, commands: str, check: bool = True) -> str:
        """`ip -batch`: one command a line."""
        force = [] if check else ["-force"]
        return run(["ip", "-n", self.name, *force, "-batch", "-"], stdin=commands, check=check).stdout

    def pids(self) -> list[int]:
        """Processes inside, except this one."""
        try:
            wanted = os.stat(self.path).st_ino
        except FileNotFoundError:
            return []
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    if os.stat(f"/proc/{entry}/ns/net").st_ino == wanted:
                        found.append(int(entry))
                except OSError:
                    continue
        return found


@dataclass
class Channel:
    """Our end of a socketpair to a child or its parent: one JSON value a message."""

    sock: socket.socket

    def send(self, value: Any) -> None:
        self.sock.send(json.dumps(value).encode())

    def receive(self, timeout: float | None) -> Any:
        if timeout is not None and not select.select([self.sock], [], [], timeout)[0]:
            raise LabError("no answer from a process of the lab")
        data = self.sock.recv(1 << 20)
        if not data:
            raise ChannelClosed("a process of the lab has ended")
        return json.loads(data)


@dataclass
class Child:
    """A function running in a forked process, inside a namespace; killed when the lab's process goes away."""

    pid: int
    channel: Channel
    name: str
    status: int | None = field(default=None)

    @staticmethod
    def start(name: str, body: Callable[[Channel], None], namespace: Namespace | None = None,
              parent_death: int = signal.SIGKILL) -> "Child":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all of us; the lab decides
                for signum in (signal.SIGTERM, signal.SIGHUP):
                    signal.signal(signum, signal.SIG_DFL)
                die_with_parent(parent_death)
                ours.close()
                if namespace:
                    namespace.enter()
                body(Channel(theirs))
                code = 0
            except (ChannelClosed, BrokenPipeError):
                code = 0
            except BaseException:  # a forked child must never return into its parent's code
                traceback.print_exc()
            finally:
                os._exit(code)
        theirs.close()
        return Child(pid, Channel(ours), name)

    def alive(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is None

    def ask(self, request: Any, timeout: float = 30) -> Any:
        try:
            self.channel.send(request)
            return self.channel.receive(timeout)
        except (OSError, LabError) as error:
            raise LabError(f"{self.name}: {error}") from None

    def stop(self, patience: float = 2.0) -> None:
        if not self.alive():
            return
        os.kill(self.pid, signal.SIGTERM)
        if not wait_until(lambda: not self.alive(), patience):
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.alive(), 5)
        self.channel.sock.close()
