import pytest

from crlhf.evaluation.pass_at_k import PassCount
from crlhf.evaluation.scores import Bootstrap, compare, mean_over_models, score, too_few_samples

BOOTSTRAP = Bootstrap(2000, 0.95, 1)


def counts(*pairs):
    return {f"humaneval/{number}": PassCount(*pair) for number, pair in enumerate(pairs)}


def test_a_score_is_the_mean_of_the_unbiased_estimates_whatever_n():
    # pass@1 = c / n: 1/2, 1/4 and 1; their mean is 7/12
    assert score(counts((2, 1), (4, 1), (3, 3)), 1, BOOTSTRAP).value == pytest.approx(7 / 12, abs=1e-12)


def test_a_problem_with_fewer_samples_than_k_is_refused():
    assert too_few_samples(counts((2, 1), (4, 1)), 3) == ["humaneval/0"]
    with pytest.raises(ValueError, match="pass@3"):
        score(counts((2, 1), (4, 1)), 3, BOOTSTRAP)


def test_mcnemar_is_for_one_sample_a_problem():
    # 5 problems only the second solved, 1 only the first: p = 2 (C(6,0) + C(6,1)) / 2^6 = 14/64
    first = counts(*[(1, 0)] * 5, (1, 1), (1, 1))
    second = counts(*[(1, 1)] * 5, (1, 0), (1, 1))
    found = compare(first, second, 1, BOOTSTRAP)
    assert found.mcnemar_p == pytest.approx(14 / 64)
    assert (found.n_gained, found.n_lost) == (5, 1)
    assert found.difference.value == pytest.approx(4 / 7)
    assert compare(counts((2, 1), (1, 0)), counts((2, 2), (1, 0)), 1, BOOTSTRAP).mcnemar_p is None


def test_problems_are_paired_by_name_not_by_place():
    first = counts((1, 0), (1, 1))
    second = dict(reversed(counts((1, 0), (1, 1)).items()))
    assert compare(first, second, 1, BOOTSTRAP).difference.value == 0


def test_other_problems_are_refused():
    with pytest.raises(ValueError, match="same problems"):
        compare(counts((1, 0)), counts((1, 0), (1, 1)), 1, BOOTSTRAP)


def test_the_mean_over_models_is_taken_problem_by_problem():
    models = [counts((2, 1), (2, 0)), counts((2, 2), (4, 1))]
    assert mean_over_models(models, 1) == pytest.approx([0.75, 0.125])
    with pytest.raises(ValueError, match="same problems"):
        mean_over_models([counts((1, 1)), counts((1, 1), (1, 0))], 1)
