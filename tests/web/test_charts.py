"""Small charts: what is drawn is what is said."""

import re

from crlhf.web.charts import moving_intervals, range_bar
from crlhf.web.sources import Rate, Step

STEPS = [
    Step(1, Rate(0.5, 0.25, 0.75), Rate(0.75, 0.5, 1.0)),
    Step(2, Rate(0.75, 0.5, 1.0), Rate(1.0, 0.75, 1.0)),
]


def test_a_range_is_drawn_between_its_bounds_and_told_in_words():
    svg = range_bar(Rate(0.75, 0.5, 1.0), "sensitivity")
    assert 'aria-label="sensitivity 0.75, 95 % interval 0.50 to 1.00"' in svg
    assert '<line class="interval" x1="52.0" x2="102.0"' in svg  # 0 is at 2, 1 at 102
    assert 'cx="77.0"' in svg


def test_one_step_is_no_course():
    assert moving_intervals(STEPS[:1]) == ""


def test_each_rate_moves_in_its_own_panel():
    svg = moving_intervals(STEPS)
    assert re.findall(r'class="name"[^>]*>(\w+)<', svg) == ["Sensitivity", "Specificity"]
    # the panel is 136 high below 28: 0.5 is at 96, 0.75 at 62, 1 at 28; steps are at 34 and 396
    assert 'class="course" points="34.0,96.0 396.0,62.0"' in svg
    assert 'class="course" points="34.0,62.0 396.0,28.0"' in svg
    assert 'class="band" points="34.0,62.0 396.0,28.0 396.0,96.0 34.0,130.0"' in svg
    assert "sensitivity 0.50 to 1.00, specificity 0.75 to 1.00" in svg
