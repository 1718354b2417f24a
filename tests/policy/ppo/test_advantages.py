import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crlhf.policy.ppo.advantages import (
    centred_scores,
    gae,
    kl_rewards,
    kl_terms,
    masked_mean,
    masked_whiten,
    problem_advantages,
    whitening_scale,
)


def test_gae_matches_a_hand_computation_and_ignores_padding():
    # gamma 0.9, lam 0.5, so gamma lam = 0.45.
    # Row 0: r = (1, 2, 3), V = (0.5, 1, 2).
    #   delta = (1 + 0.9*1 - 0.5, 2 + 0.9*2 - 1, 3 - 2) = (1.4, 2.8, 1)
    #   A2 = 1; A1 = 2.8 + 0.45*1 = 3.25; A0 = 1.4 + 0.45*3.25 = 2.8625
    # Row 1 has two tokens, then padding that holds junk: r = (0, 1), V = (1, -1).
    #   delta = (0 + 0.9*(-1) - 1, 1 + 1) = (-1.9, 2); A1 = 2; A0 = -1.9 + 0.45*2 = -1
    rewards = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 99.0]])
    values = torch.tensor([[0.5, 1.0, 2.0], [1.0, -1.0, 77.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    found = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    torch.testing.assert_close(found.advantages, torch.tensor([[2.8625, 3.25, 1.0], [-1.0, 2.0, 0.0]]))
    # R = A + V at tokens, 0 at padding
    torch.testing.assert_close(found.returns, torch.tensor([[3.3625, 4.25, 3.0], [0.0, 1.0, 0.0]]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.floats(0.5, 1.0), st.integers(0, 10**6))
def test_returns_are_the_reward_to_go_when_lam_is_one(lengths, gamma, seed):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    rewards = torch.randn(len(lengths), width, generator=generator, dtype=torch.float64)
    values = torch.randn(len(lengths), width, generator=generator, dtype=torch.float64)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    returns = gae(rewards, values, mask, gamma=gamma, lam=1.0).returns
    for row, length in enumerate(lengths):
        for t in range(length):
            to_go = sum(gamma ** (k - t) * float(rewards[row, k]) for k in range(t, length))
            assert float(returns[row, t]) == pytest.approx(to_go, abs=1e-9)


def test_lam_zero_gives_the_one_step_error():
    rewards, values = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])
    # delta = (1 + 0.5*5 - 3, 2 - 5)
    found = gae(rewards, values, torch.ones(1, 2, dtype=torch.bool), gamma=0.5, lam=0.0)
    torch.testing.assert_close(found.advantages, torch.tensor([[0.5, -3.0]]))


def test_score_lands_on_the_last_response_token_and_kl_on_every_token():
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -5.0, 40.0]])
    ref_logprobs = torch.tensor([[-1.5, -2.0, -2.0], [-0.5, -6.0, -40.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    rewards = kl_rewards(logprobs, ref_logprobs, torch.tensor([0.7, 0.2]), mask, kl_coef=0.1, estimator="k1")
    # -0.1 * (policy - reference): row 0 (0.5, 0, -1), row 1 (-0.5, 1); scores at positions 2 and 1
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, 0.0, 0.1 + 0.7], [0.05, -0.1 + 0.2, 0.0]]))


def test_k3_is_its_formula():
    # d = log 2: exp(-d) - 1 + d = 0.5 - 1 + log 2
    found = kl_terms(torch.tensor([math.log(2.0), 0.0]), torch.tensor([0.0, 0.0]), "k3")
    torch.testing.assert_close(found, torch.tensor([-0.5 + math.log(2.0), 0.0]))


def test_a_row_without_tokens_gets_no_reward():
    mask = torch.tensor([[True], [False]])
    rewards = kl_rewards(
        torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([0.3, 0.9]), mask, kl_coef=0.0, estimator="k1"
    )
    torch.testing.assert_close(rewards, torch.tensor([[0.3], [0.0]]))


