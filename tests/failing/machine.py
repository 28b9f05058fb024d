"""A machine that does not offer what penstockd needs. It says what is missing, and devices' packets go nowhere."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

from harness import Case, Desk, Said, Skip, as_nobody, must, one_sentence, says
from lab.system import umount, wait_until

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_DROP, SECCOMP_MODE_FILTER = 38, 22, 24, 2
ENOSYS, EPERM, EPROTONOSUPPORT = 38, 1, 93
NETLINK_XFRM, AF_NETLINK = 6, 16
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_SETUID": 7, "CAP_KILL": 5}
CALLS = {"x86_64": (0xC000003E, 321, 41), "aarch64": (0xC00000B7, 280, 198)}  # audit architecture, bpf(2), socket(2)

_libc = ctypes.CDLL(None, use_errno=True)


def _filter(program: list[tuple[int, int, int, int]]) -> None:
    """Installs a seccomp filter on this process and what it becomes."""
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    if _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) != 0:
        os._exit(71)


def _without_bpf(error: int) -> Callable[[], None]:
    """As on a kernel without bpf(2), or where a container's filter forbids it."""
    architecture, bpf, _ = CALLS[platform.machine()]

    def setup() -> None:
        _filter([(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0),
                 (0x15, 0, 1, bpf), (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000)])
    return setup


def _without_xfrm() -> None:
    """As on a kernel without CONFIG_XFRM_USER: socket(AF_NETLINK, ..., NETLINK_XFRM) is refused."""
    architecture, _, socket = CALLS[platform.machine()]
    _filter([(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0), (0x15, 0, 5, socket),
             (0x20, 0, 0, 16), (0x15, 0, 3, AF_NETLINK), (0x20, 0, 0, 32), (0x15, 0, 1, NETLINK_XFRM),
             (0x06, 0, 0, 0x00050000 | EPROTONOSUPPORT), (0x06, 0, 0, 0x7FFF0000)])


def _without(capability: str) -> Callable[[], None]:
    def setup() -> None:
        # Out of the bounding set: execve(2) of root gives it no more.
        if _libc.prctl(PR_CAPBSET_DROP, CAPABILITIES[capability], 0, 0, 0) != 0:
            os._exit(72)
    return setup


def _start(desk: Desk, setup: Callable[[], None] | None = None, config: Path | None = None, program: Path | None = None,
           seconds: float = 10) -> Said:
    """penstockd in the gateway's namespace, which must fail to start."""
    desk.agent.stop()
    desk.config.write_text(desk.good, encoding="utf-8")

    def prepare() -> None:
        desk.agent.namespace.enter()
        if setup:
            setup()
    return desk.run([str(program or desk.agent.binaries / "penstockd"), "--config", str(config or desk.config)], setup=prepare, seconds=seconds)


def _fails(desk: Desk, said: Said, *wanted: str) -> None:
    must(said.code == 1, f"exit {said.code}: {said.err[-300:]}")
    last = said.err.strip().splitlines()[-1]
    must(last.startswith("penstockd: "), f"the last line is not the reason: {last!r}")
    says(last, *wanted)


def _open_router_stays_shut(desk: Desk, setup: Callable[[], None], *wanted: str) -> None:
    """The machine forwards by its own settings, no gate was ever put up: the failed start shuts the LAN's forwarding."""
    desk.agent.stop()
    gateway = desk.agent.namespace
    gateway.sysctl({"ipv4/conf/lan0/forwarding": 1, "ipv6/conf/all/forwarding": 1})
    _fails(desk, _start(desk, setup), *wanted)
    with gateway.inside():
        for key in ("ipv4/conf/lan0/forwarding", "ipv6/conf/all/forwarding"):
            must(Path(f"/proc/sys/net/{key}").read_text().strip() == "0", f"{key} is still on")
    desk.closed()
    desk.mend()


def kernel_without_bpf(desk: Desk) -> None:
    _open_router_stays_shut(desk, _without_bpf(ENOSYS), "the gate cannot be put up", "this kernel has no BPF", "CONFIG_BPF_SYSCALL")


