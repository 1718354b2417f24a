"""What the annotation page is given by the project: items, estimates, rules; and its state as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crlhf.params import Params, load_params
from crlhf.schema import ANNOTATIONS
from crlhf.stages.collection import closing
from crlhf.stages.page_batches import deletion
from crlhf.store import Store, records
from crlhf.web.sources import AnnotatorEstimate, Estimates, Rate, ShownItem, Sources, Step, Suspect

if TYPE_CHECKING:
    import pandas as pd

    from crlhf.web.assignment import Rules
    from crlhf.web.database import Database
    from crlhf.web.page import Settings

N_EXAMPLES = 3
"""Of a problem's tests, those that stand beside the program."""


def sources(root: Path) -> Sources:
    """The functions that the page asks."""
    return Sources(
        lambda: items_to_show(root),
        lambda rows: estimates_of(root, rows),
        lambda annotator_id: deletion(root, annotator_id),
    )


def rules_of(params: Params) -> Rules:
    """How work is given out and paid, from params.yaml."""
    from crlhf.web.assignment import Rules

    page = params.page
    return Rules(
        seed=params.seed,
        k=params.crowd.verdicts_per_completion,
        honeypot_rate=page.honeypot_rate,
        max_extra=page.max_extra_verdicts,
        lease_s=60 * page.lease_minutes,
        pay_per_completion=page.pay_per_completion,
        pay_per_hour=page.pay_per_hour,
    )


def settings_of(params: Params, public_url: str | None, address: str) -> Settings:
    """How the page runs, from params.yaml and the command line."""
    from crlhf.web.page import Settings

    page = params.page
    return Settings(rules_of(params), page.session_goal, page.currency, public_url, address)


