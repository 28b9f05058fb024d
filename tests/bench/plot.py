"""The figures as an SVG: packets by CPU second against devices, and how long replacing the policy takes."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, log10
from statistics import median
from xml.sax.saxutils import escape

from results import Row

WIDTH, HEIGHT, LEFT, TOP = 400, 260, 60, 40
COLOURS = {"plain": "#888888", "hooks": "#b8a04a", "penstock": "#0b6e4f", "penstock_xdp": "#2f8f6f", "nft": "#c1440e", "nft_flowtable": "#e08e5a", "iptables": "#7a3b8f",
           "xdp_drop": "#888888", "nft_netdev": "#c1440e", "penstock_own": "#5bb98c", "nft_own": "#e9a17c"}
PANELS: list[tuple[str, str, Callable[[Row], float]]] = [
    ("forward", "forward: million packets a CPU second", lambda row: 1e3 / median(row.samples)),
    ("new_flow", "new_flow: million packets a CPU second", lambda row: 1e3 / median(row.samples)),
    ("unknown_flood", "unknown_flood: million drops a CPU second", lambda row: 1e3 / median(row.samples)),
    ("replace", "replace: milliseconds", lambda row: median(row.samples))]


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = "#222222", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(points: list[tuple[float, float]], colour: str, dashed: bool) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>', *dots]


def _panel(title: str, rows: list[Row], value: Callable[[Row], float], logarithmic: bool) -> list[str]:
    """One diagram: devices to the right (logarithmic), the figure upwards, IPv6 dashed."""
    sizes = sorted({row.devices for row in rows})
    first, last = log10(sizes[0]), log10(sizes[-1])
    values = [value(row) for row in rows]
    low, high = (log10(min(values)), log10(max(values))) if logarithmic else (0.0, max(values) * 1.05)

    def x(devices: int) -> float:
        return LEFT + (WIDTH - LEFT - 90) * ((log10(devices) - first) / (last - first) if last > first else 0.5)

    def y(figure: float) -> float:
        at = log10(figure) if logarithmic else figure
        return HEIGHT - 40 - (HEIGHT - 40 - TOP) * ((at - low) / (high - low) if high > low else 0.5)

    out = [_text(LEFT, TOP - 18, title, size=13)]
    ticks = [10.0 ** power for power in range(floor(low), floor(high) + 1) if power >= low] if logarithmic \
        else [high * part / 4 for part in range(5)]
    for tick in ticks:
        out += [f'<line x1="{LEFT}" x2="{WIDTH - 90}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#dddddd"/>',
                _text(LEFT - 6, y(tick) + 4, f"{tick:.3g}", "end")]
    out += [_text(x(size), HEIGHT - 22, f"{size:,}", "middle") for size in sizes]
    out.append(_text((LEFT + WIDTH - 90) / 2, HEIGHT - 6, "devices, ten rules each", "middle"))
    labels: list[float] = []
    for variant in dict.fromkeys(row.variant for row in rows):
        for ipv6 in (False, True):
            some = sorted((row for row in rows if row.variant == variant and row.ipv6 == ipv6), key=lambda row: row.devices)
            if some:
                out += _line([(x(row.devices), y(value(row))) for row in some], COLOURS.get(variant, "#333333"), ipv6)
        ends = [row for row in rows if row.variant == variant]
        place = y(value(max(ends, key=lambda row: row.devices)))
        while any(abs(place - other) < 12 for other in labels):
            place += 3
        labels.append(place)
        out.append(_text(WIDTH - 84, place + 4, variant, colour=COLOURS.get(variant, "#333333")))
    return out


def draw(rows: list[Row]) -> str:
    out = []
    shown = [panel for panel in PANELS if any(row.bench == panel[0] for row in rows)]
    for number, (bench, title, value) in enumerate(shown):
        some = [row for row in rows if row.bench == bench and not (bench == "forward" and row.variant == "xdp_drop")]
        out += [f'<g transform="translate({number % 2 * WIDTH},{number // 2 * HEIGHT})">', *_panel(title, some, value, bench == "replace"), "</g>"]
    height = max(1, (len(shown) + 1) // 2) * HEIGHT + 24
    note = _text(LEFT, height - 8, "solid: IPv4, dashed: IPv6; medians of interleaved rounds")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {height}" font-family="sans-serif">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join([*out, note]) + "\n</svg>\n")
