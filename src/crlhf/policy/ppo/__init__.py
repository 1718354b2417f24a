"""PPO on annotated completions, with LoRA, on TRL's trainer."""

from crlhf.policy.ppo.train import PPOResult, train_ppo, train_ppo_online

__all__ = ["PPOResult", "train_ppo", "train_ppo_online"]
