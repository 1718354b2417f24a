"""Rewards line by line for stage `ppo`: where each line of a completion ends among its tokens, and what it carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crlhf.errors import InputError, ParamsError
from crlhf.store import records

if TYPE_CHECKING:
    import pandas as pd


def with_line_rewards(
    rollouts: pd.DataFrame, codes: pd.Series[str], scores: pd.DataFrame, posteriors: pd.DataFrame, tokenizer: Any
) -> pd.DataFrame:
    """Rollouts with the columns token_scores and token_shares: each line's share of the aligned score at its end.

    Args:
        rollouts: columns completion_id, token_ids and reward.
        codes: the program of each completion, by completion_id.
        scores: schema SCORES.
        posteriors: schema LINE_POSTERIORS.
        tokenizer: the policy's.

    Raises:
        ParamsError: the reward is not the aligned score, which alone is a sum over lines.
        InputError: a completion's tokens do not begin with its program.
    """
    import pandas as pd

    from crlhf.rewards import score_at_line_ends

    by_id = {row["completion_id"]: row for row in records(scores)}
    by_line = {name: dict(zip(g["line_no"], g["posterior"], strict=True)) for name, g in _by_completion(posteriors)}
    columns: dict[str, list[list[float]]] = {"token_scores": [], "token_shares": []}
    for name, token_ids, reward in zip(
        rollouts["completion_id"], rollouts["token_ids"], rollouts["reward"], strict=True
    ):
        score = float(by_id[name]["aligned_score"])
        # What the reward is short of the score is the truncation penalty, which only cut programs pay.
        if reward > score + 1e-6 or (reward < score - 1e-6 and not by_id[name]["is_truncated"]):
            raise ParamsError("ppo.reward_placement line_ends needs rewards.kind aligned_score: a sum over lines")
        ends = token_ends(tokenizer, token_ids, codes[name], name)
        lines = by_line[name]
        placed = score_at_line_ends(codes[name], ends, lines, score - float(reward))
        shares = score_at_line_ends(codes[name], ends, dict.fromkeys(lines, 1.0))
        columns["token_scores"].append(placed.tolist())
        columns["token_shares"].append(shares.tolist())
    placed_rollouts = rollouts.copy()
    for column, values in columns.items():
        placed_rollouts[column] = pd.Series(values, index=rollouts.index)
    return placed_rollouts


def token_ends(tokenizer: Any, token_ids: Sequence[int], code: str, name: str) -> list[int]:
    """Where each token ends in the completion's text, in characters, ascending.

    A token that ends within a character of several bytes ends where that character began to show.

    Raises:
        InputError: the text of the tokens does not begin with `code`.
    """
    texts = [_text(tokenizer, token_ids[: n + 1]) for n in range(len(token_ids))]
    # Some tokenizers drop the first blank of what they decode, and unfinished characters decode to one replacement.
    lost = next((n for n in (0, 1) if texts and (" " * n + texts[-1]).startswith(code)), None)
    if lost is None:
        raise InputError(
            f"completion {name}: its tokens do not begin with its code, so no line "
            "end can be found; ppo.reward_placement line_ends needs a protocol that leaves the text as it was written"
        )
    ends, reached = [], 0
    for text in texts:
        reached = max(reached, len(text.rstrip("\ufffd")) + lost)
        ends.append(reached)
    return ends


def _text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _by_completion(posteriors: pd.DataFrame) -> Any:
    return posteriors.groupby("completion_id", sort=False)
