"""What one training run does, on a policy of 30 000 weights."""

import math
from functools import partialmethod

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from crlhf.errors import CrlhfError, MissingInputError, ParamsError
from crlhf.policy.ppo import train_ppo, train_ppo_online
from tests.policy.ppo.tiny import (
    TEMPERATURE,
    WORDS,
    make_params,
    make_policy,
    make_tokenizer,
    plain_logprobs,
    sample_rollouts,
)


def train(folder, *, rollouts=None, model=None, seed=3, params=None, on_step=None, **more):
    model = model or make_policy()
    steps = []
    result = train_ppo(
        model,
        make_tokenizer(),
        sample_rollouts(model) if rollouts is None else rollouts,
        params or make_params(),
        temperature=TEMPERATURE,
        seed=seed,
        folder=folder,
        on_step=on_step or (lambda step, metrics: steps.append((step, metrics))),
        **more,
    )
    return result, steps


def weights(result):
    return load_file(result.weights / "adapter_model.safetensors") | load_file(result.value_head)


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_first_step_has_ratio_one_and_kl_zero(tmp_path):
    _, steps = train(tmp_path)
    first = steps[0][1]
    # Behaviour log-probabilities were computed without padding or packing, so they differ in the last float32 digits.
    assert first["gap_to_behaviour"] < 1e-6
    assert first["clip_fraction"] == 0.0
    assert abs(first["kl_k1"]) < 1e-5
    assert abs(first["kl_k3"]) < 1e-5
    assert steps[-1][1]["gap_to_behaviour"] > 1e-3  # and it does not stay there


def test_curves_have_a_point_for_each_step_and_are_finite(tmp_path):
    result, steps = train(tmp_path)
    # 8 completions in batches of 4, two epochs
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert result.n_steps == 4
    assert all(math.isfinite(value) for _, metrics in steps for value in metrics.values())
    plain = [{k: v for k, v in m.items() if not k.startswith("wall/")} | {"step": s} for s, m in steps]
    assert result.history == plain
    # Each epoch sees every completion once, so the mean over its steps of four is the mean of all scores.
    mean = sample_rollouts(make_policy())["reward"].mean()
    assert (steps[0][1]["score"] + steps[1][1]["score"]) / 2 == pytest.approx(mean, abs=1e-6)
    assert [m["learning_rate"] for _, m in steps] == pytest.approx([2e-3, 1.5e-3, 1e-3, 5e-4])


def test_base_weights_are_frozen_and_the_model_is_given_back_as_it_was(tmp_path):
    model = make_policy()
    before = {name: p.clone() for name, p in model.named_parameters()}
    prompt = torch.tensor([[4, 5, 6]])
    logits = model(input_ids=prompt).logits
    result, _ = train(tmp_path, model=model)
    assert same(before, dict(model.named_parameters()))
    assert torch.equal(model(input_ids=prompt).logits, logits)
    assert "value_head" not in dict(model.named_modules())
    assert any(tensor.any() for name, tensor in weights(result).items() if "lora_B" in name)


def test_the_saved_adapter_loads_and_is_what_the_curves_describe(tmp_path):
    from peft import PeftModel

    table = sample_rollouts(make_policy())
    result, _ = train(tmp_path / "a", rollouts=table, params=make_params(num_ppo_epochs=1))
    tuned = PeftModel.from_pretrained(make_policy(), result.weights)
    gaps = [
        abs(new - old)
        for row in table.itertuples()
        for new, old in zip(plain_logprobs(tuned, row.prompt_token_ids, row.token_ids), row.logprobs, strict=True)
    ]
    # A second run that starts from the adapter reports, before its first update, the gap of all completions.
    again, more = train(
        tmp_path / "b",
        rollouts=table,
        params=make_params(batch_size=8, num_ppo_epochs=1),
        start=tmp_path / "a",
    )
    assert more[0][1]["gap_to_behaviour"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-4)
    assert more[0][1]["kl_k3"] > 1e-4  # the reference is the base, not the adapter it started from
    assert not same(weights(again), weights(result))


def test_the_value_head_starts_at_the_mean_score_and_is_trained_at_its_own_rate(tmp_path):
    table = sample_rollouts(make_policy())
    one_step = {"batch_size": 8, "num_ppo_epochs": 1, "value_learning_rate": 0.01}
    head = load_file(train(tmp_path, rollouts=table, params=make_params(**one_step))[0].value_head)
    # Adam's first step moves a parameter by its learning rate, up or down.
    assert abs(float(head["bias"]) - table["reward"].mean()) == pytest.approx(0.01, rel=1e-3)
    moved = head["weight"].abs()
    assert float(moved.median()) == pytest.approx(0.01, rel=1e-2)


