"""Lines on logarithmic axes as SVG, legible on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

Points = Sequence[tuple[float, float]]

COLOURS = {  # on light, on dark
    "chainrule": ("#cf222e", "#ff7b72"),
    "PyTorch": ("#bc4c00", "#f0883e"),
    "autograd": ("#6e7781", "#9198a1"),
    "NumPy": ("#1a7f37", "#56d364"),
    "jax.jit": ("#0969da", "#79c0ff"),
}
DASHES = {"PyTorch": "7 3", "autograd": "2 3", "NumPy": "10 3 2 3", "jax.jit": "4 2"}  # to tell apart without colours
WIDTH, HEIGHT = 340, 230  # of a panel
LEFT, TOP, BETWEEN = 64, 74, 84
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plot(title: str, axis: str, panels: Sequence[tuple[str, Mapping[str, Points]]]) -> str:
    """A picture with panels side by side; each has a name for its vertical axis, and lines by name."""
    names = [name for name in COLOURS if any(name in lines for _, lines in panels)]
    width = LEFT + len(panels) * (WIDTH + BETWEEN) - BETWEEN + 20
    height = TOP + HEIGHT + 48
    body = [f'<rect class="paper" width="{width}" height="{height}" rx="6"/>', text(LEFT, 26, title, "head")]
    x = LEFT
    for name in names:
        body.append(f'<path class="line {css(name)}" d="M{x} 48h26"/>')
        body.append(text(x + 32, 52, name))
        x += 52 + 8 * len(name)
    for i, (unit, lines) in enumerate(panels):
        body += panel(LEFT + i * (WIDTH + BETWEEN), unit, axis, lines)
    inner = "\n  ".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n  <title>{escape(title)}</title>\n  <style>{style(names)}</style>\n  {inner}\n</svg>\n'
    )


def panel(left: float, unit: str, axis: str, lines: Mapping[str, Points]) -> list[str]:
    """Axes with a tick at each power of ten, and the lines."""
    points = [point for each in lines.values() for point in each]
    if not points:
        return [text(left + WIDTH / 2, TOP + HEIGHT / 2, f"{unit}: not measured", "mid")]
    (x0, x1), (y0, y1) = (decades([point[i] for point in points]) for i in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (log10(x) - x0) / (x1 - x0), (log10(y) - y0) / (y1 - y0)
        return left + across * WIDTH, TOP + (1 - up) * HEIGHT

    parts = []
    for power in range(ceil(y0), floor(y1) + 1):
        _, y = place(10**x0, 10.0**power)
        parts += [f'<path class="grid" d="M{left} {y:.1f}h{WIDTH}"/>', text(left - 8, y + 4, ten_to(power), "end")]
    for power in range(ceil(x0), floor(x1) + 1):
        x, _ = place(10.0**power, 10**y0)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}v{HEIGHT}"/>')
        parts.append(text(x, TOP + HEIGHT + 18, ten_to(power), "mid"))
    parts.append(text(left + WIDTH / 2, TOP + HEIGHT + 38, axis, "mid note"))
    parts.append(text(left, TOP - 6, unit, "note"))
    for name, each in lines.items():
        if each:
            path = "L".join("{:.1f} {:.1f}".format(*place(*point)) for point in each)
            parts.append(f'<path class="line {css(name)}" d="M{path}"/>')
            for point in each:
                x, y = place(*point)
                parts.append(f'<circle class="dot {css(name)}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
    return parts


def decades(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis, as powers of ten, with a little room, and one power in it at least."""
    low, high = log10(min(values)) - 0.08, log10(max(values)) + 0.08
    return (low, high) if floor(high) >= ceil(low) else (floor(low), ceil(high))


def ten_to(power: int) -> str:
    return {0: "1", 1: "10"}.get(power, f"10{str(power).translate(RAISED)}")


def css(name: str) -> str:
    return name.replace(".", "-").lower()


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def style(names: Sequence[str]) -> str:
    def colours(i: int) -> str:
        return " ".join(
            f".{css(name)} {{ stroke: {COLOURS[name][i]}; }} .dot.{css(name)} {{ fill: {COLOURS[name][i]}; }}"
            for name in names
        )

    dashes = " ".join(f".line.{css(name)} {{ stroke-dasharray: {DASHES[name]}; }}" for name in names if name in DASHES)
    return f"""
    .paper {{ fill: #ffffff; }}
    text {{ font: 12.5px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }}
    .head {{ font-size: 15px; font-weight: 600; }} .note {{ fill: #59636e; }}
    .mid {{ text-anchor: middle; }} .end {{ text-anchor: end; }}
    .grid {{ stroke: #d1d9e0; stroke-width: 1; }}
    .line {{ fill: none; stroke-width: 2; }} .line.chainrule {{ stroke-width: 3; }} .dot {{ stroke: none; }}
    {colours(0)} {dashes}
    @media (prefers-color-scheme: dark) {{
      .paper {{ fill: #0d1117; }} text {{ fill: #e6edf3; }} .note {{ fill: #9198a1; }} .grid {{ stroke: #30363d; }}
      {colours(1)}
    }}
  """
