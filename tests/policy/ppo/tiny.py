"""A policy of 30 000 weights, its tokenizer, and rollouts sampled from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from crlhf.params import PPOParams

WORDS = 24
TEMPERATURE = 0.8


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<eos>": 1, **{f"w{no}": no for no in range(2, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def make_policy(seed: int = 0) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(config).eval()


def make_params(**changes: Any) -> PPOParams:
    """The shipped section, but for a tiny policy: larger steps, smaller batches."""
    root = Path(__file__).parents[3]
    section = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["ppo"]
    tiny = {
        "lora_r": 4,
        "lora_alpha": 8,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 2e-3,
        "value_learning_rate": 2e-3,
        "gradient_checkpointing": False,
        "max_kl": 50.0,
        "save_every_steps": 1,
    }
    return PPOParams.model_validate(section | tiny | changes)


@torch.no_grad()
def plain_logprobs(model: Any, prompt: list[int], response: list[int], temperature: float = TEMPERATURE) -> list[float]:
    """The reference to compare with: one completion, no padding, all logits, transformers' own forward."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1] / temperature
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(response)[:, None])[:, 0].tolist()


@torch.no_grad()
def sample_rollouts(
    model: Any, n_problems: int = 3, n_samples: int = 3, *, length: int = 6, seed: int = 1, score: Any = None
) -> pd.DataFrame:
    """Completions of differing lengths; problem 1 has one fewer, so that nothing divides evenly."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for problem in range(n_problems):
        prompt = torch.randint(2, WORDS, (3 + problem % 3,), generator=torch.Generator().manual_seed(problem)).tolist()
        tokens = torch.tensor([prompt] * (n_samples - (problem == 1)))
        logprobs = torch.zeros(len(tokens), 0)
        for _ in range(length):
            table = torch.log_softmax(model(input_ids=tokens).logits[:, -1] / TEMPERATURE, -1)
            drawn = torch.multinomial(table.exp(), 1, generator=generator)
            tokens, logprobs = torch.cat([tokens, drawn], 1), torch.cat([logprobs, table.gather(1, drawn)], 1)
        for sample in range(len(tokens)):
            n = max(1, length - (sample + problem) % 3)
            response = tokens[sample, len(prompt) : len(prompt) + n].tolist()
            rows.append(
                {
                    "completion_id": f"c{problem}-{sample}",
                    "problem_id": f"p{problem}",
                    "prompt_token_ids": prompt,
                    "token_ids": response,
                    "logprobs": logprobs[sample, :n].tolist(),
                    "reward": score(response) if score else float(torch.rand((), generator=generator)),
                }
            )
    return pd.DataFrame(rows)