def test_whitening_matches_numpy_over_the_tokens_and_leaves_padding_zero():
    x = torch.tensor([[1.0, 2.0, 500.0], [4.0, -3.0, 0.5]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    tokens = np.array([1.0, 2.0, 4.0, -3.0, 0.5])
    expected = (tokens - tokens.mean()) / tokens.std(ddof=1)
    found = masked_whiten(x, mask)
    np.testing.assert_allclose(found[mask].numpy(), expected, rtol=1e-5)
    assert float(found[0, 2]) == 0.0


def test_whitening_one_token_gives_zero_and_not_nan():
    assert masked_whiten(torch.tensor([[3.0, 9.0]]), torch.tensor([[True, False]])).tolist() == [[0.0, 0.0]]


def test_masked_mean_of_nothing_is_zero():
    assert float(masked_mean(torch.tensor([5.0]), torch.tensor([False]))) == 0.0


def test_centring_subtracts_each_problems_mean_surprise():
    # values before the last token are 0.5 everywhere; surprises: problem 0 (0.4, 0.0), problem 1 (-0.3)
    found = centred_scores(torch.tensor([0.9, 0.5, 0.2]), torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(found, torch.tensor([0.7, 0.3, 0.5]))


def test_a_hard_problem_whose_completions_score_alike_pushes_the_policy_nowhere():
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False], [True, True, False]])
    scores = torch.tensor([0.1, 0.1, 0.8, 1.0])
    values = torch.full(mask.shape, 0.5) * mask
    zeros = torch.zeros(mask.shape)
    rewards = kl_rewards(zeros, zeros, scores, mask, kl_coef=0.05, estimator="k1")
    settings_ = {"gamma": 1.0, "lam": 0.95, "center_per_problem": True, "whiten": False}
    found = problem_advantages(rewards, scores, values, mask, torch.tensor([0, 0, 1, 1]), **settings_)
    torch.testing.assert_close(found.advantages[:2], zeros[:2])
    # problem 1: surprises 0.3 and 0.5, centred -0.1 and 0.1, one token earlier times 0.95
    torch.testing.assert_close(found.advantages[2:, :2], torch.tensor([[-0.095, -0.1], [0.095, 0.1]]))
    # The value head goes on learning the scores as they are: at the last token the return is the score.
    assert [float(found.returns[row, last]) for row, last in enumerate([2, 0, 1, 1])] == pytest.approx(scores.tolist())


def test_rewards_are_whitened_as_trl_does_it_and_keep_their_mean_in_proportion():
    # Entries 1, 2, 6 (the 99 is padding): mean 3, unbiased variance (4 + 1 + 9) / 2 = 7.
    rewards = torch.tensor([[1.0, 2.0], [6.0, 99.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert whitening_scale(rewards, mask) == pytest.approx(7**-0.5, rel=1e-6)
    assert whitening_scale(rewards[:, :1], torch.tensor([[True], [False]])) == 1.0


def test_scores_placed_line_by_line_are_rewarded_where_they_lie():
    logprobs = torch.zeros(1, 4)
    placed = torch.tensor([[0.0, 0.4, 0.0, 0.1]])
    rewards = kl_rewards(logprobs, logprobs, placed, torch.ones(1, 4, dtype=torch.bool), kl_coef=0.3, estimator="k1")
    torch.testing.assert_close(rewards, placed)


def test_centring_line_by_line_takes_each_lines_share():
    # One problem, two completions of two lines that end at tokens 0 and 1; values 0, gamma = lam = 1.
    # Scores 0.8 and 0.2, mean 0.5: each line end is shifted by -0.25.
    # Row 0: (0.4, 0.4) -> (0.15, 0.15), advantages (0.3, 0.15). Row 1: (0.2, 0) -> (-0.05, -0.25): (-0.3, -0.25).
    rewards = torch.tensor([[0.4, 0.4], [0.2, 0.0]])
    found = problem_advantages(
        rewards,
        torch.tensor([0.8, 0.2]),
        torch.zeros(2, 2),
        torch.ones(2, 2, dtype=torch.bool),
        torch.tensor([0, 0]),
        gamma=1.0,
        lam=1.0,
        center_per_problem=True,
        whiten=False,
        shares=torch.full((2, 2), 0.5),
    )
    torch.testing.assert_close(found.advantages, torch.tensor([[0.3, 0.15], [-0.3, -0.25]]))
    torch.testing.assert_close(found.returns, torch.tensor([[0.8, 0.4], [0.2, 0.0]]))
