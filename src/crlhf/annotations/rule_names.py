"""The names of the rules and the words that the raw table may use."""

from __future__ import annotations

from crlhf.schema import ANNOTATIONS

VERDICTS = ("wrong", "ok")
COUNTED = ("submitted", "unknown")
STATUSES = (*COUNTED, "skipped", "rejected", "draft", "superseded")

RULES: dict[str, str] = {
    "values_present": "every column has a value",
    "annotator_named": "annotator_id is not empty",
    "completion_known": "completion_id is one of the items",
    "problem_matches": "problem_id is the problem of the completion",
    "code_matches": "code_sha256 is the SHA-256 of the completion's code",
    "honeypot_flag_matches": "is_honeypot agrees with the item",
    "line_exists": "line_no is a line of the completion",
    "line_judgeable": "line_no is neither blank, nor a comment, nor documentation",
    "verdict_known": "verdict is wrong or ok",
    "status_known": f"status is one of {', '.join(STATUSES)}",
    "times_valid": "started_at is empty or in ISO 8601; so is submitted_at, which a counted row must have",
    "duration_valid": "duration_s is finite and not negative",
    "row_not_repeated": "no earlier row says the same, the delivery aside",
    "one_verdict_per_line": "one annotator, completion, line and time of submission has one row",
    "answer_complete": "a counted answer covers every judgeable line of its completion",
}
"""The rules by name, each with what a row must keep to."""

CONTENT = tuple(name for name in ANNOTATIONS.column_names if name not in ("batch_id", "source_file", "source_row"))
"""The columns that make two rows the same row: delivered twice, it comes with another batch, file or row."""

LINE = ["annotator_id", "completion_id", "line_no"]
"""The columns that say which verdict a row is."""