def test_value_loss_falls(tmp_path):
    # The score depends on the problem, so the value head can learn it.
    table = sample_rollouts(make_policy())
    table["reward"] = table["problem_id"].map({"p0": 0.1, "p1": 0.5, "p2": 0.9})
    params = make_params(
        num_ppo_epochs=20, value_learning_rate=0.02, batch_size=8, learning_rate=1e-5, cliprange_value=10.0
    )
    _, steps = train(tmp_path, rollouts=table, params=params)
    assert steps[-1][1]["value_loss"] < 0.2 * steps[0][1]["value_loss"]
    assert steps[-1][1]["explained_variance"] > 0.8


def test_old_logprobs_and_advantages_are_frozen_and_scores_follow_their_tokens(tmp_path, monkeypatch):
    from crlhf.policy.ppo import trainer

    table = sample_rollouts(make_policy())
    by_tokens = {tuple(row.token_ids): row for row in table.itertuples()}
    assert len(by_tokens) == len(table)  # so that tokens identify a completion
    seen = []
    packed = []
    real_pack, real_sums = trainer.pack_responses, trainer.token_sums

    def spy_pack(prompts, responses, pad_id):
        packed.append(list(zip(prompts, responses, strict=True)))
        return real_pack(prompts, responses, pad_id)

    def spy_sums(**tensors):
        for no, (prompt, response) in enumerate(packed[-1]):
            row, n = by_tokens[tuple(response)], len(response)
            assert prompt == row.prompt_token_ids
            assert float(tensors["scores"][no]) == pytest.approx(row.reward)
            assert tensors["old_logprobs"][no, :n].tolist() == pytest.approx(row.logprobs)
            assert int(tensors["response_mask"][no].sum()) == n
            seen.append(row.completion_id)
        return real_sums(**tensors)

    monkeypatch.setattr(trainer, "pack_responses", spy_pack)
    monkeypatch.setattr(trainer, "token_sums", spy_sums)
    train(tmp_path, rollouts=table, params=make_params(num_ppo_epochs=3))
    # 8 completions, three epochs, none twice in one and none left out
    for epoch in range(3):
        assert sorted(seen[8 * epoch : 8 * epoch + 8]) == sorted(table["completion_id"])
    assert seen[:8] != seen[8:16]


def test_micro_batches_change_nothing_but_rounding(tmp_path):
    _, steps_one = train(tmp_path / "1", params=make_params(micro_batch_size=1))
    _, steps_four = train(tmp_path / "4", params=make_params(micro_batch_size=4))
    for (_, left), (_, right) in zip(steps_one, steps_four, strict=True):
        assert left["policy_loss"] == pytest.approx(right["policy_loss"], abs=1e-4)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-3)


def test_gradient_checkpointing_changes_nothing_but_rounding(tmp_path):
    plain, _ = train(tmp_path / "plain")
    saved, _ = train(tmp_path / "saved", params=make_params(gradient_checkpointing=True))
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(saved)[name], tensor, atol=1e-5, rtol=1e-4)


def test_bfloat16_passes_change_little_and_keep_float32_weights(tmp_path):
    plain, steps = train(tmp_path / "plain")
    rough, rough_steps = train(tmp_path / "bf16", params=make_params(bf16=True))
    assert {tensor.dtype for tensor in weights(rough).values()} == {torch.float32}
    assert not same(weights(rough), weights(plain))
    # bfloat16 has 8 bits: log-probabilities near -3 are off by a hundredth or two
    assert rough_steps[0][1]["gap_to_behaviour"] < 0.05
    for (_, left), (_, right) in zip(steps, rough_steps, strict=True):
        assert left["score"] == pytest.approx(right["score"])
        assert left["entropy"] == pytest.approx(right["entropy"], abs=0.05)


def test_full_fine_tuning_trains_all_weights_and_stores_a_whole_policy(tmp_path):
    from transformers import AutoModelForCausalLM

    before = dict(make_policy().named_parameters())
    result, steps = train(tmp_path / "a", params=make_params(fine_tuning="full", learning_rate=1e-3))
    tuned = AutoModelForCausalLM.from_pretrained(result.weights)
    assert all(not torch.equal(before[name], p) for name, p in tuned.named_parameters())
    assert abs(steps[0][1]["kl_k1"]) < 1e-5
    assert steps[-1][1]["kl_k3"] > 1e-3
    # The next round starts from these weights and is measured against the base.
    table = sample_rollouts(make_policy())
    gaps = [
        abs(new - old)
        for row in table.itertuples()
        for new, old in zip(plain_logprobs(tuned, row.prompt_token_ids, row.token_ids), row.logprobs, strict=True)
    ]
    params = make_params(fine_tuning="full", learning_rate=1e-3, batch_size=8, num_ppo_epochs=1)
    _, more = train(tmp_path / "b", rollouts=table, params=params, start=tmp_path / "a")
    assert more[0][1]["gap_to_behaviour"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-4)
    assert more[0][1]["kl_k3"] > 1e-4


