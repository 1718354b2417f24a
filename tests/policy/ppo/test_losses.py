import math

import pytest
import torch

from crlhf.policy.ppo.diagnostics import add_sums, explained_variance, policy_kl, step_metrics, token_sums
from crlhf.policy.ppo.losses import clipped_policy_loss, clipped_value_loss


def test_policy_loss_clips_only_where_the_surrogate_would_gain_from_leaving_the_range():
    # cliprange 0.2; ratios 1.5, 1.5, 0.5, 0.5 with advantages +1, -1, +1, -1:
    #   +1 at 1.5: clipped, -1.2. -1 at 1.5: not clipped, 1.5. +1 at 0.5: not clipped, -0.5. -1 at 0.5: clipped, 0.8.
    logprobs = torch.log(torch.tensor([[1.5, 1.5, 0.5, 0.5]])).requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    found = clipped_policy_loss(logprobs, torch.zeros(1, 4), advantages, mask, 0.2)
    assert float(found.loss_sum.detach()) == pytest.approx(-1.2 + 1.5 - 0.5 + 0.8, abs=1e-6)
    assert int(found.n_clipped) == 2
    found.loss_sum.backward()
    # The derivative of -A rho with respect to log rho is -A rho; where clipped it is 0.
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.0, 1.5, -0.5, 0.0]]))


def test_padding_gives_no_policy_loss_and_no_nan_gradient():
    logprobs = torch.tensor([[-1.0, 500.0]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    found = clipped_policy_loss(logprobs, torch.tensor([[-1.0, -500.0]]), torch.tensor([[2.0, 3.0]]), mask, 0.2)
    found.loss_sum.backward()
    assert float(found.loss_sum.detach()) == -2.0
    assert logprobs.grad.tolist() == [[-2.0, 0.0]]


def test_value_loss_takes_the_larger_of_plain_and_clipped_error():
    # cliprange_value 0.1, old values 0. V = 0.5, R = 1: plain 0.25, clipped (0.1 - 1)^2 = 0.81 -> 0.5 * 0.81, clipped.
    # V = 0.05, R = 1: inside the range, both 0.9025. V = 0.5, R = 0: plain 0.25, clipped 0.01 -> 0.5 * 0.25.
    values = torch.tensor([[0.5, 0.05, 0.5, 9.0]])
    returns = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False]])
    found = clipped_value_loss(values, torch.zeros(1, 4), returns, mask, 0.1)
    assert float(found.loss_sum) == pytest.approx(0.5 * (0.81 + 0.9025 + 0.25))
    assert int(found.n_clipped) == 1


def test_weighted_kl_estimates_the_policys_kl_from_the_references_own_samples():
    # Every token of a vocabulary of four once, weighted by how often the behaviour policy (= the reference) draws it:
    # the expectation of both estimators is KL(policy || reference), computed here from its definition.
    policy = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    truth = float((policy * (policy / reference).log()).sum())
    one = torch.ones(1, 1, dtype=torch.bool)
    expected = {"kl_k1": 0.0, "kl_k3": 0.0}
    for p, r in zip(policy, reference, strict=True):
        found = policy_kl(p.log().view(1, 1), r.log().view(1, 1), r.log().view(1, 1), one)
        for name in expected:
            expected[name] += float(r * found[name])
    assert expected == pytest.approx({"kl_k1": truth, "kl_k3": truth})


def test_a_policy_that_broke_away_gives_a_huge_finite_kl():
    found = policy_kl(torch.tensor([[900.0]]), torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert all(1e6 < float(value) < math.inf for value in found.values())


def test_explained_variance_by_hand():
    # R = (1, 2, 3), V = (1, 2, 5): errors (0, 0, -2). Var(R) = 2/3, Var(R - V) = 4/3 - 4/9 = 8/9, and
    # 1 - (8/9) / (2/3) = -1/3.
    assert explained_variance(3, 6.0, 14.0, -2.0, 4.0) == pytest.approx(-1 / 3)
    assert math.isnan(explained_variance(2, 2.0, 2.0, 0.0, 0.0))  # R = (1, 1) does not vary
    assert math.isnan(explained_variance(0, 0.0, 0.0, 0.0, 0.0))


def test_a_step_without_completions_has_curves():
    found = step_metrics({})
    assert math.isnan(found.pop("explained_variance"))
    assert set(found.values()) == {0.0}


def test_curves_of_two_micro_batches_are_those_of_the_whole_batch():
    generator = torch.Generator().manual_seed(0)
    names = ("logprobs", "entropies", "values", "old_logprobs", "ref_logprobs", "returns")
    tensors = {name: torch.randn(4, 5, generator=generator, dtype=torch.float64) for name in names}
    mask = torch.arange(5) < torch.tensor([5, 1, 3, 2])[:, None]
    scores = torch.tensor([0.1, 0.4, 0.8, 0.9], dtype=torch.float64)
    losses = {"policy_loss": 0.0, "value_loss": 0.0, "clip_fraction": 0.0, "value_clip_fraction": 0.0}

    def sums(rows):
        part = {name: x[rows] for name, x in tensors.items()}
        return token_sums(**part, scores=scores[rows], response_mask=mask[rows]) | losses

    whole = step_metrics(sums(slice(0, 4)))
    assert step_metrics(add_sums(sums(slice(0, 1)), sums(slice(1, 4)))) == pytest.approx(whole)
    assert whole["score"] == pytest.approx(0.55)
    assert whole["length"] == pytest.approx(11 / 4)
    assert whole["gap_to_behaviour"] == pytest.approx(
        float((tensors["logprobs"] - tensors["old_logprobs"]).abs()[mask].mean())
    )
