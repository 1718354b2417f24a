"""The report: what it says, in both formats, from given findings."""

import re

import pandas as pd
import pytest

from crlhf.evaluation.report import Findings, draw_figures, render
from crlhf.schema import PPO_STEPS, RELIABILITIES, SCORES


def score(benchmark, policy, value, low, high):
    return {
        "benchmark": benchmark, "policy": policy, "protocol": f"{benchmark}/p-v1", "k": 1, "value": value,
        "low": low, "high": high, "n_problems": 16, "n_samples": 1,
    }  # fmt: skip


BINS = pd.DataFrame(
    [[0.0, 0.1, 20, 0.05, 0.1, 0.0, 0.2], [0.9, 1.0, 5, 0.95, 0.8, 0.6, 1.0]],
    columns=["low", "high", "n", "mean_probability", "share_true", "share_low", "share_high"],
)


@pytest.fixture
def findings():
    return Findings(
        policy_name="Model (dequantised) <b>",
        round="r1",
        is_simulated=True,
        scores=[score("humaneval", "base", 0.5, 0.25, 0.75), score("humaneval", "r1", 0.625, 0.375, 0.8125)],
        comparisons=[
            {
                "benchmark": "humaneval", "k": 1, "subset": "first 16 of 164", "policy": "r1",
                "difference": 0.125, "low": -0.0625,
                "high": 0.3125, "mcnemar_p": 0.625, "n_gained": 3, "n_lost": 1, "minimum_detectable_difference": 0.35,
            }
        ],
        stages={
            "honeypots": {
                "metrics": {
                    "label_noise/n_faults": 60,
                    "label_noise/with_original/exact": 0.75,
                    "label_noise/with_original/exact_low": 0.5,
                    "label_noise/with_original/exact_high": 0.9,
                    **{
                        f"label_noise/with_original/{rate}{end}": 0.25
                        for rate in ("precision", "recall", "noise")
                        for end in ("", "_low", "_high")
                    },
                },
                "checks": [],
            },
            "ppo": {"metrics": {}, "checks": [], "facts": {"stopped": "all epochs done"}},
            "rewards": {"metrics": {"simulated/aligned_score_rmse": 0.07}, "checks": []},
            "validated": {
                "metrics": {},
                "checks": [{"name": "x", "passed": False, "severity": "warning",
                 "description": "a | b", "n_unexpected": 3}],
            },
        },
        quarantine=[("line_out_of_range", 2)],
        provenance=[("git.commit", "abc"), ("md5 of problems", "0f")],
    )  # fmt: skip


@pytest.fixture
def tables():
    reliabilities = pd.DataFrame(
        [
            [
                "a-1",
                "e",
                0.9,
                0.8,
                0.95,
                0.8,
                0.6,
                0.9,
                0.95,
                0.9,
                0.99,
                "m",
                1.0,
                -1.0,
                9,
                9,
                3,
                1,
                1,
                1,
                1,
                1,
                1,
                True,
                "r",
            ],
            [
                "a-2",
                "e",
                0.5,
                0.4,
                0.60,
                0.1,
                0.0,
                0.3,
                0.90,
                0.8,
                0.97,
                "m",
                0.0,
                0.0,
                9,
                9,
                3,
                1,
                1,
                1,
                1,
                1,
                1,
                True,
                "r",
            ],
        ],
        columns=list(RELIABILITIES.column_names),
    )
    scores = pd.DataFrame(
        [["c", "p", "0f", 3, 5, 0.9, 0.7, 1.0, 0.4, 0.5, False, 0.9, 1, False],
         ["d", "p", "0f", 3, 5, 0.3, 0.1, 0.6, 0.4, 0.1, True, -0.1, 2, False]],
        columns=list(SCORES.column_names),
    )  # fmt: skip
    steps = pd.DataFrame(
        [[1, "score", 0.5], [2, "score", 0.6], [1, "kl_k3", None]], columns=list(PPO_STEPS.column_names)
    )
    return reliabilities, scores, steps, BINS


