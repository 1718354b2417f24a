import pandas as pd

from crlhf.evaluation.report import choose_samples, samples_page


def scores(rewards):
    return pd.DataFrame(
        {
            "completion_id": [f"c{no}" for no in range(len(rewards))],
            "problem_id": "starter/1",
            "aligned_score": rewards,
            "aligned_score_low": 0.1,
            "aligned_score_high": 0.9,
            "p_all_correct": 0.5,
            "reward": rewards,
            "rank": 1,
            "is_tied": False,
            "n_annotators": 5,
            "is_truncated": False,
        }
    )


def page(code, posteriors, **options):
    table = pd.DataFrame(posteriors, columns=["completion_id", "line_no", "posterior", "n_ok", "n_wrong"])
    problems = pd.DataFrame({"problem_id": ["starter/1"], "prompt": ["Add <two> numbers."]})
    items = pd.DataFrame({"completion_id": ["c0"], "code": [code]})
    return samples_page("Round r1", ["c0"], problems, items, scores([0.5]), table, **{"is_simulated": True} | options)


def test_samples_are_spread_from_the_best_to_the_worst():
    chosen = choose_samples(scores([0.1, 0.9, 0.5, 0.7, 0.3]), 3)
    assert chosen == ["c1", "c2", "c0"]
    assert choose_samples(scores([0.1, 0.9]), 3) == ["c1", "c0"]
    assert choose_samples(scores([0.5, 0.5]), 1) == ["c0"]


def test_each_judged_line_shows_its_posterior_and_votes():
    html = page("x = 1\n\ny = 2", [("c0", 1, 0.98, 5, 0), ("c0", 3, 0.25, 1, 4)])
    assert '<tr><td>1</td><td class="code">x = 1</td><td>0.980</td><td>5</td><td>0</td></tr>' in html
    assert '<tr><td>2</td><td class="code"></td><td></td><td></td><td></td></tr>' in html
    assert '<tr class="d8"><td>3</td><td class="code">y = 2</td><td>0.250</td><td>1</td><td>4</td></tr>' in html


def test_code_cannot_become_markup():
    html = page("</td><script>alert(1)</script>", [("c0", 1, 0.5, 1, 1)])
    assert "<script" not in html
    assert "&lt;/td&gt;&lt;script&gt;" in html
    assert "Add &lt;two&gt; numbers." in html


def test_a_simulated_crowd_is_named():
    assert "was simulated" in page("x = 1", [("c0", 1, 0.9, 1, 0)])
    assert "was simulated" not in page("x = 1", [("c0", 1, 0.9, 1, 0)], is_simulated=False)
