"""Started by torchrun: train a tiny policy with what the command line says, in `WORLD_SIZE` processes.

torchrun --nproc_per_node 2 many_processes.py FOLDER replay '{"num_ppo_epochs": 2}' [--sigterm-at STEP]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

import torch

from crlhf.policy.ppo import train_ppo, train_ppo_online
from tests.policy.ppo.tiny import TEMPERATURE, make_params, make_policy, make_tokenizer, sample_rollouts

PROMPTS = ["w4 w5 w6", "w20 w7", "w9"]


def distinct_words(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(len(set(text.split()))) for text in completions]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("source", choices=["replay", "online"])
    parser.add_argument("changes", type=json.loads)
    parser.add_argument("--sigterm-at", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)

    def on_step(step: int, metrics: dict[str, float]) -> None:
        if step == options.sigterm_at:  # only process 0 reports steps: the other learns of it from the step's sums
            os.kill(os.getpid(), signal.SIGTERM)

    shared = {"temperature": TEMPERATURE, "seed": 3, "folder": options.folder, "on_step": on_step}
    model, tokenizer, params = make_policy(), make_tokenizer(), make_params(**options.changes)
    if options.source == "replay":
        train_ppo(model, tokenizer, sample_rollouts(make_policy()), params, **shared)
    else:
        sampling = {"n_per_prompt": 3, "n_rounds": 2, "max_new_tokens": 5}
        train_ppo_online(model, tokenizer, PROMPTS, distinct_words, params, **sampling, **shared)


if __name__ == "__main__":
    main()
