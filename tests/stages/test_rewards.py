"""The chain over lines, and honeypots that may refuse it."""

import json

import numpy as np
import pandas as pd
import pytest

from crlhf.rewards import fit_to_posteriors, gain_on_known
from crlhf.rewards.line_chain import independent
from crlhf.stages.rewards import _proven_chain

LINES = 10


def table(names, evidence):
    """Columns of LINE_POSTERIORS that the chain looks at."""
    return pd.DataFrame(
        {
            "completion_id": np.repeat(names, LINES),
            "line_no": np.tile(np.arange(1, LINES + 1), len(names)),
            "evidence": evidence.ravel(),
        }
    )


def programs(n, rng):
    """(n, 10) truth: half of the programs have no wrong line, the others a run of five."""
    is_wrong = np.zeros((n, LINES), bool)
    for row in np.flatnonzero(rng.random(n) < 0.5):
        begin = rng.integers(0, 6)
        is_wrong[row, begin : begin + 5] = True
    return is_wrong


def judged(is_wrong, one_answer, rng):
    """Evidence of three annotators who are right on 75 %, or give a share of the programs one answer."""
    marks = rng.random((3, *is_wrong.shape)) < np.where(is_wrong, 0.75, 0.25)
    lazy = rng.random((3, len(is_wrong), 1)) < one_answer
    marks = np.where(lazy, rng.random((3, len(is_wrong), 1)) < 0.5, marks)
    return (3 - 2 * marks.sum(0)) * np.log(3.0)


def key(names, is_wrong):
    wrong = [(np.flatnonzero(row) + 1).tolist() for row in is_wrong]
    return pd.DataFrame({"completion_id": names, "is_honeypot": True, "wrong_line_nos": wrong})


def chain_of(is_wrong, of_honeypots, one_answer, rng):
    completions = [f"c{n:03d}" for n in range(len(is_wrong))]
    honeypots = [f"h{n:03d}" for n in range(len(of_honeypots))]
    return _proven_chain(
        table(completions, judged(is_wrong, one_answer, rng)),
        table(honeypots, judged(of_honeypots, one_answer, rng)),
        key(honeypots, of_honeypots),
        0.75,
    )


@pytest.mark.parametrize("seed", range(5))
def test_honeypots_keep_a_chain_that_the_truth_follows(seed):
    rng = np.random.default_rng(seed)
    chain, metrics = chain_of(programs(200, rng), programs(40, rng), 0.0, rng)
    assert chain is not None
    assert metrics["chain/nats_on_honeypots"] > 0
    assert metrics["chain/wrong_after_wrong"] == round(float(chain.transition[2, 2]), 9)
    json.dumps(metrics)


@pytest.mark.parametrize("seed", range(5))
def test_honeypots_refuse_a_chain_that_annotators_habits_made(seed):
    rng = np.random.default_rng(seed)
    is_wrong = rng.random((240, LINES)) < 0.25
    chain, metrics = chain_of(is_wrong[:200], is_wrong[200:], 0.4, rng)
    assert chain is None
    assert metrics["chain/nats_on_honeypots"] < -5


def test_without_honeypots_the_chain_is_taken_on_trust():
    rng = np.random.default_rng(0)
    none = np.zeros((0, LINES), bool)
    chain, metrics = chain_of(programs(100, rng), none, 0.0, rng)
    assert chain is not None
    assert metrics["chain/nats_on_honeypots"] == 0


def test_the_gain_on_known_lines_is_their_log_odds_of_being_told_right():
    # One line, evidence 0: the chain says P(wrong) = 0.4, independent lines 0.2.
    chain = independent(0.6)
    one = (np.zeros(1), np.zeros(1, np.int64))
    assert gain_on_known(chain, *one, np.array([True]), 0.8) == pytest.approx(np.log(0.4 / 0.2))
    assert gain_on_known(chain, *one, np.array([False]), 0.8) == pytest.approx(np.log(0.6 / 0.8))
    rng = np.random.default_rng(1)
    found = table(["a", "b"], judged(programs(2, rng), 0.0, rng))
    assert gain_on_known(fit_to_posteriors(found, 0.7), np.empty(0), np.empty(0, np.int64), np.empty(0, bool), 0.7) == 0
