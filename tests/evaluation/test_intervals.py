import numpy as np
import pytest
from scipy import stats

from crlhf.evaluation.intervals import (
    bootstrap_mean,
    mcnemar,
    minimum_detectable_difference,
    paired_bootstrap,
    score_interval,
)


def test_the_bootstrap_interval_of_a_share_is_that_of_the_binomial():
    # resampling 100 values of which 30 are 1 draws Binomial(100, 0.3)/100: its 2.5 % and 97.5 % quantiles
    values = [1.0] * 30 + [0.0] * 70
    interval = bootstrap_mean(values, 20_000, 0.95, seed=3)
    low, high = stats.binom.ppf([0.025, 0.975], 100, 0.3) / 100
    assert interval.value == pytest.approx(0.3)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.01)


def test_the_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).random(40)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_mean(values, 20_000, 0.95, seed=1)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap_mean([0.25] * 7, 200, 0.95, seed=0) == (0.25, 0.25, 0.25)


def test_the_same_seed_gives_the_same_interval():
    values = [0.0, 0.13, 0.5, 0.71, 0.94, 1.0]
    assert bootstrap_mean(values, 500, 0.9, seed=5) == bootstrap_mean(values, 500, 0.9, seed=5)
    assert bootstrap_mean(values, 500, 0.9, seed=5) != bootstrap_mean(values, 500, 0.9, seed=6)


def test_blocks_of_resamples_cover_every_resample(monkeypatch):
    monkeypatch.setattr("crlhf.evaluation.intervals._BLOCK", 40)
    interval = bootstrap_mean([1.0] * 30 + [0.0] * 70, 3001, 0.95, seed=3)
    assert (interval.low, interval.high) == pytest.approx((0.21, 0.39), abs=0.02)


def test_pairing_cancels_what_makes_a_problem_hard():
    # second = first + 0.1 on every problem: the difference is known exactly though the scores spread widely
    first = np.array([0.0, 0.1, 0.5, 0.9, 0.2])
    assert paired_bootstrap(first, first + 0.1, 1000, 0.95, seed=0) == pytest.approx((0.1, 0.1, 0.1))


def test_unpaired_or_broken_values_are_refused():
    with pytest.raises(ValueError, match="same problems"):
        paired_bootstrap([1.0], [1.0, 0.0], 100, 0.95, seed=0)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([], 100, 0.95, seed=0)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean([float("nan")], 100, 0.95, seed=0)


def test_mcnemar_is_the_exact_binomial_test_on_discordant_problems():
    first = [True] * 3 + [False] * 9 + [True] * 5
    second = [False] * 3 + [True] * 9 + [True] * 5
    result = mcnemar(first, second)
    assert (result.n_only_first, result.n_only_second) == (3, 9)
    assert result.p_value == pytest.approx(stats.binomtest(3, 12).pvalue)


def test_mcnemar_of_equal_policies_is_one():
    assert mcnemar([True, False], [True, False]).p_value == 1.0
    assert mcnemar([True, False], [False, True]).p_value == 1.0  # 2 * P(Binomial(2, 1/2) <= 1) = 1.5, capped


def test_the_detectable_difference_has_the_power_it_claims():
    # 0/1 differences of 50 problems, s = 0.5025 (ddof 1): (1.95996 + 0.84162) * 0.50508 / sqrt(50)
    differences = [0.0, 1.0] * 25
    found = minimum_detectable_difference(differences)
    spread = np.std(differences, ddof=1)
    assert found.difference == pytest.approx(2.801585 * spread / np.sqrt(50), rel=1e-6)
    rng = np.random.default_rng(0)
    runs = rng.normal(found.difference, spread, size=(4000, 50))
    z = runs.mean(axis=1) / (spread / np.sqrt(50))
    assert np.mean(np.abs(z) > 1.959964) == pytest.approx(0.8, abs=0.02)
    assert "50 problems" in found.assumption
    assert "power 0.8" in found.assumption


def test_on_one_problem_no_difference_can_be_seen():
    # the spread is at least 1 / sqrt(1), so 2.8 / sqrt(1): beyond 1, the largest difference there is
    assert minimum_detectable_difference([0.5]).difference == 1.0
    with pytest.raises(ValueError, match="at least one value"):
        minimum_detectable_difference([])


def test_scores_that_all_agree_get_the_exact_binomial_interval():
    # Clopper-Pearson for 0 of 16 at 95 %: 1 - 0.025 ** (1 / 16); an independent reference is SciPy's binomtest
    low, high = stats.binomtest(0, 16).proportion_ci(0.95, method="exact")
    none = score_interval([0.0] * 16, 200, 0.95, seed=1)
    assert none == pytest.approx((0.0, low, high), abs=1e-12)
    low, high = stats.binomtest(16, 16).proportion_ci(0.95, method="exact")
    assert score_interval([1.0] * 16, 200, 0.95, seed=1) == pytest.approx((1.0, low, high), abs=1e-12)


def test_mixed_scores_get_the_bootstrap_interval():
    values = [0.0, 1.0, 0.0, 0.5]
    assert score_interval(values, 500, 0.95, seed=3) == bootstrap_mean(values, 500, 0.95, seed=3)


def test_two_policies_that_never_differ_are_not_proved_equal():
    found = paired_bootstrap([0.0, 1.0] * 8, [0.0, 1.0] * 8, 200, 0.95, seed=1)
    unseen = stats.binomtest(0, 16).proportion_ci(0.95, method="exact").high
    assert found == pytest.approx((0.0, -unseen, unseen), abs=1e-12)