def test_the_next_round_starts_from_a_large_policy_in_shards_as_from_one_file(tmp_path, monkeypatch):
    model, whole = make_policy(), make_params(fine_tuning="full", learning_rate=1e-3, num_ppo_epochs=1)
    result, _ = train(tmp_path / "file", params=whole)
    own = type(model).save_pretrained
    monkeypatch.setattr(type(model), "save_pretrained", partialmethod(own, max_shard_size="40KB"))
    shards, _ = train(tmp_path / "shards", params=whole)
    assert (result.weights / "model.safetensors").is_file()
    assert len(list(shards.weights.glob("model-*.safetensors"))) > 1
    one, _ = train(tmp_path / "after file", params=whole, start=tmp_path / "file")
    other, _ = train(tmp_path / "after shards", params=whole, start=tmp_path / "shards")
    assert other.history == one.history
    lost = sorted(shards.weights.glob("model-*.safetensors"))[0]
    lost.unlink()
    with pytest.raises(MissingInputError, match=rf"{lost.name}: no weights to start from"):
        train(tmp_path / "after loss", params=whole, start=tmp_path / "shards")


def test_equal_runs_end_with_equal_bytes_and_another_seed_does_not(tmp_path):
    first, _ = train(tmp_path / "1")
    again, _ = train(tmp_path / "2")
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "value_head.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert first.history == again.history
    assert not same(weights(train(tmp_path / "3", seed=4)[0]), weights(first))


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    rollouts = sample_rollouts(make_policy(seed=0))
    torch.manual_seed(9)
    train(tmp_path, rollouts=rollouts, model=_without_drawing())
    assert torch.equal(torch.rand(3), expected)


def _without_drawing():
    state = torch.random.get_rng_state()
    model = make_policy()
    torch.random.set_rng_state(state)
    return model


def test_training_stops_before_the_update_that_would_leave_the_allowed_kl(tmp_path):
    table = sample_rollouts(make_policy())
    fast = {"learning_rate": 0.05, "num_ppo_epochs": 4}
    steps = []

    def until_too_far(step, metrics):
        steps.append(metrics)
        if metrics["kl_k3"] > 0.05:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "free", rollouts=table, params=make_params(**fast, max_kl=1e9), on_step=until_too_far)
    first = len(steps)
    stopped, seen = train(tmp_path / "stopped", rollouts=table, params=make_params(**fast, max_kl=0.05))
    assert first < 8
    assert stopped.n_steps == first == seen[-1][0]
    assert "above ppo.max_kl = 0.05" in stopped.stopped_reason
    # Its update is not made: the weights are those of the step before, which the free run kept in a checkpoint.
    kept = tmp_path / "free" / "checkpoints" / f"checkpoint-{first - 1}"
    before = load_file(kept / "adapter_model.safetensors") | load_file(kept / "value_head.safetensors")
    assert same(weights(stopped), before)


def test_training_stops_when_completions_change_their_length(tmp_path):
    start, _ = train(tmp_path / "a", params=make_params(num_ppo_epochs=1))
    table = sample_rollouts(make_policy(), length=12)  # twice as long as those of the first round
    result, steps = train(
        tmp_path / "b", rollouts=table, start=tmp_path / "a", params=make_params(max_length_drift=0.5)
    )
    mean, first = table["token_ids"].map(len).mean(), sample_rollouts(make_policy())["token_ids"].map(len).mean()
    assert steps[0][1]["length_drift"] == pytest.approx(mean / first - 1, abs=0.3)
    assert (result.n_steps, "longer than at the start" in result.stopped_reason) == (1, True)
    assert same(weights(result), weights(start))


