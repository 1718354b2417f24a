import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from crlhf.reliability import dawid_skene
from crlhf.reliability.crowd_prior import CrowdPrior
from crlhf.reliability.honeypot_beta import Belief, BetaCounts
from crlhf.reliability.labels import sparse_labels
from crlhf.reliability.verdicts import UNKNOWN


def prior(coins=2):
    return CrowdPrior((4, 2), (2, 1), (2, 1), coins)


def simulate(sens, spec, *, n_lines, per_line, share_wrong, seed, share_known=0.0):
    """Labels drawn from the two-coin model."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n_lines) < share_wrong).astype(np.int8)
    n_annotators = len(sens)
    line = np.repeat(np.arange(n_lines), per_line)
    annotator = np.argsort(rng.random((n_lines, n_annotators)), 1)[:, :per_line].ravel()
    p_mark = np.where(truth[line] == 1, sens[annotator], 1 - spec[annotator])
    known = np.where(rng.random(n_lines) < share_known, truth, UNKNOWN).astype(np.int8)
    return sparse_labels(line, annotator, rng.random(len(line)) < p_mark, n_annotators, known), truth


def test_one_step_with_everything_known_is_counting():
    # All lines are known, so the rates are the prior's posterior of the counts, whatever EM does.
    line = np.array([0, 1, 2, 3])
    labels = sparse_labels(line, np.zeros(4, int), np.array([1, 0, 0, 1]), 1, np.array([1, 1, 0, 0], np.int8))
    found = dawid_skene.fit(labels, prior(), temperature=1.0)
    caught, missed, passed, accused = (np.ones(1),) * 4
    learned = prior()
    for _ in range(1 + found.n_iterations + 2 * 3):  # each M-step also learns the prior's weights; 3 on each side of T
        expected = learned.belief(caught, missed, passed, accused)
    assert found.belief.sensitivity.mean.item() == pytest.approx(expected.sensitivity.mean.item())


def test_rates_and_truth_are_recovered():
    rng = np.random.default_rng(0)
    sens, spec = rng.beta(8, 4, 60), rng.beta(30, 2, 60)
    labels, truth = simulate(sens, spec, n_lines=12000, per_line=5, share_wrong=0.15, seed=1, share_known=0.1)
    found = dawid_skene.fit(labels, prior())
    # Each annotator judged 1000 lines, 150 wrong: a known truth would give a standard error of about 0.036.
    assert np.sqrt(np.mean((found.belief.sensitivity.mean - sens) ** 2)) < 0.05
    assert np.sqrt(np.mean((found.belief.specificity.mean - spec) ** 2)) < 0.012
    assert found.prior_wrong == pytest.approx(truth.mean(), abs=0.01)
    assert found.tempering.temperature == pytest.approx(1.0, abs=0.05)


def test_intervals_cover_the_truth_of_data_drawn_from_the_model():
    covered_sens, covered_spec = [], []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        sens, spec = rng.beta(8, 4, 100), rng.beta(16, 3, 100)
        labels, _ = simulate(sens, spec, n_lines=6000, per_line=5, share_wrong=0.3, seed=seed + 50, share_known=0.1)
        found = dawid_skene.fit(labels, prior())
        for covered, counts, true in (
            (covered_sens, found.belief.sensitivity, sens),
            (covered_spec, found.belief.specificity, spec),
        ):
            low, high = counts.interval()
            covered.append(np.mean((low <= true) & (true <= high)))
    # 1600 annotators each; the standard error of a coverage of 0.95 is 0.0054.
    assert 0.93 <= np.mean(covered_sens) <= 0.97
    assert 0.93 <= np.mean(covered_spec) <= 0.97


def test_more_adversaries_than_experts_are_oriented_by_honeypots():
    p = np.r_[np.full(10, 0.85), np.full(20, 0.3)]
    labels, truth = simulate(p, p, n_lines=2000, per_line=5, share_wrong=0.15, seed=3, share_known=0.02)
    free = labels.truth == UNKNOWN
    found = dawid_skene.fit(labels, prior())
    assert np.mean((found.posterior_wrong > 0.5)[free] == truth[free]) >= 0.9
    blind = dawid_skene.fit(labels.with_truth(np.full(2000, UNKNOWN, np.int8)), prior())
    assert np.mean((blind.posterior_wrong > 0.5)[free] == truth[free]) < 0.5


def test_lazy_annotators_get_weights_of_nothing():
    rng = np.random.default_rng(5)
    sens, spec = np.r_[rng.beta(8, 4, 35), np.full(15, 0.005)], np.r_[rng.beta(30, 2, 35), np.full(15, 0.995)]
    labels, _ = simulate(sens, spec, n_lines=6000, per_line=5, share_wrong=0.15, seed=6, share_known=0.1)
    found = dawid_skene.fit(labels, prior())
    assert np.abs(found.weights[35:, 0]).max() < 0.1  # what an `ok` of theirs says
    assert found.weights[:35, 0].max() < -0.2


def test_known_lines_do_not_move_the_class_prior():
    # Half of the honeypots are wrong by design, 15 % of the other lines are.
    sens = spec = np.full(20, 0.9)
    labels, truth = simulate(sens, spec, n_lines=4000, per_line=5, share_wrong=0.15, seed=7)
    known = labels.truth.copy()
    chosen = np.r_[np.flatnonzero(truth == 1)[:200], np.flatnonzero(truth == 0)[:200]]
    known[chosen] = truth[chosen]
    found = dawid_skene.fit(labels.with_truth(known), prior())
    assert found.prior_wrong == pytest.approx(np.delete(truth, chosen).mean(), abs=0.015)


def test_a_fixed_class_prior_and_temperature_are_kept():
    sens = np.full(10, 0.8)
    labels, _ = simulate(sens, sens, n_lines=300, per_line=3, share_wrong=0.3, seed=8)
    found = dawid_skene.fit(labels, prior(), prior_wrong=0.5, temperature=0.6)
    assert (found.prior_wrong, found.tempering.temperature) == (0.5, 0.6)


def test_lines_on_which_all_err_together_are_cooled_and_calibrated():
    # On 25 % of lines everyone is likely to say the same random thing: naive Bayes is sure of nonsense.
    rng = np.random.default_rng(9)
    n_lines, n_annotators, per_line = 3000, 40, 10
    truth = (rng.random(n_lines) < 0.5).astype(np.int8)
    line = np.repeat(np.arange(n_lines), per_line)
    annotator = np.argsort(rng.random((n_lines, n_annotators)), 1)[:, :per_line].ravel()
    says = (truth[line] == 1) ^ (rng.random(len(line)) < 0.15)
    is_hard, side = rng.random(n_lines) < 0.25, rng.random(n_lines) < 0.5
    says = np.where(is_hard[line], side[line] ^ (rng.random(len(line)) < 0.15), says)
    known = np.where(rng.random(n_lines) < 0.1, truth, UNKNOWN).astype(np.int8)
    labels = sparse_labels(line, annotator, says, n_annotators, known)
    free = known == UNKNOWN

    def loss(p):
        return -np.log(np.clip(np.where(truth == 1, p, 1 - p), 1e-10, 1))[free].mean()

    cooled, hot = dawid_skene.fit(labels, prior()), dawid_skene.fit(labels, prior(), temperature=1.0)
    assert cooled.tempering.temperature < 0.5
    assert loss(cooled.posterior_wrong) < 0.5 * loss(hot.posterior_wrong)


def test_without_labels_nothing_breaks():
    empty = sparse_labels(np.zeros(0, int), np.zeros(0, int), np.zeros(0, bool), 0, np.zeros(0, np.int8))
    found = dawid_skene.fit(empty, prior())
    assert found.posterior_wrong.shape == (0,)
    assert found.tempering.temperature == 1.0


@pytest.mark.parametrize("verdict", [0, 1])
def test_one_annotator_and_one_class_give_finite_answers(verdict):
    for known in (UNKNOWN, verdict):
        labels = sparse_labels(np.arange(50), np.zeros(50, int), np.full(50, verdict), 1, np.full(50, known, np.int8))
        found = dawid_skene.fit(labels, prior())
        assert np.isfinite(found.weights).all()
        assert np.isfinite(found.posterior_wrong).all()
        assert ((found.posterior_wrong > 0.5) == (verdict == 1)).all()


def test_carried_counts_act_like_data():
    # 40 lines now and 40 lines of which only the counts were kept, against all 80 lines at once; all truth known.
    rng = np.random.default_rng(10)
    truth = np.tile([0, 1], 40).astype(np.int8)
    says = (truth == 1) ^ (rng.random(80) < 0.2)
    whole = sparse_labels(np.arange(80), np.zeros(80, int), says, 1, truth)
    half = sparse_labels(np.arange(40), np.zeros(40, int), says[:40], 1, truth[:40])
    rest, marked = truth[40:], says[40:]
    carried = dawid_skene.Counted(
        *(
            np.array([float(np.sum(x))])
            for x in ((rest == 1) & marked, (rest == 1) & ~marked, (rest == 0) & ~marked, (rest == 0) & marked)
        )
    )
    found = dawid_skene.fit(half, prior(), temperature=1.0, carried=carried)
    expected = dawid_skene.fit(whole, prior(), temperature=1.0)
    assert found.belief.sensitivity.mean.item() == pytest.approx(expected.belief.sensitivity.mean.item(), rel=1e-9)


def test_hidden_truth_leaves_the_information_that_the_likelihoods_curvature_says():
    # Louis: evidence / (r (1 - r)) is the observed information on the rate r, which a second difference of the
    # marginal log-likelihood gives without any formula for missing information; the other rates are held fixed.
    sens, spec, share = np.array([0.7, 0.75, 0.65]), np.array([0.85, 0.8, 0.9]), 0.4
    labels, _ = simulate(sens, spec, n_lines=4000, per_line=3, share_wrong=share, seed=5)
    marks = np.asarray(labels.matrix.todense())[:, 1::2]  # (N, 3)

    def log_likelihood(first):
        rates = np.r_[first, sens[1:]]
        if_wrong = np.where(marks == 1, rates, 1 - rates).prod(1)
        if_ok = np.where(marks == 1, 1 - spec, spec).prod(1)
        return np.log(share * if_wrong + (1 - share) * if_ok).sum()

    best = minimize_scalar(lambda rate: -log_likelihood(rate), bounds=(0.3, 0.95), method="bounded").x
    step = 1e-3
    values = [log_likelihood(best + change) for change in (-step, 0, step)]
    information = -(values[0] - 2 * values[1] + values[2]) / step**2
    rates = np.r_[best, sens[1:]]
    odds = share / (1 - share) * (np.where(marks == 1, rates / (1 - spec), (1 - rates) / spec)).prod(1)
    sure = 1e6  # beliefs so strong that they are the rates
    belief = Belief(
        BetaCounts(rates * sure, (1 - rates) * sure),
        BetaCounts(rates * sure, (1 - rates) * sure),
        BetaCounts(spec * sure, (1 - spec) * sure),
    )
    steps = dawid_skene._Steps(prior(), None, share, 1, 0.0)
    _, evidence = dawid_skene._informed_belief(labels, steps, belief, odds / (1 + odds))
    n_effective = evidence.sensitivity.hits[0] + evidence.sensitivity.misses[0]
    assert n_effective / (best * (1 - best)) == pytest.approx(information, rel=0.05)
    assert n_effective < 0.7 * share * 4000  # a third is missing


def test_known_truth_hides_nothing():
    rates = np.full(4, 0.8)
    labels, truth = simulate(rates, rates, n_lines=200, per_line=2, share_wrong=0.3, seed=6, share_known=1.0)
    found = dawid_skene.fit(labels, prior())
    marks = labels.counts(truth.astype(float))
    np.testing.assert_allclose(found.evidence.sensitivity.hits, marks[:, 1])
    np.testing.assert_allclose(found.evidence.sensitivity.misses, marks[:, 0])
