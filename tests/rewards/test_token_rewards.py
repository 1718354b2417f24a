import numpy as np
import pytest

from crlhf.rewards.token_rewards import score_at_last_token, score_at_line_ends

CODE = "a = 1\n# note\nb = 2"
# Tokens: "a", " = 1\n", "# note\n", "b =", " 2", and a stop string that is not part of the code.
ENDS = [1, 6, 13, 16, 18, 21]


def test_the_whole_score_is_at_the_last_token():
    assert score_at_last_token(3, 0.7).tolist() == [0, 0, 0.7]


def test_each_line_pays_at_its_last_token_by_hand():
    # Line 1 ends at character 5, inside token 1; line 3 ends at 18, the end of token 4; the penalty is at token 5.
    found = score_at_line_ends(CODE, ENDS, {1: 0.9, 3: 0.5}, penalty=0.25)
    np.testing.assert_allclose(found, [0, 0.45, 0, 0, 0.25, -0.25])


def test_the_rewards_add_up_to_the_aligned_score():
    found = score_at_line_ends(CODE, ENDS, {1: 0.9, 3: 0.5})
    assert found.sum() == pytest.approx((0.9 + 0.5) / 2)


def test_a_line_that_the_tokens_do_not_reach_pays_at_the_last_one():
    assert score_at_line_ends(CODE, [1, 6], {3: 0.5}).tolist() == [0, 0.5]


def test_no_tokens_get_nothing():
    assert score_at_line_ends(CODE, [], {1: 0.5}).shape == (0,)