def test_an_adaptive_kl_coefficient_rises_with_the_kl_and_is_passed_on_to_the_next_round(tmp_path):
    adaptive = {"kl_control": "adaptive", "kl_target": 1e-4, "kl_horizon": 40.0, "kl_coef": 0.1}
    first, steps = train(tmp_path / "a", params=make_params(**adaptive))
    assert {metrics["kl_coef"] for _, metrics in steps} == {0.1}
    # The KL of the last epoch is far above the target: a fifth of 8 completions of a horizon of 40.
    assert first.kl_coef == pytest.approx(0.1 * (1 + 0.2 * 8 / 40))
    _, steps = train(tmp_path / "b", params=make_params(**adaptive), start=tmp_path / "a")
    assert steps[0][1]["kl_coef"] == first.kl_coef


def test_a_fixed_kl_coefficient_is_that_of_the_params_in_every_round(tmp_path):
    train(tmp_path / "a", params=make_params(kl_coef=0.05, num_ppo_epochs=1))
    second, steps = train(tmp_path / "b", params=make_params(kl_coef=0.5, num_ppo_epochs=1), start=tmp_path / "a")
    assert {metrics["kl_coef"] for _, metrics in steps} == {second.kl_coef} == {0.5}


def test_an_entropy_bonus_keeps_the_entropy_higher(tmp_path):
    fast = {"learning_rate": 0.02, "num_ppo_epochs": 4}
    _, plain = train(tmp_path / "plain", params=make_params(**fast))
    _, bonus = train(tmp_path / "bonus", params=make_params(**fast, entropy_coef=0.5))
    assert bonus[-1][1]["entropy"] > plain[-1][1]["entropy"] + 0.01


def test_whitened_rewards_start_the_value_head_at_their_mean(tmp_path):
    params = make_params(whiten_rewards=True, kl_coef=0.0, batch_size=8, num_ppo_epochs=1, value_learning_rate=1e-9)
    table = sample_rollouts(make_policy())
    head = load_file(train(tmp_path, rollouts=table, params=params)[0].value_head)
    tokens = [0.0] * int(table["token_ids"].map(len).sum() - len(table)) + table["reward"].tolist()
    assert float(head["bias"]) == pytest.approx(table["reward"].mean() / pd.Series(tokens).std(), rel=1e-5)


def test_a_loss_that_is_not_finite_is_a_clear_error(tmp_path):
    table = sample_rollouts(make_policy())
    table["reward"] = 3e38  # its square is beyond float32
    with pytest.raises(CrlhfError, match=r"PPO diverged at step 1: the loss is .*lower ppo\.learning_rate"):
        train(tmp_path, rollouts=table, params=make_params(center_per_problem=False, whiten_advantages=False))


def score_of_low_words(response):
    """The toy task: the share of words from the lower half of the vocabulary."""
    return sum(token < WORDS // 2 for token in response) / len(response)


def mean_score(model):
    table = sample_rollouts(model, n_problems=4, n_samples=200, seed=77, score=score_of_low_words)
    return table["reward"].mean()


@pytest.mark.parametrize("shuffled", [False, True])
def test_mean_reward_rises_in_replay_unless_rewards_are_shuffled(tmp_path, shuffled):
    from peft import PeftModel

    model, start = make_policy(), None
    before = mean_score(model)
    params = make_params(batch_size=24, micro_batch_size=24, num_ppo_epochs=4, learning_rate=0.02, kl_coef=0.01)
    for round_no in range(3):
        table = sample_rollouts(model, n_problems=4, n_samples=24, seed=round_no + 1, score=score_of_low_words)
        if shuffled:
            by_problem = table.groupby("problem_id")["reward"]
            table["reward"] = by_problem.transform(lambda scores: scores.sample(frac=1, random_state=0).values)
        result, steps = train(tmp_path / str(round_no), rollouts=table, params=params, start=start)
        model, start = PeftModel.from_pretrained(make_policy(), result.weights), tmp_path / str(round_no)
    rise = mean_score(model) - before
    # One score varies by 0.22; the mean of 799 by 0.008, so 0.1 is nine standard errors of a difference.
    assert abs(rise) < 0.1 if shuffled else rise > 0.2
    assert steps[-1][1]["kl_k3"] < 10.0


def test_mean_reward_rises_online(tmp_path):
    tokenizer = make_tokenizer()

    def reward(prompts, completions):
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in completions]
        return [score_of_low_words(tokens) if tokens else None for tokens in ids]

    steps = []
    train_ppo_online(
        make_policy(),
        tokenizer,
        ["w4 w5 w6", "w20 w7", "w9"],
        reward,
        make_params(batch_size=12, micro_batch_size=12, num_ppo_epochs=2, learning_rate=0.01, kl_coef=0.01),
        n_per_prompt=8,
        n_rounds=6,
        max_new_tokens=6,
        temperature=TEMPERATURE,
        seed=5,
        folder=tmp_path,
        on_step=lambda step, metrics: steps.append(metrics),
    )
    # 24 completions in steps of 12, two epochs, six rounds
    assert len(steps) == 24
    scores = pd.Series([metrics["score"] for metrics in steps])
    assert scores[-4:].mean() > scores[:4].mean() + 0.1
    assert 0.01 < steps[-1]["kl_k3"] < 10.0
    # The first step of each round meets the policy that drew its completions.
    assert all(metrics["gap_to_behaviour"] < 1e-6 for metrics in steps[::4])


