"""`crlhf paper-table`: the table and the slope chart of the paper from any number of result files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crlhf.errors import InputError
from crlhf.fetch import Say
from crlhf.stages.result_comparison import check_comparable
from crlhf.stages.result_files import Results, read_results
from crlhf.stages.score_table import DEFAULT_K, refusals
from crlhf.store import atomic_write

if TYPE_CHECKING:
    from crlhf.evaluation.report import Pair
    from crlhf.evaluation.scores import Bootstrap

SIDES = ("base", "tuned")
_LABELLED = re.compile(r"(?s)(.+):(base|tuned)=(.+)")
_N_ALL = {"humaneval": 164, "mbpp": 500, "humaneval+": 164, "mbpp+": 378}


class Entry(NamedTuple):
    """A result file in the table: its model, base or tuned, and the file."""

    model: str
    side: str
    results: Results


class Side(NamedTuple):
    """Where a side's values at one k come from."""

    base: Entry
    tuned: Entry


def make_paper_table(named: Sequence[str], out: Path, say: Say) -> list[str]:
    """Write paper-table.md, paper-table.html, slopes.png and slopes.svg to `out`; returns their paths.

    Args:
        named: result files of `crlhf evaluate`, which know their model; or `MODEL:base=FILE` and `MODEL:tuned=FILE`.
        out: a folder, made if it is not there.
        say: told what is left out.

    Raises:
        InputError: a file does not say its model, two files give the same cell, base and tuned were not made alike, or
            no model has both.
    """
    from crlhf.evaluation.report import PaperFindings, render_paper, save_slopes

    entries = _entries([_read(name) for name in named])
    pairs = _pairs(entries, say)
    if not pairs:
        raise InputError("no model has both a base and a tuned result under one protocol, at one k")
    slopes = save_slopes(pairs)
    is_simulated = any(entry.results.meta.get("policy", {}).get("is_simulated") for entry in entries)
    html, markdown = render_paper(PaperFindings(pairs, is_simulated, [_source(entry) for entry in entries]), slopes)
    contents = {
        "paper-table.md": markdown.encode(),
        "paper-table.html": html.encode(),
        "slopes.svg": slopes.svg.encode(),
        "slopes.png": slopes.png,
    }
    for name, content in contents.items():
        with atomic_write(out / name) as file:
            file.write(content)
    return [str(out / name) for name in contents]


def _read(named: str) -> tuple[str | None, str | None, Results]:
    """Model and side, where the argument says them, and the file."""
    match = None if Path(named).exists() else _LABELLED.fullmatch(named)
    if match:
        return match[1], match[2], read_results(Path(match[3]))
    return None, None, read_results(Path(named))


def _entries(read: Sequence[tuple[str | None, str | None, Results]]) -> list[Entry]:
    """Each file with its model: as it was labelled, else the base that its meta data name."""
    entries: list[Entry] = []
    tuned: dict[str, set[str]] = {}
    for model, _, results in read:
        policy = results.meta.get("policy", {})
        if not model and policy and policy["policy_id"] != policy["base_id"]:
            tuned.setdefault(policy["base_id"], set()).add(policy["policy_id"])
    for model, side, results in read:
        policy = results.meta.get("policy", {})
        if model and side:
            entries.append(Entry(model, side, results))
            continue
        if not policy:
            raise InputError(
                f"{results.path}: does not say which model wrote it; name it MODEL:base={results.path} or "
                f"MODEL:tuned={results.path}"
            )
        is_base = policy["policy_id"] == policy["base_id"]
        several = sorted(tuned.get(policy["base_id"], ()))
        for one in (several or [""]) if is_base else [policy["policy_id"]]:  # a base stands beside each of its policies
            name = f"{policy['base_name']}, {one.rpartition('+')[2][:8]}" if len(several) > 1 else policy["base_name"]
            entries.append(Entry(name, "base" if is_base else "tuned", results))
    return entries


