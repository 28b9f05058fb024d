"""Somebody else's eBPF on the gateway: raw bpf(2) calls, since the bpftool of Debian 12 knows no tcx."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct

from .system import LabError, Namespace, run

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _LINK_CREATE = 5, 28
_SCHED_CLS = 3
_TCX = {"ingress": 46, "egress": 47}
_BEFORE = 1 << 3
_RETURN_OK = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 = TC_ACT_OK; exit

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise LabError(f"bpf(2) has no number here for {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = _libc.syscall(number, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


class PassAll:
    """A program that passes every packet without asking the next, first in line on one hook; goes when closed."""

    def __init__(self, namespace: Namespace, interface: str, direction: str, tcx: bool) -> None:
        self._namespace, self._interface, self._direction, self._link = namespace, interface, direction, -1
        if not tcx:
            self._tc("add")
            return
        code = ctypes.create_string_buffer(_RETURN_OK, len(_RETURN_OK))
        licence = ctypes.create_string_buffer(b"GPL")
        program = _bpf(_PROG_LOAD, struct.pack("=IIQQ", _SCHED_CLS, 2, ctypes.addressof(code), ctypes.addressof(licence)))
        with namespace.inside():
            index = socket.if_nametoindex(interface)
            self._link = _bpf(_LINK_CREATE, struct.pack("=IIII", program, index, _TCX[direction], _BEFORE))
        os.close(program)

    def _tc(self, verb: str) -> None:
        what = ["bytecode", "1,6 0 0 4294967295", "action", "ok"] if verb == "add" else []
        run(["tc", "-n", self._namespace.name, "filter", verb, "dev", self._interface, self._direction, "pref", "1", "protocol", "all",
             "handle", "1", "bpf", *what], check=verb == "add")

    def close(self) -> None:
        if self._link >= 0:
            os.close(self._link)
        else:
            self._tc("del")
