"""How a case says that it failed, or that it has nothing to say here."""

from __future__ import annotations


class Skip(Exception):
    """Why a case says nothing on this machine."""


class Failed(Exception):
    """What was not as it must be."""


def must(condition: object, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)