def bpf_forbidden(desk: Desk) -> None:
    _open_router_stays_shut(desk, _without_bpf(EPERM), "bpf(2) is forbidden here although the capability is there", "system call filter")


def kernel_without_xfrm(desk: Desk) -> None:
    _open_router_stays_shut(desk, _without_xfrm, "this kernel has no XFRM", "CONFIG_XFRM_USER")


def capability_missing(desk: Desk) -> None:
    """Each by its name."""
    for name in CAPABILITIES:
        _fails(desk, _start(desk, _without(name)), f"missing capability {name};", "run penstockd as root", "CapabilityBoundingSet=")
    desk.mend()


def not_root(desk: Desk) -> None:
    program = desk.program_for_others("penstockd")
    file = desk.spoiled()
    for path in (desk.folder, *desk.folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in desk.folder.parents:
        if desk.run(["/usr/bin/test", "-x", str(parent)], setup=as_nobody).code != 0:
            raise Skip(f"{parent} is closed to other users")
    _fails(desk, _start(desk, as_nobody, file, program), "missing capabilities CAP_NET_ADMIN, CAP_BPF", "run penstockd as root")


def bpffs_not_mounted(desk: Desk) -> None:
    """The folder is there, the file system is not."""
    elsewhere = desk.lab.directory / "no-bpffs"
    elsewhere.mkdir(exist_ok=True)
    file = desk.spoiled(f'bpffs = "{desk.agent.bpffs}/penstock"', f'bpffs = "{elsewhere}/penstock"')
    _fails(desk, _start(desk, None, file), "is not on a BPF file system; mount one: mount -t bpf bpf /sys/fs/bpf")
    desk.mend()


def _in_cgroup(limit: int) -> Callable[[], None]:
    """A memory cgroup of its own, version 1 or 2, with room for so many bytes."""
    name = f"penstock-failing-{os.getpid()}"
    for base, key in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/unified", "memory.max")):
        group = Path(base) / name
        try:
            group.mkdir(exist_ok=True)
            if (group / key).exists():
                (group / key).write_text(str(limit))
                return lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
            group.rmdir()
        except OSError:
            continue
    raise Skip("no memory cgroup can be made here")


def map_memory_refused(desk: Desk) -> None:
    """Tables for 100,000 devices where there is room for 24 MiB."""
    file = desk.spoiled("[policy]", "[policy]\ndevices = 100000")
    said = _start(desk, _in_cgroup(24 << 20), file)
    try:
        # The kernel may end the process where it refuses the memory: then nothing is said, and nothing opened.
        if said.code == 1:
            _fails(desk, said, "no memory for the tables of 100000 devices", "lower [policy] devices")
        else:
            must(said.code == -9, f"exit {said.code}: {said.err[-300:]}")
    finally:
        for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            group = Path(base) / f"penstock-failing-{os.getpid()}"
            wait_until(lambda: not group.exists() or _removed(group), 5, 0.1)
    desk.mend()


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def second_instance(desk: Desk) -> None:
    """The first goes on undisturbed."""
    desk.running()
    pid = desk.agent.pid
    said = desk.run([str(desk.agent.binaries / "penstockd"), "--config", str(desk.config)], setup=desk.agent.namespace.enter)
    must(said.code == 1, f"exit {said.code}")
    one_sentence("\n".join(line for line in said.err.splitlines() if line.startswith("penstockd: ")))
    says(said.err, "another penstockd", "stop it first")
    must(desk.agent.pid == pid, "the first one was restarted")
    desk.passes()


def socket_folder_is_a_file(desk: Desk) -> None:
    """The run folder cannot be made."""
    blocked = desk.lab.directory / "blocked"
    blocked.write_text("")
    _fails(desk, _start(desk, None, desk.spoiled(f'run = "{desk.agent.run_dir}"', f'run = "{blocked}/run"')), "cannot make the run folder", "Not a directory")
    desk.mend()


def socket_left_behind(desk: Desk) -> None:
    """A socket file that nobody serves, as after a power cut, is no obstacle."""
    desk.running()
    desk.agent.kill(desk.agent.pid)
    must(wait_until(lambda: desk.penstock("status").code == 0, 10 * desk.lab.slowness, 0.1), "no new agent on the old socket")
    desk.passes()


# The disk

def _small_state(desk: Desk) -> None:
    """The state folder on a file system of 4 MiB, with what was in it. The agent sees it: same mount namespace."""
    desk.agent.stop()
    kept = desk.agent.directory / "kept"
    shutil.copytree(desk.agent.state, kept)
    if _libc.mount(b"tmpfs", str(desk.agent.state).encode(), b"tmpfs", 0, b"size=4m,mode=0700") != 0:
        raise Skip("no tmpfs can be mounted here")
    shutil.copytree(kept, desk.agent.state, dirs_exist_ok=True)
    shutil.rmtree(kept)
    desk.agent.start()


def _remount(desk: Desk, read_only: bool) -> None:
    must(_libc.mount(None, str(desk.agent.state).encode(), None, 32 | (1 if read_only else 0), b"") == 0, "cannot remount the state folder")


def _storing_fails(desk: Desk, reason: str) -> None:
    """A push that cannot be kept is refused; the policy before stays in force, also over a restart; room again: it goes."""
    before = desk.agent.json("status")["policy"]["version"]
    bundle = desk.lab.bundles.make("to-store")
    said = desk.penstock("push", str(bundle))
    must(said.code == 1, f"exit {said.code}: {said.out}")
    says(said.err, "cannot write", "policy.bundle", reason)
    desk.log_says("audit_problem", reason)
    says(desk.penstock("status").out, "AUDIT LOG: records are not written")
    must(desk.agent.json("status")["policy"]["version"] == before, "a policy that was not stored is in force")
    desk.passes()
    desk.agent.stop()
    desk.agent.start()
    must(desk.agent.json("status")["policy"]["version"] == before, "the stored policy is lost")
    desk.passes()


def _storing_works(desk: Desk) -> None:
    said = desk.penstock("push", str(desk.lab.bundles.make("to-store-again")))
    must(said.code == 0, f"refused although there is room: {said.err}")
    desk.passes()
    desk.agent.stop()
    kept = desk.agent.directory / "kept"
    shutil.copytree(desk.agent.state, kept)
    umount(str(desk.agent.state))
    shutil.rmtree(desk.agent.state)
    kept.rename(desk.agent.state)
    desk.mend()
    verified = desk.penstock("audit", "verify")
    must(verified.code == 0, f"the audit log: {verified.out}{verified.err}")


def disk_full(desk: Desk) -> None:
    desk.running()
    _small_state(desk)
    filler = desk.agent.state / "filler"
    try:
        with filler.open("wb") as out:
            while True:
                out.write(bytes(4096))
                out.flush()
    except OSError:
        pass
    try:
        _storing_fails(desk, "No space left on device")
    finally:
        filler.unlink()
        _storing_works(desk)


def disk_read_only(desk: Desk) -> None:
    desk.running()
    _small_state(desk)
    _remount(desk, True)
    try:
        _storing_fails(desk, "Read-only file system")
    finally:
        _remount(desk, False)
        _storing_works(desk)


def stored_bundle_damaged(desk: Desk) -> None:
    """Bit rot: the stored policy is not in force, nothing passes, and the next push mends it."""
    desk.running()
    desk.agent.stop()
    stored = desk.agent.state / "policy.bundle"
    stored.write_bytes(stored.read_bytes()[:-40])
    started = time.monotonic()
    desk.agent.start()
    must(time.monotonic() - started < 60, "slow")
    desk.log_says("stored_policy_refused", "its seal does not hold")
    desk.closed()
    desk.stage.push_base()
    desk.passes()


CASES: dict[str, Case] = {f"machine_{case.__name__}": case for case in (
    kernel_without_bpf, bpf_forbidden, kernel_without_xfrm, capability_missing, not_root, bpffs_not_mounted, map_memory_refused,
    second_instance, socket_folder_is_a_file, socket_left_behind, disk_full, disk_read_only, stored_bundle_damaged)}
