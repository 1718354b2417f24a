"""Lines of a Python program that the compiler or an exception points at.

- `syntax`: the program does not compile; the line the compiler names. Where code is missing rather than wrong, the
  line after which it is missing: the last one of a program that breaks off, the header of a block without a body.
- `traceback`: an exception came from a line of the program; that line. Also when the tests do not find the function
  they call: the headers of the functions that stand in its place.
"""

from __future__ import annotations

import ast
import codeop
import re
import warnings

from crlhf.languages.language import BrokenLines
from crlhf.languages.python.lines import judgeable_lines
from crlhf.languages.python.source import parse
from crlhf.lines import split_lines
from crlhf.schema import Verdict


def broken_lines(code: str, verdict: Verdict, entry_point: str) -> BrokenLines | None:
    """The judgeable lines of `code` that are shown to be wrong by the rules of this module, or None."""
    judgeable = judgeable_lines(code)
    line_no = _syntax_error_line(code)
    if line_no is not None:
        return BrokenLines((_nearest(judgeable, line_no),), "syntax")
    raised = _raising_lines(code, verdict, entry_point, judgeable)
    return BrokenLines(raised, "traceback") if raised else None


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
