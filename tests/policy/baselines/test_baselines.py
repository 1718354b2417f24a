"""Each baseline on a policy of 30 000 weights: what it learns from, what it learns, and that it resumes exactly."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from crlhf.errors import InputError
from crlhf.params import TuningParams
from crlhf.policy.baselines import train_baseline, train_reward_model
from crlhf.policy.baselines.groups import Response, best_of, groups_of, ranked_pairs, spread_groups
from crlhf.policy.baselines.replay import StoredGroups
from crlhf.policy.baselines.trainers import make_trainer
from crlhf.policy.ppo.tuning import LoraTuning
from crlhf.rewards.scores import add_ranking

_spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parents[1] / "ppo" / "tiny.py")
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

METHODS = ("sft", "dpo", "grpo", "rloo")


def small_words(tokens):
    """The share of tokens below 12: what the toy crowd likes."""
    return sum(token < 12 for token in tokens) / len(tokens)


def rollouts(model, **sizes):
    return tiny.sample_rollouts(model, score=small_words, **sizes)


def run(method, model, table, folder, *, on_step=lambda step, curves: None, start=None, **changes):
    return train_baseline(
        model,
        tiny.make_tokenizer(),
        table,
        tiny.make_params(**changes),
        TuningParams(method=method),
        temperature=tiny.TEMPERATURE,
        seed=3,
        folder=folder,
        on_step=on_step,
        start=start,
    )


def table_of(rows):
    return pd.DataFrame(
        [(f"c{no}", problem, [5], [token], reward) for no, (problem, token, reward) in enumerate(rows)],
        columns=["completion_id", "problem_id", "prompt_token_ids", "token_ids", "reward"],
    )


def test_groups_follow_the_ranking_and_ties_give_no_pair():
    groups = groups_of(table_of([("p", 2, 0.5), ("p", 3, 0.9), ("p", 4, 0.5), ("q", 6, 0.1), ("q", 7, 0.1)]))
    assert [group.responses for group in groups] == [
        [Response([3], 0.9), Response([2], 0.5), Response([4], 0.5)],
        [Response([6], 0.1), Response([7], 0.1)],
    ]
    assert [(pair.chosen, pair.rejected, round(pair.margin, 9)) for pair in ranked_pairs(groups)] == [
        ([3], [2], 0.4),
        ([3], [4], 0.4),
    ]
    assert [response.tokens for _, response in best_of(groups, keep=2)] == [[3]]  # 0.5 is no better than the worst
    assert [group.problem_id for group in spread_groups(groups)] == ["p"]


def test_rewards_that_the_ranking_ties_give_no_pair_and_no_target():
    table = table_of([("p", 2, 0.1 + 0.2), ("p", 3, 0.3), ("q", 4, 0.3 + 2e-9), ("q", 5, 0.3)])
    ranked = add_ranking(table)
    groups = groups_of(table)
    assert ranked["is_tied"].tolist() == [True, True, False, False]
    assert [(pair.chosen, pair.rejected) for pair in ranked_pairs(groups)] == [([4], [5])]
    assert [response.tokens for _, response in best_of(groups, keep=1)] == [[4]]
    assert [group.problem_id for group in spread_groups(groups)] == ["q"]


def test_completions_of_one_problem_share_their_prompt():
    table = table_of([("p", 2, 0.5), ("p", 3, 0.9)])
    table.at[1, "prompt_token_ids"] = [6]
    with pytest.raises(InputError, match="problem p have 2 different prompts"):
        groups_of(table)


def test_a_smaller_group_repeats_its_best_without_a_reward():
    stored = StoredGroups(
        groups_of(table_of([("p", 2, 0.5), ("p", 3, 0.9), ("q", 6, 0.2), ("p", 4, 0.1), ("q", 7, 0.3)])),
        batch_size=6,
    )
    drawn = stored.draw(["0", "0", "0", "1", "1", "1"])
    assert [response.tokens[0] for _, response, _ in drawn] == [3, 2, 4, 7, 6, 7]
    assert [reward for _, _, reward in drawn] == [0.9, 0.5, 0.1, 0.3, 0.2, None]


@pytest.mark.parametrize(
    ("n_problems", "steps"),
    [(9, [12] * 3), (10, [16] * 3), (11, [16] * 3), (13, [13] * 4), (15, [15] * 4), (16, [16] * 4)],
)
def test_grpo_and_rloo_make_as_many_steps_an_epoch_as_ppo(n_problems, steps):
    groups = groups_of(table_of([(f"p{no}", 2 + k, 0.1 * k) for no in range(n_problems) for k in range(4)]))
    stored = StoredGroups(groups, batch_size=16)
    assert [stored.per_step] * (len(stored) * 4 // stored.per_step) == steps
    assert len(steps) == math.ceil(n_problems * 4 / 16)
    fillers = stored.draw([row["prompt"] for row in stored.rows for _ in range(4)])[n_problems * 4 :]
    assert [(len(response.tokens), reward) for _, response, reward in fillers] == [(1, None)] * len(fillers)


@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_fillers_have_no_advantage_and_take_none_from_others(method, tmp_path):
    # 5 problems of 4 at a batch size of 8: 20 rows become 24, in 3 steps
    model = tiny.make_policy()
    groups = spread_groups(groups_of(rollouts(model, n_problems=9, n_samples=4)))
    groups = [group for group in groups if len(group.responses) == 4][:5]
    seen = {}
    for batch_size in (8, 20):
        params = tiny.make_params(batch_size=batch_size, micro_batch_size=4)
        policy, peft_config = LoraTuning(params, None).prepared(tiny.make_policy())
        trainer = make_trainer(
            method,
            policy,
            tiny.make_tokenizer(),
            groups,
            params,
            TuningParams(method=method),
            temperature=tiny.TEMPERATURE,
            seed=3,
            folder=tmp_path / str(batch_size),
            peft_config=peft_config,
        )
        trainer.model.train()
        rows = trainer._generate_and_score_completions([row for row in trainer.stored.rows for _ in range(4)])
        seen[batch_size] = rows["advantages"]
    assert len(seen[8]) == 24
    assert seen[8][:20].tolist() == pytest.approx(seen[20].tolist(), abs=1e-5)
    assert seen[8][20:].tolist() == [0.0] * 4
    assert seen[20].abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_equal_rewards_teach_nothing_and_say_so(method, tmp_path):
    with pytest.raises(InputError, match=f"{method}: in no problem do the rewards"):
        run(method, tiny.make_policy(), table_of([("p", 2, 0.5), ("p", 3, 0.5)]), tmp_path)


def test_sft_starts_at_the_entropy_of_the_best_completions(tmp_path):
    model, losses = tiny.make_policy(), []
    table = rollouts(model)
    best = best_of(spread_groups(groups_of(table)), keep=1)
    nats = [tiny.plain_logprobs(model, g.prompt, r.tokens, temperature=1.0) for g, r in best]
    expected = -sum(map(sum, nats)) / sum(map(len, nats))
    whole = {"batch_size": 8, "micro_batch_size": 8, "num_ppo_epochs": 1}
    run("sft", model, table, tmp_path, on_step=lambda step, curves: losses.append(curves["loss"]), **whole)
    assert losses == [pytest.approx(expected, abs=1e-4)]


def test_dpo_starts_at_log_2_where_policy_and_reference_are_one(tmp_path):
    model, losses = tiny.make_policy(), []
    run("dpo", model, rollouts(model), tmp_path, on_step=lambda step, curves: losses.append(curves["loss"]))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_better_completions_gain_on_worse_ones(method, tmp_path):
    model = tiny.make_policy()
    table = rollouts(model, n_problems=4, n_samples=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def lead(policy):
        """Mean log-probability a token of the best completion of each problem less that of the worst."""
        found = []
        for group in spread_groups(groups_of(table)):
            best, worst = group.responses[0].tokens, group.responses[-1].tokens
            means = [sum(x) / len(x) for x in (tiny.plain_logprobs(policy, group.prompt, t) for t in (best, worst))]
            found.append(means[0] - means[1])
        return sum(found) / len(found)

    start = lead(model)
    result = run(method, model, table, tmp_path, num_ppo_epochs=4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    from peft import PeftModel

    assert lead(PeftModel.from_pretrained(model, result.adapter)) > start + 0.05


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_ends_with_the_same_weights(method, tmp_path):
    table = rollouts(tiny.make_policy())
    whole = run(method, tiny.make_policy(), table, tmp_path / "whole")

    def interrupt(step, curves):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(method, tiny.make_policy(), table, tmp_path / "cut", on_step=interrupt)
    resumed = run(method, tiny.make_policy(), table, tmp_path / "cut")
    assert resumed.resumed_from_step == 2
    weights = "adapter_model.safetensors"
    assert (resumed.adapter / weights).read_bytes() == (whole.adapter / weights).read_bytes()
    assert resumed.history == whole.history
    again = run(method, tiny.make_policy(), table, tmp_path / "cut", on_step=interrupt)
    assert again.n_steps == whole.n_steps  # finished: nothing is trained


@pytest.mark.parametrize("method", ["dpo", "grpo", "rloo"])
def test_the_reference_stays_the_base_when_an_adapter_is_trained_on(method, tmp_path):
    model = tiny.make_policy()
    table = rollouts(model)
    run(method, model, table, tmp_path / "first", num_ppo_epochs=4)
    curves = []
    go_on = {"on_step": lambda step, found: curves.append(found), "start": tmp_path / "first"}
    run(method, tiny.make_policy(), table, tmp_path / "second", **go_on)
    start = abs(curves[0]["loss"] - math.log(2)) if method == "dpo" else abs(curves[0]["kl"])
    assert start > 1e-4  # a copy of the adapter as reference would start at 0


@pytest.mark.parametrize("stop", [[], [22, 23]], ids=["no stop", "stop"])
def test_a_reward_model_learns_the_ranking_on_the_scale_of_the_scores(stop, tmp_path):
    """The same with a stop string, whose tokens are stored and which nobody sees: what it learns is what it scores."""
    model, tokenizer = tiny.make_policy(), tiny.make_tokenizer()
    model.save_pretrained(tmp_path / "base")
    table = rollouts(model, n_problems=6, n_samples=6)
    table["token_ids"] = [tokens + stop for tokens in table["token_ids"]]
    found = train_reward_model(
        tmp_path / "base",
        tokenizer,
        table,
        tiny.make_params(),
        TuningParams(method="reward_model", reward_model_epochs=6),
        seed=3,
        work=tmp_path / "work",
        on_step=lambda step, curves: None,
        cut=lambda text: text.split(" w22 w23")[0],
    )
    assert found.n_pairs == len(ranked_pairs(groups_of(table)))
    assert found.pair_accuracy > 0.9
    prompts = [tokenizer.decode(ids) for ids in table["prompt_token_ids"]]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in table["token_ids"]]  # as PPO hands them over
    scores = pd.Series(found.score(prompts, texts))
    assert scores.mean() == pytest.approx(table["reward"].mean(), abs=1e-4)
    assert scores.std(ddof=0) == pytest.approx(table["reward"].std(ddof=0), abs=1e-4)
    assert scores.corr(table["reward"], method="spearman") > 0.8
    assert not (tmp_path / "work").exists()
