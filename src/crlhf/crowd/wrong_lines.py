"""Which lines of a program are wrong, as a careful reviewer would mark them: the truth a simulated crowd judges by.

The first rule that applies decides, and is named with its lines:

1. `tests_pass`: every test passed; no line is wrong.
2. `syntax`: the program does not compile; the line at which that shows.
3. `traceback`: an exception came from a line of the program, or from what it fails to define; that line.
4. `alignment`: the lines that differ from the closest program that passes.
5. `whole`: nothing to compare with. Of a program cut at the token limit the last line; else every line.

Only the first is certain. Rules 3 to 5 are a heuristic whose error `label_noise` measures.

Departs from the paper: its annotators are people; truth of this kind serves the simulated crowd only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crlhf.crowd.alignment import align_with_closest
from crlhf.languages import Language
from crlhf.schema import Verdict


class WrongLines(NamedTuple):
    """The wrong lines of a program, ascending, and the rule that found them."""

    line_nos: tuple[int, ...]
    method: str


def find_wrong_lines(
    code: str, verdict: Verdict, finish_reason: str, others: Sequence[str], entry_point: str, language: Language
) -> WrongLines:
    """The judgeable lines of `code` that are wrong, by the rules of this module.

    Args:
        code: the program. `verdict.line_no` counts its lines.
        verdict: what running it showed.
        finish_reason: `length` when it was cut at the token limit.
        others: programs for the same problem that pass.
        entry_point: the name that the tests call.
        language: of all these programs.

    Returns:
        At least one line when the verdict is not `pass`; no line when the program has no judgeable line.
    """
    judgeable = language.judgeable_lines(code)
    if verdict.verdict == "pass" or not judgeable:
        return WrongLines((), "tests_pass")
    broken = language.broken_lines(code, verdict, entry_point)
    if broken is not None:
        return WrongLines(*broken)
    alignment = align_with_closest(code, others, entry_point, language)
    if alignment is not None:
        return WrongLines(alignment.line_nos, "alignment")
    return WrongLines(tuple(judgeable[-1:] if finish_reason == "length" else judgeable), "whole")
