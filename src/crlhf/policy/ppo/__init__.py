"""PPO on annotated completions, with LoRA, on TRL's trainer."""

from crlhf.policy.ppo.result import PPOResult
from crlhf.policy.ppo.train import train_ppo, train_ppo_online

__all__ = ["PPOResult", "train_ppo", "train_ppo_online"]