@pytest.mark.parametrize("fine_tuning", ["lora", "full"])
def test_online_completions_end_with_the_token_that_completes_a_stop_string(fine_tuning, tmp_path, monkeypatch):
    model, tokenizer, told, drawn = make_policy(), make_tokenizer(), [], []
    own = type(model).generate

    def generate(model, **kwargs):
        found = own(model, **kwargs)
        drawn.append(found[:, kwargs["input_ids"].shape[1] :])
        return found

    def reward(prompts, completions):
        told.append(completions)
        return [0.5] * len(completions)

    def go(folder, **more):
        steps = []
        train_ppo_online(
            model,
            tokenizer,
            ["w4 w5 w6", "w20 w7 w9"],
            reward,
            make_params(num_ppo_epochs=1, batch_size=48, micro_batch_size=16, fine_tuning=fine_tuning),
            n_per_prompt=24,
            n_rounds=1,
            max_new_tokens=8,
            temperature=TEMPERATURE,
            seed=5,
            folder=tmp_path / folder,
            on_step=lambda step, metrics: steps.append(metrics),
            **more,
        )
        return steps[0]["length"]

    free = go("free")
    word = pd.Series([w for text in told[0] for w in text.split()[:4]]).value_counts().index[0]
    model = make_policy()
    monkeypatch.setattr(type(model), "generate", generate)
    stopped = go("stopped", stops=[word])
    ends = [text.split().index(word) + 1 for text in told[1] if word in text.split()]
    assert len(ends) > 4
    assert all(text.split()[-1] == word for text in told[1] if word in text.split())
    assert stopped < free
    assert "generate" not in vars(model)  # the model is lent: it is given back as it was
    rows = [tokenizer.decode(row).split() for row in drawn[0]]
    after = {other for row in rows if word in row for other in row[row.index(word) + 1 :]}
    assert after <= {"<pad>"}  # nothing was written after the stop


def test_vllm_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ParamsError, match="vLLM is not installed"):
        train_ppo_online(
            make_policy(),
            make_tokenizer(),
            ["w4"],
            lambda prompts, completions: [0.0] * len(completions),
            make_params(),
            n_per_prompt=1,
            n_rounds=1,
            max_new_tokens=2,
            temperature=TEMPERATURE,
            seed=0,
            folder=tmp_path,
            on_step=lambda step, metrics: None,
            use_vllm=True,
        )


def test_a_start_that_lacks_a_part_or_has_another_shape_is_named(tmp_path):
    train(tmp_path / "a", params=make_params(num_ppo_epochs=1))
    with pytest.raises(ParamsError, match=r"has r = 4, params\.yaml asks for 8"):
        train(tmp_path / "b", start=tmp_path / "a", params=make_params(lora_r=8))
    (tmp_path / "a" / "value_head.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"value_head\.safetensors: the round to start from"):
        train(tmp_path / "b", start=tmp_path / "a")


def test_scores_placed_line_by_line_are_learned_from_where_they_lie(tmp_path):
    """Each word is a line of its own, right if it is a low word; the shares of a completion sum to 1."""
    from peft import PeftModel

    model, start = make_policy(), None
    before = mean_score(model)
    params = make_params(batch_size=24, micro_batch_size=24, num_ppo_epochs=4, learning_rate=0.02, kl_coef=0.01)
    for round_no in range(2):
        table = sample_rollouts(model, n_problems=4, n_samples=24, seed=round_no + 1, score=score_of_low_words)
        shares = [[1 / len(ids)] * len(ids) for ids in table["token_ids"]]
        placed = [[(token < WORDS // 2) / len(ids) for token in ids] for ids in table["token_ids"]]
        table = table.assign(token_scores=placed, token_shares=shares)
        result, _ = train(tmp_path / str(round_no), rollouts=table, params=params, start=start)
        model, start = PeftModel.from_pretrained(make_policy(), result.weights), tmp_path / str(round_no)
    # Two rounds, where the last-token test takes three; nine standard errors of a difference are 0.1.
    assert mean_score(model) - before > 0.2
