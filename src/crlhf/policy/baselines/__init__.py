"""Baselines on the same verdicts, by TRL's own trainers: SFT on the best, DPO, GRPO, RLOO, and a reward model."""

from crlhf.policy.baselines.reward_model import RewardModel, train_reward_model
from crlhf.policy.baselines.train import BaselineResult, train_baseline

__all__ = ["BaselineResult", "RewardModel", "train_baseline", "train_reward_model"]