def _pairs(entries: Sequence[Entry], say: Say) -> list[Pair]:
    from crlhf.evaluation.scores import Bootstrap

    cells: dict[tuple[str, str, int], dict[str, Entry]] = {}
    for entry in entries:
        for k in _ks(entry.results):
            sides = cells.setdefault((entry.results.protocol, entry.model, k), {})
            if entry.side in sides:
                raise InputError(
                    f"{sides[entry.side].results.path} and {entry.results.path} both give pass@{k} of {entry.model} "
                    f"({entry.side}) under {entry.results.protocol}; evaluate each with --k for the k that it is for"
                )
            sides[entry.side] = entry
    found: dict[tuple[str, str, int], Side] = {}
    for (protocol, model, k), sides in cells.items():
        if len(sides) == len(SIDES):
            check_comparable(sides["base"].results, sides["tuned"].results)
            found[protocol, model, k] = Side(sides["base"], sides["tuned"])
        else:
            say(f"{model}, {protocol}, pass@{k}: only {next(iter(sides))} is there; left out")
    bootstrap = Bootstrap()
    pairs = [_pair(model, k, side, bootstrap, say) for (_, model, k), side in found.items()]
    for protocol, k in dict.fromkeys((protocol, k) for protocol, _, k in found):
        here = [side for (name, _, one), side in found.items() if (name, one) == (protocol, k)]
        pairs += _mean(here, k, bootstrap, say)
    return pairs


def _ks(results: Results) -> list[int]:
    """The k that a file is for: those it was evaluated for, else the usual ones that it has samples for."""
    wanted = results.meta.get("k") or DEFAULT_K
    return [k for k in wanted if not refusals(results.counts, [k])]


def _pair(model: str, k: int, side: Side, bootstrap: Bootstrap, say: Say) -> Pair:
    from crlhf.evaluation.report import Pair, difference_note
    from crlhf.evaluation.scores import compare, score

    base, tuned = side.base.results, side.tuned.results
    compared = compare(base.counts, tuned.counts, k, bootstrap)
    settings = [results.meta.get("sampling", {}) for results in (base, tuned)]
    for name in ("temperature", "top_p", "max_new_tokens", "engine", "dtype"):
        values = [one.get(name) for one in settings]
        if values[0] != values[1]:
            say(f"WARNING: {model}, pass@{k}: {name} is {values[0]} for base, {values[1]} for tuned")
    return Pair(
        model,
        base.benchmark,
        base.protocol,
        k,
        _problems(base),
        min(count.n for results in (base, tuned) for count in results.counts.values()),
        settings[0].get("temperature"),
        score(base.counts, k, bootstrap),
        score(tuned.counts, k, bootstrap),
        compared.difference,
        difference_note(compared.n_gained, compared.n_lost, compared.mcnemar_p),
        compared.minimum_detectable_difference,
    )


def _mean(sides: Sequence[Side], k: int, bootstrap: Bootstrap, say: Say) -> list[Pair]:
    """The mean over models, where there are several that answered the same problems."""
    from crlhf.evaluation.intervals import paired_bootstrap, score_interval
    from crlhf.evaluation.report import MEAN, Pair
    from crlhf.evaluation.scores import mean_over_models

    if len(sides) < 2:
        return []
    first = sides[0].base.results
    try:
        base, tuned = (mean_over_models([getattr(side, name).results.counts for side in sides], k) for name in SIDES)
    except ValueError as error:
        say(f"{first.protocol}, pass@{k}: no mean over models: {error}")
        return []
    gains = sum(
        sum(mean_over_models([side.tuned.results.counts], k)) > sum(mean_over_models([side.base.results.counts], k))
        for side in sides
    )
    return [
        Pair(
            MEAN,
            first.benchmark,
            first.protocol,
            k,
            _problems(first),
            0,
            None,
            score_interval(base, *bootstrap),
            score_interval(tuned, *bootstrap),
            paired_bootstrap(base, tuned, *bootstrap),
            f"{gains} of {len(sides)} models gain",
            None,
        )
    ]


def _problems(results: Results) -> str:
    n_all, n = _N_ALL.get(results.benchmark), len(results.counts)
    return f"all {n}" if n == n_all else f"{n} of {n_all or 'not known'}"


def _source(entry: Entry) -> tuple[str, ...]:
    policy = entry.results.meta.get("policy", {}).get("policy_id", "not known")
    return entry.model, entry.side, entry.results.path.name, policy, entry.results.protocol_sha256[:12]
