import pandas as pd
import pytest

from crlhf.errors import InputError, ParamsError
from crlhf.stages.line_rewards import token_ends, with_line_rewards
from tests.tiny_policy import build_tokenizer

CODE = "def f(x):\n    # double\n    return x * 2"
POSTERIORS = {1: 0.9, 3: 0.5}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def tables(tokenizer, text, penalty=0.0):
    ids = tokenizer(text)["input_ids"]
    reward = 0.7 - penalty
    rollouts = pd.DataFrame({"completion_id": ["c"], "token_ids": [ids], "reward": [reward]})
    scores = pd.DataFrame({"completion_id": ["c"], "aligned_score": [0.7], "is_truncated": [penalty > 0]})
    lines = [{"completion_id": "c", "line_no": no, "posterior": q} for no, q in POSTERIORS.items()]
    return rollouts, pd.Series({"c": CODE}), scores, pd.DataFrame(lines), tokenizer


def test_each_line_carries_its_share_at_the_token_that_ends_it(tokenizer):
    found = with_line_rewards(*tables(tokenizer, CODE + "\nclass"))
    ids, placed, shares = found.loc[0, ["token_ids", "token_scores", "token_shares"]]
    texts = [tokenizer.decode(ids[: n + 1]) for n in range(len(ids))]
    first = next(n for n, text in enumerate(texts) if text.startswith("def f(x):"))
    last = next(n for n, text in enumerate(texts) if text.startswith(CODE))
    assert {no: value for no, value in enumerate(placed) if value} == {first: 0.45, last: 0.25}
    assert {no: value for no, value in enumerate(shares) if value} == {first: 0.5, last: 0.5}


def test_a_cut_program_pays_its_penalty_at_the_last_token(tokenizer):
    found = with_line_rewards(*tables(tokenizer, CODE, penalty=0.25))
    assert sum(found.loc[0, "token_scores"]) == pytest.approx(0.45)
    assert found.loc[0, "token_scores"][-1] == pytest.approx(0.25 - 0.25)


def test_ends_ascend_within_characters_of_several_bytes(tokenizer):
    text = 'x = "\u00e9\u20ac"\ny = 2'
    ends = token_ends(tokenizer, tokenizer(text)["input_ids"], text, "c")
    assert ends == sorted(ends)
    assert ends[-1] == len(text)


def test_a_reward_that_is_no_sum_over_lines_is_refused(tokenizer):
    rollouts, codes, scores, lines, _ = tables(tokenizer, CODE)
    with pytest.raises(ParamsError, match="aligned_score"):
        with_line_rewards(rollouts.assign(reward=0.3), codes, scores, lines, tokenizer)


def test_code_that_the_tokens_do_not_spell_is_refused(tokenizer):
    with pytest.raises(InputError, match="completion c: its tokens do not begin with its code"):
        token_ends(tokenizer, tokenizer("a = 1")["input_ids"], "b = 1", "c")
