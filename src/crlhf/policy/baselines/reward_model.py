"""Traditional RLHF, the other half of the paper's Figure 1: a reward model learns the rankings, PPO learns from it.

The reward model is the base policy with a scalar head and a LoRA adapter, trained by TRL's RewardTrainer on every pair
of completions that the consensual ranking orders (Bradley-Terry: P(a above b) = sigmoid(r_a - r_b)). Its scores are
then moved to the mean and standard deviation of the aligned scores, so that `ppo.kl_coef` means what it means there.
PPO samples the policy anew and asks the model, not the crowd.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from crlhf.errors import InputError
from crlhf.params import PPOParams, TuningParams
from crlhf.policy.baselines.groups import Pair, groups_of, ranked_pairs
from crlhf.policy.baselines.train import OnStep, Progress

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 8


class RewardModel(NamedTuple):
    """A trained reward model as a function of model inputs and completions.

    Attributes:
        score: model inputs and completions (texts) to rewards, on the scale of the aligned scores.
        pair_accuracy: share of the ranked pairs that it orders as the crowd did; these are the pairs it learned from.
        n_pairs: how many those are.
    """

    score: Callable[[list[str], list[str]], list[float]]
    pair_accuracy: float
    n_pairs: int


def train_reward_model(
    folder: Path,
    tokenizer: Any,
    rollouts: pd.DataFrame,
    params: PPOParams,
    tuning: TuningParams,
    *,
    seed: int,
    work: Path,
    on_step: OnStep,
    progress: Progress | None = None,
    cut: Callable[[str], str] = str,
) -> RewardModel:
    """Train a reward model on the consensual ranking.

    Args:
        folder: the base policy's weights; they are loaded a second time, with a scalar head.
        tokenizer: of the policy.
        rollouts: columns completion_id, problem_id, prompt_token_ids, token_ids, reward.
        params: the section `ppo`: LoRA, learning rate and batch size.
        tuning: the section `tuning`; `reward_model_epochs`.
        seed: of the head, the adapter and the order of pairs.
        work: a folder for the trainer's files; removed at the end.
        on_step: called with each optimiser step's number (from 1) and curves.
        progress: makes a progress bar from label, total, unit and units done.
        cut: shortens a completion as the protocol does before people see it. The model learns from, is calibrated on
            and scores the tokens of cut texts only.

    Raises:
        InputError: the ranking orders no pair.
    """
    import pandas as pd
    import torch

    from crlhf.policy.generation import tokenise
    from crlhf.policy.ppo.lending import quiet

    def seen(completions: Sequence[str]) -> list[list[int]]:
        """The tokens of what people see of completions: all that the model is trained on, and ever scores."""
        return [tokenizer(cut(text), add_special_tokens=False)["input_ids"] for text in completions]

    groups_of(rollouts)  # says what is missing
    texts = tokenizer.batch_decode([[int(x) for x in ids] for ids in rollouts["token_ids"]], skip_special_tokens=True)
    rollouts = rollouts.assign(token_ids=pd.Series(seen(texts), index=rollouts.index))
    pairs = ranked_pairs(groups_of(rollouts))
    if not pairs:
        raise InputError("reward_model: the ranking orders no two completions; annotate more of each problem")
    end = tokenizer.eos_token_id
    with quiet(), torch.random.fork_rng():
        model = _fit(folder, tokenizer, pairs, params, tuning, seed, work, on_step, progress)

    def raw(rows: Sequence[list[int]]) -> list[float]:
        return _scores(model, tokenizer, [row if row[-1] == end else [*row, end] for row in rows])

    stored = raw([list(p) + list(t) for p, t in zip(rollouts["prompt_token_ids"], rollouts["token_ids"], strict=True)])
    chosen, rejected = raw([p.prompt + p.chosen for p in pairs]), raw([p.prompt + p.rejected for p in pairs])
    mean, sd = torch.tensor(stored).mean().item(), max(torch.tensor(stored).std(correction=0).item(), 1e-6)
    target_mean, target_sd = float(rollouts["reward"].mean()), float(rollouts["reward"].std(ddof=0))

    def score(prompts: list[str], completions: list[str]) -> list[float]:
        asked = tokenise(None, tokenizer, prompts, 0)
        values = raw([[*prompt, *tokens] for prompt, tokens in zip(asked, seen(completions), strict=True)])
        return [target_mean + target_sd * (value - mean) / sd for value in values]

    right = sum(a > b for a, b in zip(chosen, rejected, strict=True))
    return RewardModel(score, right / len(pairs), len(pairs))


def _fit(
    folder: Path,
    tokenizer: Any,
    pairs: list[Pair],
    params: PPOParams,
    tuning: TuningParams,
    seed: int,
    work: Path,
    on_step: OnStep,
    progress: Progress | None,
) -> Any:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer
    from trl.trainer.reward_trainer import suppress_seqcls_warning

    from crlhf.policy.baselines.resumable import Resumable
    from crlhf.policy.baselines.trainers import row_settings
    from crlhf.policy.ppo.tuning import LoraTuning

    class PairTrainer(Resumable, RewardTrainer):  # type: ignore[misc]
        """RewardTrainer with reported curves."""

    torch.manual_seed(seed)
    with suppress_seqcls_warning():
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    end = tokenizer.eos_token_id
    rows = [
        {name: ids if ids[-1] == end else [*ids, end] for name, ids in (("chosen_ids", a), ("rejected_ids", b))}
        for a, b in ((pair.prompt + pair.chosen, pair.prompt + pair.rejected) for pair in pairs)
    ]
    settings = row_settings(params, len(rows), seed, work) | {
        "num_train_epochs": tuning.reward_model_epochs,
        "save_strategy": "no",
    }
    trainer = PairTrainer(
        model=model,
        args=RewardConfig(**settings, max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            task_type="SEQ_CLS",
            r=params.lora_r,
            lora_alpha=params.lora_alpha,
            lora_dropout=0.0,
            target_modules=list(params.lora_target_modules),
        ),
    )
    total = trainer.n_steps()
    with progress("reward model", total, "step", 0) if progress else nullcontext() as bar:

        def report(step: int, curves: dict[str, float]) -> None:
            if bar is not None:
                bar.update(1)
            on_step(step, curves)

        trainer.prepare("", LoraTuning(params, None), report)
        trainer.train()
    shutil.rmtree(work, ignore_errors=True)
    return trainer.model.eval()


def _scores(model: Any, tokenizer: Any, rows: Sequence[list[int]]) -> list[float]:
    """The model's scalar for each row of tokens, in order; rows of like length share a batch."""
    import torch

    order = sorted(range(len(rows)), key=lambda no: len(rows[no]))
    found = [0.0] * len(rows)
    with torch.no_grad():
        for first in range(0, len(order), _BATCH):
            part = order[first : first + _BATCH]
            longest = max(len(rows[no]) for no in part)
            ids = torch.full((len(part), longest), tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for place, no in enumerate(part):
                ids[place, : len(rows[no])] = torch.tensor(rows[no])
                mask[place, : len(rows[no])] = 1
            values = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits[:, 0]
            for no, value in zip(part, values.float().tolist(), strict=True):
                found[no] = value
    return found
