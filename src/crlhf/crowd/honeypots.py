"""Honeypots: programs whose wrong lines are known, mixed in with the completions to measure annotators.

A honeypot is a training problem's reference solution, or a completion that passed every test, either as it is or with
one injected fault. A fault counts only when running the program proves it: a test fails, or an exception is raised. A
timeout proves nothing (a loaded machine times out as well), so such a fault is thrown away, and the honeypots made do
not depend on the machine's load.

No code is shown twice. A correct honeypot from a completion would be that very completion again, and its annotators
would meet the same program under two ids; so its local variables are renamed and the tests run once more.

Ids are the first 16 hex digits of a SHA-256 over seed, problem and code, as ids of completions are digits of a hash:
neither id nor order tells what an item is.

Departs from the paper: Figure 3 asks for completions of known truth, some wrong and some right; how they are made is
this project's choice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crlhf.crowd.faults import inject_faults
from crlhf.crowd.items import item_row, items_frame
from crlhf.languages import Language, get_language
from crlhf.lines import sha256_text
from crlhf.params import HoneypotsParams
from crlhf.schema import LINE_TRUTHS, Program, Verdict, program_of

Run = Callable[[list[Program]], list[Verdict]]
_MAX_FAULTS_PER_PROGRAM = 24
_PROOFS = ("fail", "error")


class HoneypotsMade(NamedTuple):
    """Honeypots as ITEMS and LINE_TRUTHS. `n_tried` programs were run; `notes` say what is short and why."""

    items: pd.DataFrame
    line_truths: pd.DataFrame
    n_wanted: int
    n_made: int
    n_tried: int
    notes: tuple[str, ...]


class _Candidate(NamedTuple):
    """A program that may become a honeypot; `line_no` is its wrong line, None for a correct one."""

    problem_id: str
    language: Language
    code: str
    origin: str
    line_no: int | None
    kind: str


Group = tuple[bool, str]  # (has a fault, origin)


def make_honeypots(
    problems: pd.DataFrame,
    completions: pd.DataFrame,
    verdicts: Sequence[Verdict],
    run: Run,
    params: HoneypotsParams,
    seed: int,
) -> HoneypotsMade:
    """Make up to `params.n` honeypots, spread over problems and kinds of faults.

    Where passing completions are too few for `share_from_completions`, references fill in, and the other way round.
    Problems whose prompt is a header are left out: their completions are not whole programs.

    Args:
        problems: training problems under PROBLEMS.
        completions: COMPLETIONS of those problems.
        verdicts: of the completions, matched by `program_id` == `completion_id`.
        run: runs programs against tests.
        params: how many, and from what.
        seed: of every draw. The same arguments and verdicts give the same honeypots.
    """
    rows = {str(row["problem_id"]): dict(row) for _, row in problems.iterrows() if row["kind"] == "description"}
    runner = _Runner(rows, run)
    references = runner.passing([_correct(row, row["reference"], "reference") for row in rows.values()])
    passed = {verdict.program_id for verdict in verdicts if verdict.verdict == "pass"}
    own = zip(completions["completion_id"], completions["problem_id"], completions["code"], strict=True)
    written = [_correct(rows[pid], code, "completion") for cid, pid, code in own if cid in passed and pid in rows]
    draft = _Draft(_pools(references, _distinct(written), seed), list(rows), set(completions["code"]), seed)
    made = _fill(draft, _wanted(params), runner)
    notes = _notes(made, params, len(rows) - len(references))
    return HoneypotsMade(*_tables(made, seed), params.n, len(made), runner.n_run, notes)


def _correct(problem: dict[str, Any], code: str, origin: str) -> _Candidate:
    return _Candidate(str(problem["problem_id"]), get_language(problem["language"]), code, origin, None, "none")


def _distinct(candidates: list[_Candidate]) -> list[_Candidate]:
    """Candidates with a judgeable line, each code once."""
    return list({one.code: one for one in candidates if one.language.judgeable_lines(one.code)}.values())


def _pools(references: list[_Candidate], written: list[_Candidate], seed: int) -> dict[Group, list[_Candidate]]:
    """What honeypots of each group can be tried, in a random order that depends on each program alone."""
    pools: dict[Group, list[_Candidate]] = {
        (False, "reference"): list(references),
        (False, "completion"): [],
        (True, "reference"): [],
        (True, "completion"): [],
    }
    for base in [*references, *written]:
        rng = np.random.default_rng([seed, int(sha256_text(base.problem_id + "\n" + base.code)[:16], 16)])
        for fault in inject_faults(base.code, rng, _MAX_FAULTS_PER_PROGRAM, base.language):
            pools[True, base.origin].append(base._replace(code=fault.code, line_no=fault.line_no, kind=fault.kind))
        code = base.language.renamed(base.code, rng)
        if code is not None and base.origin == "completion":
            pools[False, base.origin].append(base._replace(code=code))
    return pools


def _wanted(params: HoneypotsParams) -> dict[Group, int]:
    """How many honeypots each group should give."""
    n_correct = int(params.n * params.share_correct + 0.5)
    wanted: dict[Group, int] = {}
    for has_fault, n in ((True, params.n - n_correct), (False, n_correct)):
        n_written = int(n * params.share_from_completions + 0.5)
        wanted[has_fault, "completion"] = n_written
        wanted[has_fault, "reference"] = n - n_written
    return wanted


class _Runner:
    """Runs candidates against the tests of their problems and counts them."""

    def __init__(self, rows: dict[str, dict[str, Any]], run: Run) -> None:
        self._rows = rows
        self._run = run
        self.n_run = 0

    def verdicts(self, candidates: list[_Candidate]) -> list[str]:
        """The verdict on each candidate; a program without a verdict counts as a timeout, which proves nothing."""
        programs = [
            program_of(self._rows[candidate.problem_id], candidate.code, f"honeypot-{number}")
            for number, candidate in enumerate(candidates)
        ]
        self.n_run += len(programs)
        found = {verdict.program_id: verdict.verdict for verdict in self._run(programs)} if programs else {}
        return [found.get(program.program_id, "timeout") for program in programs]

    def passing(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """The candidates that pass every test."""
        verdicts = self.verdicts(candidates)
        return [candidate for candidate, verdict in zip(candidates, verdicts, strict=True) if verdict == "pass"]


class _Draft:
    """What is left to try, and how often each problem and each kind of fault has been used."""

    def __init__(self, pools: dict[Group, list[_Candidate]], problem_ids: list[str], used: set[str], seed: int) -> None:
        order = np.random.default_rng([seed, 1]).permutation(len(problem_ids))
        self._rank = {problem_ids[number]: rank for rank, number in enumerate(order)}
        self._pools = pools
        self._used = used
        self._loads: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()

    def take(self, group: Group) -> _Candidate | None:
        """The next candidate of `group`: of the least used problem, then of its least used kind of fault."""
        pool = [candidate for candidate in self._pools[group] if candidate.code not in self._used]
        if not pool:
            return None
        best = min(pool, key=lambda c: (self._loads[c.problem_id], self._kinds[c.kind], self._rank[c.problem_id]))
        self._used.add(best.code)
        self._loads[best.problem_id] += 1
        self._kinds[best.kind] += 1
        return best

    def give_back(self, candidate: _Candidate) -> None:
        """`candidate` did not become a honeypot: its problem and its kind are as free as before."""
        self._loads[candidate.problem_id] -= 1
        self._kinds[candidate.kind] -= 1


def _fill(draft: _Draft, wanted: dict[Group, int], runner: _Runner) -> list[_Candidate]:
    """Try candidates round by round until every group has what it wants or nothing is left to try."""
    made: list[_Candidate] = []
    missing = dict(wanted)
    while True:
        tried: list[tuple[Group, _Candidate]] = []
        for group, n in missing.items():
            for _ in range(n):
                candidate = draft.take(group) or draft.take(_other_origin(group))
                if candidate is not None:
                    tried.append((group, candidate))
        if not tried:
            return made
        for (group, candidate), verdict in zip(tried, runner.verdicts([c for _, c in tried]), strict=True):
            if verdict in _PROOFS if candidate.line_no is not None else verdict == "pass":
                made.append(candidate)
                missing[group] -= 1
            else:
                draft.give_back(candidate)


def _other_origin(group: Group) -> Group:
    return group[0], "reference" if group[1] == "completion" else "completion"


def _notes(made: list[_Candidate], params: HoneypotsParams, n_bad_references: int) -> tuple[str, ...]:
    """One sentence for each way in which the result falls short of what was asked for."""
    notes = []
    if len(made) < params.n:
        notes.append(f"{params.n} honeypots were asked for and {len(made)} made: there are no more programs to try")
    n_written = sum(candidate.origin == "completion" for candidate in made)
    n_wanted = sum(n for (_, origin), n in _wanted(params).items() if origin == "completion")
    if n_written < n_wanted:
        notes.append(f"{n_wanted} should come from completions that passed and {n_written} do: too few passed")
    if n_bad_references:
        notes.append(f"{n_bad_references} reference solutions did not pass their own tests and were not used")
    return tuple(notes)


def _tables(made: list[_Candidate], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ITEMS and LINE_TRUTHS of the honeypots, both sorted by id."""
    rows = []
    for candidate in made:
        wrong = [] if candidate.line_no is None else [candidate.line_no]
        text = f"{seed}\n{candidate.problem_id}\n{candidate.code}"
        honeypot_id = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        honeypot = {
            "is_honeypot": True,
            "wrong_line_nos": wrong,
            "origin": candidate.origin,
            "fault_kind": candidate.kind,
        }
        rows.append(item_row(honeypot_id, candidate.problem_id, candidate.code, candidate.language) | honeypot)
    items = items_frame(rows)
    truths = [
        (item["completion_id"], line_no, line_no in item["wrong_line_nos"], "honeypot")
        for item in items.to_dict("records")
        for line_no in item["line_nos"]
    ]
    return items, pd.DataFrame(truths, columns=list(LINE_TRUTHS.column_names))
