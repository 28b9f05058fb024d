"""One lab from the first namespace to the last clean-up: the wires, the witness, the cloud, and the agent when it is wanted."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from . import noise, strongswan
from . import topology as net
from .agent import Agent
from .bundles import Bundles
from .capture import Capture, Frame
from .echo import EchoServer
from .flow import Flow
from .hub import Hub
from .pki import Authority
from .probe import Target
from .system import LabError, umount, wait_until
from .topology import Device, Topology
from .witness import Expectation, Verdict, judge

LABS = Path("/run/penstock-lab")


def slowness() -> float:
    """How much longer than on a good machine things take here; never below 1. In a test VM never below 3: another one runs beside it,
    though perhaps not in this moment."""
    floor = 3.0 if "PENSTOCK_VM" in os.environ else 1.0
    best = float("inf")
    for _ in range(5):  # the best of a few: a neighbour's short burst must not stretch every time limit of the run
        start = time.perf_counter()
        sum(range(200_000))
        best = min(best, time.perf_counter() - start)
    return min(8.0, max(floor, best / 0.008))


def take_down(lab_id: str) -> None:
    """Remove everything of a lab by its name alone, whoever made it and however it ended."""
    topology = Topology(lab_id)
    for _ in range(20):
        pids = [pid for namespace in topology.all.values() for pid in namespace.pids()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not pids:
            break
        time.sleep(0.02)
    topology.delete()
    directory = LABS / lab_id
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        if (target := line.split()[1]).startswith(f"{directory}/"):
            try:
                umount(target)
            except LabError as error:
                print(f"lab: {error}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)


def _janitor(lab_id: str) -> int:
    """A process that outlives us by a moment, even if we are killed with -9: when our end of the pipe closes, it cleans up."""
    ours_read, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(ours)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        silent = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silent, fd)
        try:
            if os.read(ours_read, 1) == b"":
                take_down(lab_id)
        finally:
            os._exit(0)
    os.close(ours_read)
    return ours


class Lab:
    """Use as a context manager. Everything in it ends with this process, however that ends."""

    def __init__(self, build: Path) -> None:
        self.build = build
        self.id = secrets.token_hex(3)
        self.directory = LABS / self.id
        self.marker = os.urandom(16)
        self.slowness = slowness()
        self.topology = Topology(self.id)
        self.kernel_esp = net.kernel_has_esp()
        self.expect = Expectation(self.marker)
        self.frames: list[Frame] = []
        self._agent: Agent | None = None
        self._bundles: Bundles | None = None
        self._hub: Hub | None = None

    def __enter__(self) -> "Lab":
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._on_signal)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
        os.umask(0o022)  # penstockd reads no configuration that a group may write
        self.directory.mkdir(parents=True)
        self._janitor = _janitor(self.id)
        try:
            self.topology.make()
            self.witness = Capture.start(self.topology.isp, "up0", self.directory / "uplink.pcapng")
            self.echo = EchoServer.start(self.topology.cloud)
            self.authority = Authority.make(self.directory / "pki", "ca")
            self.cloud = strongswan.cloud(self.directory / "cloud", self.topology.cloud, self.authority, self.kernel_esp)
            self.cloud.start(10 * self.slowness)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _on_signal(signum: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    @property
    def agent(self) -> Agent:
        """The agent, made and configured on first use, not started."""
        if self._agent is None:
            self._agent = Agent(self.build, self.directory / "gateway", self.topology.gateway, self.kernel_esp, self.slowness)
            self._agent.configure(self.authority, self.bundles.root())
        return self._agent

    @property
    def has_agent(self) -> bool:
        return self._agent is not None

    @property
    def bundles(self) -> Bundles:
        if self._bundles is None:
            self._bundles = Bundles(self.build / "bin" / "penstock", self.directory / "bundles")
        return self._bundles

    @property
    def hub(self) -> Hub:
        """The cloud's real servers, started on first use."""
        if self._hub is None:
            self._hub = Hub.start(self.directory / "hub", self.topology.cloud, self.authority, 10 * self.slowness)
        return self._hub

    def make_noise(self) -> None:
        """From now on the LAN is as noisy as real ones are."""
        noise.start(self.topology.of(net.BULB), 100 / self.slowness)

    def flow(self, device: Device, target: Target, rate: float) -> Flow:
        source = device.address(6 if ":" in target.address else 4)
        return Flow(self.topology.of(device), source, target, self.marker, rate)

    # The witness

    def watch(self) -> int:
        """A place in the record of the wire; give it to `since`."""
        self.frames += self.witness.read_new()
        return len(self.frames)

    def since(self, place: int, spis: set[str] | None = None) -> Verdict:
        """The verdict on everything the gateway sent after that place (0: ever)."""
        time.sleep(0.02 * self.slowness)  # what was sent last is still on its way through bridge, gateway and wire
        self.watch()
        return judge(self.frames[place:], self.expect, self._agent.spis() if spis is None and self._agent else spis or set())

    # The end

    def close(self) -> None:
        if self._agent:
            try:
                self._agent.stop()
            except LabError:
                pass
        take_down(self.id)
        os.close(self._janitor)


def gone(lab_id: str, seconds: float = 5) -> bool:
    """Whether nothing of a lab is left."""
    return bool(wait_until(lambda: not (LABS / lab_id).exists() and not any(os.path.exists(n.path) for n in Topology(lab_id).all.values()), seconds))
