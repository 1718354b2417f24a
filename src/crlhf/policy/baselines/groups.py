"""What the baselines learn from: the annotated completions of each problem, in the order of the consensual ranking.

Pure: tables and lists, no torch. A completion is its stored tokens; nothing is tokenised again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crlhf.errors import InputError
from crlhf.schema import TIE_DECIMALS

if TYPE_CHECKING:
    import pandas as pd

ROLLOUT_COLUMNS = ("completion_id", "problem_id", "prompt_token_ids", "token_ids", "reward")


class Response(NamedTuple):
    """One annotated completion: its tokens and its reward, rounded so that ties of the ranking are equal numbers."""

    tokens: list[int]
    reward: float


class Group(NamedTuple):
    """The annotated completions of one problem, the best first; equal rewards by completion_id."""

    problem_id: str
    prompt: list[int]
    responses: list[Response]


class Pair(NamedTuple):
    """Two completions of one problem of which the crowd ranked one above the other."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    margin: float


def groups_of(rollouts: pd.DataFrame) -> list[Group]:
    """The annotated completions by problem, in the order in which problems appear.

    Args:
        rollouts: columns `ROLLOUT_COLUMNS`, one row a completion.

    Raises:
        InputError: a column is missing, there is no row, or completions of one problem differ in their prompt.
    """
    missing = [name for name in ROLLOUT_COLUMNS if name not in rollouts.columns]
    if missing:
        raise InputError(f"rollouts: columns missing: {', '.join(missing)}")
    if rollouts.empty:
        raise InputError("rollouts: no annotated completion to train on")
    rollouts = rollouts.assign(reward=rollouts["reward"].round(TIE_DECIMALS))
    found = []
    for problem_id, rows in rollouts.groupby("problem_id", sort=False):
        prompts = {tuple(int(token) for token in prompt) for prompt in rows["prompt_token_ids"]}
        if len(prompts) > 1:
            raise InputError(f"rollouts: completions of problem {problem_id} have {len(prompts)} different prompts")
        ranked = rows.sort_values(["reward", "completion_id"], ascending=[False, True], kind="stable")
        responses = [
            Response([int(token) for token in tokens], float(reward))
            for tokens, reward in zip(ranked["token_ids"], ranked["reward"], strict=True)
        ]
        found.append(Group(str(problem_id), list(prompts.pop()), responses))
    return found


def best_of(groups: list[Group], keep: int) -> list[tuple[Group, Response]]:
    """Rejection sampling: the `keep` best-scored completions of each problem.

    A problem whose completions all have the same reward gives none: nothing was rejected, so nothing was chosen.
    """
    return [
        (group, response)
        for group in groups
        if group.responses[0].reward > group.responses[-1].reward
        for response in group.responses[:keep]
        if response.reward > group.responses[-1].reward
    ]


def ranked_pairs(groups: list[Group]) -> list[Pair]:
    """Every pair of completions of a problem that the consensual ranking orders; ties give no pair."""
    return [
        Pair(group.prompt, better.tokens, worse.tokens, better.reward - worse.reward)
        for group in groups
        for no, better in enumerate(group.responses)
        for worse in group.responses[no + 1 :]
        if better.reward > worse.reward
    ]


def spread_groups(groups: list[Group]) -> list[Group]:
    """The problems whose completions differ in reward; the others have no advantage within their group."""
    return [group for group in groups if group.responses[0].reward > group.responses[-1].reward]
