"""Rows as a table of at most 100 columns, printed line by line as they happen."""

from __future__ import annotations

import sys
import textwrap

from .stage import Row

_COLUMNS = (("device", 13), ("tried", 27), ("policy says", 12), ("what happened", 22), ("wire showed", 15))


def _line(cells: tuple[str, ...], mark: str) -> str:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, (_, width) in zip(cells, _COLUMNS)]
    lines = []
    for number in range(max(map(len, wrapped))):
        parts = [(cell[number] if number < len(cell) else "").ljust(width) for cell, (_, width) in zip(wrapped, _COLUMNS)]
        lines.append((mark if number == 0 else " ") + " " + " ".join(parts))
    return "\n".join(line.rstrip() for line in lines)


def head() -> str:
    rule = "  " + " ".join("-" * width for _, width in _COLUMNS)
    return _line(tuple(name for name, _ in _COLUMNS), " ") + "\n" + rule


def heading(text: str) -> str:
    return "\n" + textwrap.fill(text, 98, initial_indent="  ", subsequent_indent="  ")


class Printer:
    """Marks rows that went as expected with +, others with X and the reason below; colours only for a terminal."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()

    def __call__(self, row: Row) -> None:
        text = _line((row.device, row.flow, row.policy, row.observed, row.witness), "+" if row.ok else "X")
        if not row.ok:
            text += "\n" + textwrap.fill(f"NOT AS EXPECTED: {row.why}", 98, initial_indent="  ", subsequent_indent="    ")
        print(self._paint(text, row.ok), flush=True)

    def _paint(self, text: str, ok: bool) -> str:
        if not self._colour:
            return text
        return f"\033[32m{text[0]}\033[0m{text[1:]}" if ok else f"\033[31m{text}\033[0m"
