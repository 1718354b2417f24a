"""Annotated completions as one page: each judged line with P(correct) and its votes, to see what the score rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

from crlhf.lines import split_lines
from crlhf.store import records


def choose_samples(scores: pd.DataFrame, n: int) -> list[str]:
    """At most `n` completions, spread evenly over the ranking of all by reward, the best and the worst included.

    Args:
        scores: schema SCORES.
        n: at least 1.

    Returns:
        Their completion_ids, by reward from the best down; equal rewards by completion_id.
    """
    ranked = scores.sort_values(["reward", "completion_id"], ascending=[False, True])["completion_id"].tolist()
    if len(ranked) <= n:
        return ranked
    places = [round(no * (len(ranked) - 1) / max(1, n - 1)) for no in range(n)]
    return [ranked[place] for place in dict.fromkeys(places)]


def samples_page(
    title: str,
    chosen: Sequence[str],
    problems: pd.DataFrame,
    items: pd.DataFrame,
    scores: pd.DataFrame,
    posteriors: pd.DataFrame,
    *,
    is_simulated: bool,
) -> str:
    """The page, in HTML, with everything inside it; whatever a completion holds is shown as text.

    Args:
        title: what the page is about, for example the round.
        chosen: completion_ids in the order in which they are shown.
        problems: schema PROBLEMS.
        items: schema ITEMS; gives the code.
        scores: schema SCORES.
        posteriors: schema LINE_POSTERIORS.
        is_simulated: True: the page says that no person gave these verdicts.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    prompts = dict(zip(problems["problem_id"], problems["prompt"], strict=True))
    codes = dict(zip(items["completion_id"], items["code"], strict=True))
    rows = {row["completion_id"]: row for row in records(scores)}
    known = posteriors[posteriors["completion_id"].isin(list(chosen))].groupby("completion_id")
    lines = {name: {row["line_no"]: row for row in records(part)} for name, part in known}
    samples = [
        rows[one]
        | {
            "prompt": prompts.get(rows[one]["problem_id"], ""),
            "lines": _lines(codes[one], lines.get(one, {})),
        }
        for one in chosen
    ]
    environment = Environment(
        loader=PackageLoader("crlhf.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("samples.html.jinja").render(
        title=title, samples=samples, n_all=len(scores), is_simulated=is_simulated
    )


def _lines(code: str, judged: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each line of the code; a judged one with its posterior, votes and how strongly it is coloured, 0 to 10."""
    found = []
    for line_no, text in enumerate(split_lines(code), 1):
        row = judged.get(line_no)
        doubt = None if row is None else round(10 * (1 - row["posterior"]))
        found.append({"no": line_no, "text": text, "row": row, "doubt": doubt})
    return found
