"""What became of a sample, in the words of a failure breakdown; finer than the verdict, and summing to all samples."""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from collections.abc import Iterable

OUTCOMES: dict[str, str] = {
    "pass": "passed",
    "no_code": "no code found",
    "truncated": "truncated",
    "syntax_error": "syntax error",
    "wrong_answer": "wrong answer",
    "exception": "exception",
    "timeout": "time-out",
}
"""Every outcome with its name in reports, in the order in which they are told."""


def outcome_of(verdict: str, reason: str, completion: str, *, is_truncated: bool) -> str:
    """The outcome of one sample: a key of `OUTCOMES`.

    Of a sample that did not pass, the first of these that holds: the completion holds no code; it was cut at the token
    limit (whatever the cut program then did); and else what the run showed.

    Args:
        verdict: pass | fail | timeout | error.
        reason: of the verdict.
        completion: what the policy wrote, cut at the stop strings, without the prompt.
        is_truncated: True: it was cut at the token limit.
    """
    if verdict == "pass":
        return "pass"
    if not has_code(completion):
        return "no_code"
    if is_truncated:
        return "truncated"
    if verdict == "error":
        return "syntax_error" if reason == "syntax error" else "exception"
    return {"fail": "wrong_answer", "timeout": "timeout"}[verdict]


def has_code(text: str) -> bool:
    """Whether `text` holds a statement that does something: not only blanks, comments, strings or bare names.

    What cannot be parsed counts as code when a line of it is neither blank, a comment nor a fence.
    """
    try:
        body = ast.parse(textwrap.dedent(text)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return any(line.strip() and not line.lstrip().startswith(("#", "```")) for line in text.split("\n"))
    return not all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Name) for node in body)


def breakdown(outcomes: Iterable[str]) -> dict[str, int]:
    """How many samples came to each outcome; every outcome is listed, in the order of `OUTCOMES`."""
    counts = Counter(outcomes)
    return {name: counts[name] for name in OUTCOMES}


def told(counts: dict[str, int]) -> str:
    """A breakdown as a text: `passed 12, wrong answer 3`; what did not occur is left out."""
    return ", ".join(f"{name} {counts[key]}" for key, name in OUTCOMES.items() if counts.get(key)) or "no samples"
