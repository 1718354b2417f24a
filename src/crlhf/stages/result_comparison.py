"""`crlhf compare`: two result files of one protocol on the same problems, problem by problem."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crlhf.errors import InputError
from crlhf.stages.result_files import Results, read_results
from crlhf.stages.score_table import DEFAULT_K, refusals

if TYPE_CHECKING:
    from crlhf.evaluation.pass_at_k import PassCount
    from crlhf.evaluation.scores import Comparison

_SETTINGS = ("engine", "dtype", "temperature", "top_p", "max_new_tokens")
_LISTED = 40  # problems of a list that are printed
_SIGNIFICANCE = 0.05


def compare_files(first: Path, second: Path, ks: Sequence[int]) -> list[str]:
    """Lines that compare `second` with `first`: each pass@k with paired intervals, McNemar, power, flipped problems.

    Raises:
        InputError: the protocols or the problems differ, or a k was asked for that a file has too few samples for.
        MissingInputError: a file is not there.
    """
    from crlhf.evaluation.scores import Bootstrap, compare, score

    a, b = read_results(first), read_results(second)
    check_comparable(a, b)
    for results in (a, b):
        if refused := refusals(results.counts, ks):
            raise InputError(f"{results.path}: {refused[0]}")
    shared = [k for k in ks or DEFAULT_K if not any(refusals(results.counts, [k]) for results in (a, b))]
    lines = [
        f"A: {_named(a)}",
        f"B: {_named(b)}",
        f"{a.protocol} ({a.protocol_sha256[:12]}), {len(a.counts)} problems; 95 % intervals by bootstrap over problems",
        *_warnings(a, b),
    ]
    bootstrap = Bootstrap()
    for k in shared:
        ends = [score(results.counts, k, bootstrap) for results in (a, b)]
        found = compare(a.counts, b.counts, k, bootstrap)
        sides = "   ".join(
            f"{name} {100 * end.value:.1f} % [{100 * end.low:.1f}, {100 * end.high:.1f}]"
            for name, end in zip("AB", ends, strict=True)
        )
        lines += [f"pass@{k}: {sides}", *_verdict(found, k)]
    return [*lines, *_flipped(a, b)]


def check_comparable(a: Results, b: Results) -> None:
    """Raise InputError unless both files were made under one protocol, on the same problems."""
    if (a.protocol, a.protocol_sha256) != (b.protocol, b.protocol_sha256):
        raise InputError(
            f"{a.path} was made under {a.protocol} ({a.protocol_sha256[:12]}) and {b.path} under {b.protocol} "
            f"({b.protocol_sha256[:12]}); scores of different protocols are not comparable"
        )
    for one, other in ((a, b), (b, a)):
        missing = [problem_id for problem_id in one.counts if problem_id not in other.counts]
        if missing:
            raise InputError(
                f"{other.path} lacks {len(missing)} problems that {one.path} has, the first is {missing[0]}; a paired "
                "comparison needs the same problems in both"
            )


def _named(results: Results) -> str:
    sizes = [count.n for count in results.counts.values()]
    each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"
    policy = results.meta.get("policy", {}).get("name")
    return f"{results.path}{f', {policy}' if policy else ''}, {each} sample{'' if each == '1' else 's'} a problem"


def _warnings(a: Results, b: Results) -> list[str]:
    """What, beside the policy, differs between how the files were made."""
    told = []
    for name in _SETTINGS:
        values = [results.meta.get("sampling", {}).get(name) for results in (a, b)]
        if values[0] != values[1] and None not in values:
            told.append(f"WARNING: {name} differs: A {values[0]}, B {values[1]}")
    return told


def _verdict(found: Comparison, k: int) -> list[str]:
    value, low, high = found.difference
    lines = [f"  B - A {100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]: {_seen(found)}"]
    if k == 1:
        test = (
            f"McNemar, exact: p = {found.mcnemar_p:.3g}"
            if found.mcnemar_p is not None
            else "McNemar's test is for one sample a problem: left out"
        )
        lines.append(f"  {found.n_gained} problems better in B, {found.n_lost} worse; {test}")
    lines.append(
        f"  with this n a difference of {100 * found.minimum_detectable_difference:.1f} points is found four times "
        f"in five, a smaller one less often ({found.assumption})"
    )
    return lines


def _seen(found: Comparison) -> str:
    """What interval and test say together; on few problems the bootstrap's interval is the less careful of the two."""
    _, low, high = found.difference
    if low <= 0 <= high:
        return "no evidence of a difference"
    if found.mcnemar_p is not None and found.mcnemar_p >= _SIGNIFICANCE:
        return "too few problems changed to call it a difference"
    return "a difference"


def _flipped(a: Results, b: Results) -> list[str]:
    """The problems that only one side solved, in any of its samples."""
    lines = []
    for title, side, other in (("solved by B only", b, a), ("solved by A only", a, b)):
        found = [name for name, count in side.counts.items() if count.c and not other.counts[name].c]
        shown = ", ".join(_with_count(name, side.counts[name]) for name in found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        lines.append(f"{title} ({len(found)}): {shown or '-'}{more}")
    return lines


def _with_count(name: str, count: PassCount) -> str:
    return name if count.n == 1 else f"{name} ({count.c} of {count.n})"
