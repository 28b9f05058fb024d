"""Figures: medians of interleaved rounds, as JSON and as a table for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

RULES = 10


@dataclass
class Row:
    """One figure. `samples` of the rounds: ns a packet, or `unit` where that is set."""

    bench: str
    devices: int
    ipv6: bool
    variant: str
    samples: list[float]
    vs_plain: list[float] = field(default_factory=list)  # round by round, plain's cost over this one's: 1 is as fast
    vs_nft: list[float] = field(default_factory=list)
    unit: str = "ns/packet"

    def json(self) -> dict[str, Any]:
        """min and max are those of ns_per_packet; where `unit` says another one, of `value`."""
        figure: dict[str, Any] = {"bench": self.bench, "devices": self.devices, "rules_per_device": RULES, "family": 6 if self.ipv6 else 4,
                                  "variant": self.variant, "vs_plain": _ratio(self.vs_plain), "vs_nft": _ratio(self.vs_nft),
                                  "ns_per_packet": None, "min": _rounded(min(self.samples)), "max": _rounded(max(self.samples)),
                                  "rounds": len(self.samples)}
        if self.unit == "ns/packet":
            figure["ns_per_packet"] = _rounded(median(self.samples))
        else:
            figure |= {"value": _rounded(median(self.samples)), "unit": self.unit}
        return figure

    def cells(self) -> tuple[str, ...]:
        low, middle, high = (_short(value) for value in (min(self.samples), median(self.samples), max(self.samples)))
        return (self.bench, f"{self.devices}", "IPv6" if self.ipv6 else "IPv4", self.variant, f"{middle} {self.unit}", f"{low}-{high}",
                _span(self.vs_plain), _span(self.vs_nft), f"{len(self.samples)}")

    def line(self) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(self.cells(), WIDTHS)).rstrip()


HEAD = ("bench", "devices", "family", "variant", "median", "min-max", "vs plain", "vs nft", "rounds")
WIDTHS = (13, 7, 6, 14, 17, 15, 19, 22, 6)


def _ratio(ratios: list[float]) -> float | None:
    return float(f"{median(ratios):.4g}") if ratios else None


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _span(ratios: list[float]) -> str:
    return f"{_number(median(ratios))} ({_number(min(ratios))}-{_number(max(ratios))})" if ratios else ""


def table(rows: list[Row]) -> str:
    head = "  ".join(name.ljust(width) for name, width in zip(HEAD, WIDTHS)).rstrip()
    return "\n".join(["", head, "-" * len(head), *(row.line() for row in rows)])