def test_both_pages_tell_the_scores_with_intervals_subset_and_protocol(findings, tables):
    html, markdown = render(findings, draw_figures(findings.pairs, *tables))
    for page in (html, markdown):
        for text in ("50.0", "62.5", "[25.0, 75.0]", "+12.5", "[-6.2, +31.2]", "first 16 of 164", "humaneval/p-v1"):
            assert text in page, text
        assert "The crowd of this run was simulated" in page
        assert "35.0 points is found in less than four of five such runs" in page
        assert "line_out_of_range 2" in page
        assert "aligned score rmse 0.070" in page
        assert "with original" in page
        assert "[50.0, 90.0]" in page
        assert "all epochs done" in page


def test_a_human_crowd_is_not_called_simulated(findings, tables):
    findings = findings._replace(is_simulated=False, stages={})
    html, markdown = render(findings, draw_figures(findings.pairs, *tables))
    assert "simulated" not in html
    assert "simulated" not in markdown


def test_html_is_self_contained_and_escapes_names(findings, tables):
    html, _ = render(findings, draw_figures(findings.pairs, *tables))
    assert "Model (dequantised) &lt;b&gt;" in html
    assert not re.search(r"<(script|link|img|iframe)\b", html)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html.replace("http://www.w3.org", ""))
    assert html.count("<svg") == 5


def test_a_pipe_cannot_break_a_markdown_table(findings, tables):
    _, markdown = render(findings, draw_figures(findings.pairs, *tables))
    assert "| validated | a \\| b | warning | 3 |" in markdown


def test_figures_depend_on_data_only(findings, tables):
    first, second = (draw_figures(findings.pairs, *tables) for _ in range(2))
    assert first == second
    assert all(figure.png.startswith(b"\x89PNG") for figure in first)


def test_a_gain_is_green_and_a_loss_is_red(findings, tables):
    gain = draw_figures(findings.pairs, *tables)[0].svg
    worse = findings._replace(scores=[findings.scores[0], findings.scores[1] | {"value": 0.25}])
    loss = draw_figures(worse.pairs, *tables)[0].svg
    assert "#2e7d4f" in gain
    assert "#c0392b" not in gain
    assert "#c0392b" in loss
    assert "#2e7d4f" not in loss


def test_a_run_without_benchmarks_says_so(findings, tables):
    findings = findings._replace(scores=[], comparisons=[])
    html, markdown = render(findings, draw_figures([], *tables))
    assert "No benchmark was scored." in html
    assert "No benchmark was scored." in markdown


def test_the_crowd_is_told_with_intervals_suspects_and_where_verdicts_are_wanted(findings, tables):
    metrics = {"held_out/ece": 0.031, "held_out/ece_low": 0.02, "held_out/ece_high": 0.045, "n_lazy": 1}
    told = findings._replace(
        stages=findings.stages | {"reliabilities": {"metrics": metrics, "checks": []}},
        suspects=[{"annotator_id": "a-2", "kind": "lazy", "evidence": "marked 0 of 90 lines | none", "strength": 4.0}],
        next_verdicts=[
            {
                "completion_id": "d",
                "n_annotators": 3,
                "score_sd": 0.21,
                "score_sd_next": 0.17,
                "gain": 0.1,
                "n_more": None,
            }
        ],
    )
    html, markdown = render(told, draw_figures(told.pairs, *tables))
    assert "| expected calibration error | 0.031 [0.020, 0.045] |" in markdown
    assert "| a-2 | lazy | marked 0 of 90 lines \\| none |" in markdown
    assert "| d | 3 | 0.210 | 0.170 | more than 10 |" in markdown
    assert "<td>a-2</td><td>lazy</td><td>marked 0 of 90 lines | none</td>" in html
    assert "No annotator stands out" not in markdown
    assert "No annotator stands out" in render(findings, draw_figures(findings.pairs, *tables))[1]


def test_both_pages_say_which_rounds_are_left_out_and_why(findings, tables):
    pages = render(findings._replace(left_out=[("r2", "its policy is old")]), draw_figures(findings.pairs, *tables))
    assert all("Round r2 is left out: its policy is old." in page for page in pages)
    assert not any("is left out" in page for page in render(findings, draw_figures(findings.pairs, *tables)))
