"""Which lines of a program are wrong, as a careful reviewer would mark them: the truth a simulated crowd judges by.

The first rule that applies decides, and is named with its lines:

1. `tests_pass`: every test passed; no line is wrong.
2. `syntax`: the program does not compile; the line the compiler names. Where code is missing rather than wrong, the
   line after which it is missing: the last one of a program that breaks off, the header of a block without a body.
3. `traceback`: an exception came from a line of the program; that line. Also when the tests do not find the function
   they call: the headers of the functions that stand in its place.
4. `alignment`: the lines that differ from the closest program that passes.
5. `whole`: nothing to compare with. Of a program cut at the token limit the last line; else every line.

Only the first is certain. Rules 3 to 5 are a heuristic whose error `label_noise` measures.

Departs from the paper: its annotators are people; truth of this kind serves the simulated crowd only.
"""

from __future__ import annotations

import ast
import codeop
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from crlhf.crowd.alignment import align_with_closest
from crlhf.crowd.source import parse
from crlhf.lines import judgeable_lines, split_lines
from crlhf.schema import Verdict


class WrongLines(NamedTuple):
    """The wrong lines of a program, ascending, and the rule that found them."""

    line_nos: tuple[int, ...]
    method: str


def find_wrong_lines(
    code: str, verdict: Verdict, finish_reason: str, others: Sequence[str], entry_point: str
) -> WrongLines:
    """The judgeable lines of `code` that are wrong, by the rules of this module.

    Args:
        code: the program. `verdict.line_no` counts its lines.
        verdict: what running it showed.
        finish_reason: `length` when it was cut at the token limit.
        others: programs for the same problem that pass.
        entry_point: the name that the tests call.

    Returns:
        At least one line when the verdict is not `pass`; no line when the program has no judgeable line.
    """
    judgeable = judgeable_lines(code)
    if verdict.verdict == "pass" or not judgeable:
        return WrongLines((), "tests_pass")
    line_no = _syntax_error_line(code)
    if line_no is not None:
        return WrongLines((_nearest(judgeable, line_no),), "syntax")
    raised = _raising_lines(code, verdict, entry_point, judgeable)
    if raised:
        return WrongLines(raised, "traceback")
    alignment = align_with_closest(code, others, entry_point)
    if alignment is not None:
        return WrongLines(alignment.line_nos, "alignment")
    return WrongLines(tuple(judgeable[-1:] if finish_reason == "length" else judgeable), "whole")


def _nearest(judgeable: list[int], line_no: int) -> int:
    """The judgeable line at `line_no`, else the last before it, else the first."""
    return max((no for no in judgeable if no <= line_no), default=judgeable[0])


def _syntax_error_line(code: str) -> int | None:
    """The line that keeps `code` from compiling, or None when it compiles."""
    last = len(split_lines(code))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(code, "<program>", "exec", dont_inherit=True)
        except SyntaxError as error:
            # "expected an indented block after 'for' statement on line 3": the code is missing from line 3 on.
            header = re.search(r"on line (\d+)", error.msg or "")
            if _breaks_off(code):
                return last
            return int(header[1]) if header else min(error.lineno or last, last)
        except ValueError:  # a null byte
            return code[: code.find("\0") + 1].count("\n") + 1
        except (RecursionError, MemoryError, OverflowError):
            return None
    return None


def _breaks_off(code: str) -> bool:
    """True when `code` could be the beginning of a program."""
    try:
        return codeop.compile_command(code, "<program>", "exec") is None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return False


def _raising_lines(code: str, verdict: Verdict, entry_point: str, judgeable: list[int]) -> tuple[int, ...]:
    """The line an exception came from, or the headers of functions when the entry point is missing; else none."""
    if verdict.verdict != "error":
        return ()
    if verdict.line_no is not None and 1 <= verdict.line_no <= len(split_lines(code)):
        return (_nearest(judgeable, verdict.line_no),)
    tree = parse(code) or ast.Module([], [])
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.asname or node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}
    if not entry_point or entry_point in bound | {node.name for node in defined}:
        return ()
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    standing_in = [node for node in defined if node.name not in used] or defined
    return tuple(sorted({_nearest(judgeable, node.lineno) for node in standing_in}))
