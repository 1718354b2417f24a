"""Small charts as SVG: intervals, and how they moved. Shapes carry classes; their colours are the style sheet's."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from crlhf.web.sources import Rate, Step

_PANEL, _GAP, _HEIGHT, _LEFT, _BOTTOM, _TOP = 400, 56, 190, 34, 26, 28


def range_bar(rate: Rate, name: str) -> Markup:
    """A rate as a dot on its interval, on an axis from 0 to 1."""
    label = f"{name} {rate.value:.2f}, 95 % interval {rate.low:.2f} to {rate.high:.2f}"
    return Markup(
        '<svg class="range" viewBox="0 0 104 12" role="img" aria-label="{}">'
        '<line class="axis" x1="2" x2="102" y1="6" y2="6"/><line class="chance" x1="52" x2="52" y1="2" y2="10"/>'
        '<line class="interval" x1="{:.1f}" x2="{:.1f}" y1="6" y2="6"/>'
        '<circle class="value" cx="{:.1f}" cy="6" r="3.5"/></svg>'
    ).format(label, 2 + 100 * rate.low, 2 + 100 * rate.high, 2 + 100 * rate.value)


def moving_intervals(steps: Sequence[Step]) -> Markup:
    """Sensitivity and specificity, side by side, with their intervals after each honeypot; empty for fewer than two."""
    if len(steps) < 2:
        return Markup("")
    last = steps[-1]
    label = (
        f"After {last.n_honeypots} honeypots: sensitivity {last.sensitivity.low:.2f} to {last.sensitivity.high:.2f}, "
        f"specificity {last.specificity.low:.2f} to {last.specificity.high:.2f}"
    )
    head = Markup('<svg class="moving" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    parts = [head.format(2 * _PANEL + _GAP, _HEIGHT, label)]
    for number, name in enumerate(("sensitivity", "specificity")):
        rates: list[Rate] = [getattr(step, name) for step in steps]
        parts.append(Markup('<g transform="translate({})">').format(number * (_PANEL + _GAP)))
        parts += [_axes(name, len(steps)), _course(rates), Markup("</g>")]
    return Markup("").join([*parts, Markup("</svg>")])


def _axes(name: str, n: int) -> Markup:
    parts = [Markup('<text class="name" x="{}" y="14">{}</text>').format(_LEFT, name.capitalize())]
    for tick in (0.0, 0.5, 1.0):
        css = "half" if tick == 0.5 else "axis"
        line = Markup('<line class="{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text x="0" y="{}">{:.1f}</text>')
        parts.append(line.format(css, _LEFT, _PANEL, _y(tick) + 4, tick, y=_y(tick)))
    for step in sorted({1, n}):
        anchor = "start" if step == 1 else "end"
        text = "1 honeypot" if step == 1 else n
        place = Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>')
        parts.append(place.format(_x(step, n), _HEIGHT - 6, anchor, text))
    return Markup("").join(parts)


def _course(rates: list[Rate]) -> Markup:
    n = len(rates)
    upper = [f"{_x(i, n):.1f},{_y(rate.high):.1f}" for i, rate in enumerate(rates, 1)]
    lower = [f"{_x(i, n):.1f},{_y(rate.low):.1f}" for i, rate in enumerate(rates, 1)]
    middle = [f"{_x(i, n):.1f},{_y(rate.value):.1f}" for i, rate in enumerate(rates, 1)]
    drawn = Markup(
        '<polygon class="band" points="{}"/><polyline class="course" points="{}"/>'
        '<circle class="now" cx="{:.1f}" cy="{:.1f}" r="3.5"/>'
    )
    return drawn.format(" ".join(upper + lower[::-1]), " ".join(middle), _x(n, n), _y(rates[-1].value))


def _x(step: int, n: int) -> float:
    return _LEFT + (_PANEL - _LEFT - 4) * (step - 1) / max(1, n - 1)


def _y(rate: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - rate)
