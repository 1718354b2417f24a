"""A tiny policy that solves about half of a toy family of problems: small functions of two whole numbers.

It is taught by ordinary supervised fitting on programs of which a known share is right, so that its samples are right
about as often: something for a crowd to correct. Equal arguments give equal weights.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny_policy import END_TOKEN, PAD_TOKEN

SHARE_RIGHT = 0.4
"""Share of right programs among those that the policy is taught on."""

_OPERATIONS = (
    ("sum", "the sum of a and b", "a + b"),
    ("difference", "a less b", "a - b"),
    ("product", "the product of a and b", "a * b"),
    ("larger", "the larger of a and b", "max(a, b)"),
    ("smaller", "the smaller of a and b", "min(a, b)"),
    ("remainder", "the remainder of a by b", "a % b"),
    ("quotient", "how often b fits into a", "a // b"),
    ("reverse_difference", "b less a", "b - a"),
)
_SCALES = ((2, "twice"), (3, "three times"))
_EXAMPLES = ((7, 3), (9, 4), (5, 5), (12, 5), (3, 8), (20, 6))


def problems() -> list[dict[str, object]]:
    """The family as rows of a starter set: each operation, scaled; every problem has six tests."""
    rows: list[dict[str, object]] = []
    for factor, word in _SCALES:
        for name, what, expression in _OPERATIONS:
            entry = f"{name}_{factor}"
            values = [(a, b, factor * eval(expression, {"a": a, "b": b})) for a, b in _EXAMPLES]
            rows.append(
                {
                    "number": len(rows) + 1,
                    "entry_point": entry,
                    "description": f"Return {word} {what}.",
                    "reference": program(entry, expression, factor),
                    "tests": [f"assert {entry}({a}, {b}) == {value}" for a, b, value in values],
                    "setup_code": "",
                    "topics": ["numbers"],
                }
            )
    return rows


def program(entry: str, expression: str, factor: int, returned: str = "scaled") -> str:
    """A program of the family: four lines, of which the second, third and fourth can be wrong."""
    return f"def {entry}(a, b):\n    value = {expression}\n    scaled = value * {factor}\n    return {returned}\n"


def write_starter(path: Path) -> None:
    """The family as a starter set."""
    path.write_text("".join(json.dumps(row) + "\n" for row in problems()))


def _model_input(row: dict[str, object]) -> str:
    """What the protocol mbpp/incoder0-v1 makes of a problem."""
    return f'"""\n{row["description"]}\n{row["tests"][0]}\n"""\n'  # type: ignore[index]


def _taught(seed: int, n: int) -> list[tuple[str, str]]:
    """Pairs of model input and program; a program that is not right has one fault."""
    import random

    rng = random.Random(seed)
    rows, pairs = problems(), []
    by_name = {name: expression for name, _, expression in _OPERATIONS}
    for row in rows * n:
        name, _, factor = str(row["entry_point"]).rpartition("_")
        expression, scale, returned = by_name[name], int(factor), "scaled"
        if rng.random() >= SHARE_RIGHT:
            fault = rng.choice(("expression", "scale", "returned"))
            if fault == "expression":
                expression = rng.choice([other for other in by_name.values() if other != expression])
            elif fault == "scale":
                scale = rng.choice([other for other in (2, 3, 4) if other != scale])
            else:
                returned = "value"
        pairs.append((_model_input(row), program(str(row["entry_point"]), expression, scale, returned)))
    rng.shuffle(pairs)
    return pairs


def build_fitted_policy(folder: Path, *, seed: int = 0, n_repeats: int = 80, n_epochs: int = 12) -> Path:
    """Fit the policy and save it to `folder`, which is made; about half a minute on one core."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pairs = _taught(seed, n_repeats)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[END_TOKEN, PAD_TOKEN], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator((text for pair in pairs for text in pair), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=END_TOKEN, pad_token=PAD_TOKEN, clean_up_tokenization_spaces=False,
        padding_side="left",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=96, intermediate_size=256, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True,
                bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
        _fit(model, tokenizer, pairs, n_epochs)
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _fit(model, tokenizer, pairs, n_epochs):  # type: ignore[no-untyped-def]
    """Next-token cross-entropy on the programs, batches of 32 in the given order."""
    import torch

    ids = [
        (tokenizer(prompt)["input_ids"], tokenizer(code)["input_ids"] + [tokenizer.eos_token_id])
        for prompt, code in pairs
    ]
    longest = max(len(a) + len(b) for a, b in ids)
    tokens = torch.full((len(ids), longest), tokenizer.pad_token_id)
    labels = torch.full((len(ids), longest), -100)
    for row, (prompt, code) in enumerate(ids):
        end = len(prompt) + len(code)
        tokens[row, :end] = torch.tensor(prompt + code)
        labels[row, len(prompt) : end] = torch.tensor(code)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # faster for so small a policy, above all on a busy machine
    steps = n_epochs * (len(ids) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        rows = slice(step * 32 % (len(ids) - 31), step * 32 % (len(ids) - 31) + 32)
        loss = model(
            input_ids=tokens[rows], attention_mask=tokens[rows] != tokenizer.pad_token_id, labels=labels[rows]
        ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    torch.set_num_threads(n_threads)