def rounds_made(root: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and items of every round that has made its items.

    Raises:
        MissingInputError: no round has made any yet.
    """
    store, rounds = Store(root), list(load_params(root / "params.yaml").rounds)
    made = [name for name in rounds if store.has("items", name)] or rounds[:1]
    yield from ((name, store.read("items", name)) for name in made)


def items_to_show(root: Path) -> list[ShownItem]:
    """Every item that annotators may be shown, with its problem's description and examples.

    Rounds that are closed have their verdicts: nobody is asked, or paid, for more.

    Raises:
        MissingInputError: the stages `problems` or `honeypots` have not run yet.
    """
    store = Store(root)
    problems = {row["problem_id"]: row for row in records(store.read("problems"))}
    return [
        _shown(row, problems[row["problem_id"]], name)
        for name, items in rounds_made(root)
        if closing(store, name) is None
        for row in records(items)
    ]


def _shown(item: Mapping[str, Any], problem: Mapping[str, Any], round_name: str) -> ShownItem:
    return ShownItem(
        item["completion_id"],
        round_name,
        item["problem_id"],
        item["code"],
        item["code_sha256"],
        tuple(item["line_nos"]),
        bool(item["is_honeypot"]),
        problem["language"],
        problem["prompt"].strip(),
        tuple(test.strip().removeprefix("assert ") for test in problem["tests"][:N_EXAMPLES]),
    )


def estimates_of(root: Path, rows: Sequence[Mapping[str, Any]]) -> Estimates:
    """What the answers on the page say so far, by the estimator of params.yaml.

    Args:
        root: the project's folder.
        rows: under ANNOTATIONS, without `source_file` and `source_row`; at least one.
    """
    import pandas as pd

    from crlhf.reliability import estimate, krippendorff_alpha
    from crlhf.reliability.labels import labels_of
    from crlhf.reliability.verdicts import code_verdicts

    params = load_params(root / "params.yaml")
    items = pd.concat([items for _, items in rounds_made(root)], ignore_index=True)
    frame = pd.DataFrame(rows).assign(source_file="page", source_row=range(1, len(rows) + 1))
    frame = frame[list(ANNOTATIONS.column_names)]
    frame = frame[frame["completion_id"].isin(items["completion_id"])].reset_index(drop=True)
    if frame.empty:
        return Estimates(None, (), (), {})
    found = estimate(frame, items, params.reliability, seed=params.seed)
    labels = labels_of(code_verdicts(frame, items), params.reliability.line_correlation)
    return Estimates(
        krippendorff_alpha(labels),
        _annotators(found.reliabilities, frame, items, params),
        _suspects(frame, items, params),
        _wanted(frame, items, found.reliabilities, found.model["prior_correct"], params),
    )


def _annotators(
    reliabilities: pd.DataFrame, frame: pd.DataFrame, items: pd.DataFrame, params: Params
) -> tuple[AnnotatorEstimate, ...]:
    from crlhf.reliability.trajectory import honeypot_steps

    steps: dict[str, list[Step]] = {}
    for row in records(honeypot_steps(frame, items, params.reliability)):
        step = Step(row["n_honeypots"], _rate(row, "sensitivity"), _rate(row, "specificity"))
        steps.setdefault(row["annotator_id"], []).append(step)
    return tuple(
        AnnotatorEstimate(
            row["annotator_id"],
            _rate(row, "sensitivity"),
            _rate(row, "specificity"),
            row["n_honeypots"],
            row["reason"],
            tuple(steps.get(row["annotator_id"], ())),
        )
        for row in records(reliabilities)
    )


def _rate(row: Mapping[str, Any], name: str) -> Rate:
    """A rate with its interval; where the estimator gives none, all of 0 to 1 is possible."""
    import pandas as pd

    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return Rate(row[name], 0.0 if pd.isna(low) else low, 1.0 if pd.isna(high) else high)


def _suspects(frame: pd.DataFrame, items: pd.DataFrame, params: Params) -> tuple[Suspect, ...]:
    from crlhf.reliability import find_suspects
    from crlhf.reliability.behaviour import find_by_behaviour

    rows = records(find_suspects(frame, items, params.reliability))
    rows += records(find_by_behaviour(frame, items, params.validation.min_duration_s))
    known: dict[tuple[str, str], Suspect] = {}
    for row in rows:
        one = Suspect(row["annotator_id"], row["kind"], row["evidence"])
        known.setdefault((one.annotator_id, one.kind), one)
    return tuple(known[pair] for pair in sorted(known))


def _wanted(
    frame: pd.DataFrame, items: pd.DataFrame, reliabilities: pd.DataFrame, prior: Any, params: Params
) -> dict[str, int]:
    """How many more verdicts each completion with its first k needs."""
    import pandas as pd

    from crlhf.rewards import line_posteriors, value_of_verdicts

    posteriors = line_posteriors(
        frame, items, reliabilities, params.rewards.prior_correct if prior is None else float(prior)
    )
    limit = params.page.max_extra_verdicts
    table = value_of_verdicts(posteriors, reliabilities, target_sd=params.page.target_sd, max_more=max(1, limit))
    n_given = frame.groupby("completion_id")["annotator_id"].nunique()
    wanted = {}
    for name, n_more in zip(table["completion_id"], table["n_more"], strict=True):
        if n_given[name] >= params.crowd.verdicts_per_completion:
            wanted[name] = limit if pd.isna(n_more) else int(n_more)
    return wanted


def status_lines(root: Path, database: Database) -> Iterator[str]:
    """What the operator's page shows, as lines for a terminal."""
    from crlhf.web import collection, progress
    from crlhf.web.answers import annotation_rows, submitted

    with database.read() as connection:
        rounds, workers = progress.rounds(connection), progress.workers(connection)
        n_waiting, is_paused = collection.n_waiting(connection), progress.is_paused(connection)
        rows = list(annotation_rows(submitted(connection)))
    yield "Paused: nobody is given work." if is_paused else "Work is given out."
    for one in rounds:
        yield (
            f"Round {one.name}: {one.n_verdicts} of {one.n_wanted} verdicts, {one.n_complete} of {one.n_completions} "
            f"completions done, {one.n_honeypot_answers} honeypot answers, {one.hours:.1f} h, cost {one.cost:.2f}"
        )
    yield f"{n_waiting} answers wait for `crlhf collect`."
    estimates = estimates_of(root, rows) if rows else Estimates(None, (), (), {})
    if estimates.agreement is not None:
        yield f"Agreement (Krippendorff's alpha): {estimates.agreement:.2f}"
    known = {one.annotator_id: one for one in estimates.annotators}
    for worker in workers:
        line = f"{worker.annotator_id} {worker.state}: {worker.n_answers} answers, cost {worker.cost:.2f}"
        found = known.get(worker.annotator_id)
        for name in ("sensitivity", "specificity") if found else ():
            rate = getattr(found, name)
            line += f", {name} {rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
        yield line
    for suspect in estimates.suspects:
        yield f"Look at {suspect.annotator_id}: {suspect.kind}: {suspect.evidence}"
