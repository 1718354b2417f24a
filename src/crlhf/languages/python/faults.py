"""Single-fault injection: a Python program with one line spoilt in one of the ways in which programmers spoil lines.

Places for a fault are found in the syntax tree; the fault itself is made in the text of one line, so formatting,
comments and the number of lines stay, and the spoilt program parses. Whether a fault can be *noticed* is not decided
here: a changed comparison may never matter. `honeypots` runs the program and keeps what provably fails a test.

The kinds follow mutation operators of Offutt et al. (doi:10.1145/227607.227610: arithmetic, relational and logical
operator, constant and scalar-variable replacement, statement faults), and mistakes seen in generated Python: a bound
one off, a return inside the loop, a sort the wrong way round, a forgotten accumulation.

Departs from the paper: it tells of completions with known errors, not how they are made.
"""

from __future__ import annotations

import ast
import warnings
from functools import lru_cache

from crlhf.languages.language import Fault
from crlhf.languages.python.lines import judgeable_lines
from crlhf.languages.python.name_faults import name_edits
from crlhf.languages.python.operator_faults import operator_edits
from crlhf.languages.python.source import Source, parse
from crlhf.languages.python.statement_faults import statement_edits

FAULT_KINDS: tuple[str, ...] = (
    "added_not",
    "arithmetic_operator",
    "boolean_operator",
    "boundary_comparison",
    "comparison_operator",
    "dropped_call",
    "dropped_condition",
    "dropped_minus",
    "dropped_not",
    "indentation",
    "index_shift",
    "loop_control",
    "membership",
    "missing_accumulation",
    "missing_return",
    "range_bound",
    "slice_bound",
    "sort_order",
    "swapped_arguments",
    "swapped_operands",
    "wrong_branch",
    "wrong_call",
    "wrong_constant",
    "wrong_return",
    "wrong_variable",
)


def possible_faults(program: str) -> list[Fault]:
    """Every single fault that this module can make in `program`, in the order of the text, each code once.

    Each parses, compiles, has another syntax tree than `program`, and differs from it in one judgeable line. A
    program that does not parse has none.
    """
    return list(_possible_faults(program))


@lru_cache(maxsize=1024)
def _possible_faults(program: str) -> tuple[Fault, ...]:
    """Kept, since honeypots and the measurement of label noise ask for the faults of the same programs."""
    source = Source.of(program)
    if source is None:
        return ()
    judgeable = judgeable_lines(program)
    own_tree = ast.dump(source.tree)
    faults: dict[str, Fault] = {}
    for node, function in source.visits():
        edits = operator_edits(source, node) + name_edits(source, node, function) + statement_edits(source, node)
        for edit in edits:
            if edit.line_no not in judgeable or "\n" in edit.text:
                continue
            code = source.apply(edit)
            if code not in faults and code != program and _is_another_program(code, own_tree, judgeable):
                faults[code] = Fault(code, edit.line_no, edit.kind)
    return tuple(sorted(faults.values(), key=lambda fault: fault.line_no))


def _is_another_program(code: str, own_tree: str, judgeable: list[int]) -> bool:
    """True when `code` compiles, does not have the syntax tree `own_tree`, and is judged on the same lines."""
    tree = parse(code)
    if tree is None or ast.dump(tree) == own_tree:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(tree, "<program>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            return False
    return judgeable_lines(code) == judgeable
