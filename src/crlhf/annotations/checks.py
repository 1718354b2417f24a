"""The checks over the raw table, declared without running anything: an orchestrator can list them by name."""

from __future__ import annotations

from typing import NamedTuple

from crlhf.annotations.rule_names import RULES


class CheckSpec(NamedTuple):
    """A check before it is run: `severity` is error or warning, `table` what its expectations look at."""

    name: str
    description: str
    severity: str
    table: str = "annotations"


EXPECTATION_CHECKS: tuple[CheckSpec, ...] = (
    CheckSpec("columns_present", "the raw table has every declared column", "error", "columns"),
    CheckSpec("column_types", "every column has its declared type", "error", "columns"),
    CheckSpec("has_rows", "the raw table has at least one row", "error"),
    *(CheckSpec(name, description, "error") for name, description in RULES.items()),
    CheckSpec("verdicts_remain", "at least one annotator has a verdict that counts", "error", "annotators"),
    CheckSpec("status_given", "status is not unknown; rows of unknown status count as submitted", "warning"),
    CheckSpec("duration_plausible", "duration_s is within the bounds of the params", "warning"),
    CheckSpec(
        "honeypot_coverage", "every annotator answered as many honeypots as the params ask", "warning", "annotators"
    ),
)
"""All checks, in the order in which `validate` returns them; declared here so that nobody needs to run them to know."""

COMPUTED_RULES = (
    "values_present",
    "line_judgeable",
    "times_valid",
    "duration_valid",
    "row_not_repeated",
    "one_verdict_per_line",
    "answer_complete",
)
"""Rules that no plain expectation can state: they are asserted over columns `keeps_<rule>` that `rules` computed."""
