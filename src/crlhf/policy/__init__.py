"""The policy: base weights, sampling from it, and PPO on it."""
