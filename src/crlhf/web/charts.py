"""Small charts as SVG: intervals, and how they moved. Shapes carry classes; their colours are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from crlhf.web.sources import Rate, Step

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 220, 36, 24, 8


def range_bar(rate: Rate, name: str) -> Markup:
    """A rate as a dot on its interval, on an axis from 0 to 1."""
    label = f"{name} {rate.value:.2f}, 95 % interval {rate.low:.2f} to {rate.high:.2f}"
    return Markup(
        '<svg class="range" viewBox="0 0 104 12" role="img" aria-label="{}">'
        '<line class="axis" x1="2" x2="102" y1="6" y2="6"/><line class="chance" x1="52" x2="52" y1="2" y2="10"/>'
        '<line class="interval" x1="{:.1f}" x2="{:.1f}" y1="6" y2="6"/><circle class="value" cx="{:.1f}" cy="6" r="3"/>'
        "</svg>"
    ).format(label, 2 + 100 * rate.low, 2 + 100 * rate.high, 2 + 100 * rate.value)


def moving_intervals(steps: Sequence[Step]) -> Markup:
    """Sensitivity and specificity with their intervals after each honeypot; empty for fewer than two steps."""
    if len(steps) < 2:
        return Markup("")
    last = steps[-1]
    label = (
        f"After {last.n_honeypots} honeypots: sensitivity {last.sensitivity.low:.2f} to {last.sensitivity.high:.2f}, "
        f"specificity {last.specificity.low:.2f} to {last.specificity.high:.2f}"
    )
    parts = [
        Markup('<svg class="moving" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, label)
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text x="{}" y="{}">{:.2f}</text>').format(
                _LEFT, _WIDTH - 4, 0, _y(tick) + 4, tick, y=_y(tick)
            )
        )
    for n in {1, len(steps) // 2, len(steps)} - {0}:
        parts.append(Markup('<text x="{:.1f}" y="{}">{}</text>').format(_x(n, len(steps)) - 4, _HEIGHT - 6, n))
    for name in ("specificity", "sensitivity"):
        rates: list[Rate] = [getattr(step, name) for step in steps]
        parts.append(_band(name, rates))
    return Markup("").join([*parts, Markup("</svg>")])


def _band(name: str, rates: list[Rate]) -> Markup:
    n = len(rates)
    upper = [f"{_x(i, n):.1f},{_y(rate.high):.1f}" for i, rate in enumerate(rates, 1)]
    lower = [f"{_x(i, n):.1f},{_y(rate.low):.1f}" for i, rate in enumerate(rates, 1)]
    middle = [f"{_x(i, n):.1f},{_y(rate.value):.1f}" for i, rate in enumerate(rates, 1)]
    return Markup('<polygon class="band {0}" points="{1}"/><polyline class="line {0}" points="{2}"/>').format(
        name, " ".join(upper + lower[::-1]), " ".join(middle)
    )


def _x(step: int, n: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - 8) * (step - 1) / max(1, n - 1)


def _y(rate: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - rate)
