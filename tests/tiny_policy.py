"""A tiny random policy for tests: a two-layer Llama with a byte-level tokenizer, made on the spot, the same every time.

Llama is the default because transformers leaves its saved tokenizer as it is; for Qwen2 it puts its own normaliser
(Unicode NFC) in, and then a few strings do not come back.
"""

from __future__ import annotations

from pathlib import Path

END_TOKEN = "<|endoftext|>"
PAD_TOKEN = "<|pad|>"

_CORPUS = [
    "def add(a, b):\n    return a + b\n",
    "def is_even(number):\n    if number % 2 == 0:\n        return True\n    return False\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "    def push(self, item):\n        self.items.append(item)\n",
    "for index in range(len(values)):\n    total += values[index]\nprint(total)\n",
    'assert add(2, 3) == 5, "two and three"\n',
]


def build_tokenizer():  # type: ignore[no-untyped-def]
    """A byte-level BPE tokenizer of about 320 tokens: every string comes back as it was, whatever its characters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[END_TOKEN, PAD_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_model(tokenizer, *, seed: int = 0, family: str = "llama"):  # type: ignore[no-untyped-def]
    """A random causal model of about 60 000 parameters with grouped-query attention and tied embeddings.

    Weights are drawn with a large spread, so that the next-token distributions are far from uniform and a wrong
    position or mask shows. `family` is llama or qwen2.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(Qwen2Config(**sizes)) if family == "qwen2" else LlamaForCausalLM(LlamaConfig(**sizes))
    return model.float().eval()


def build_tiny_policy(folder: Path, *, seed: int = 0, family: str = "llama") -> Path:
    """Save model (safetensors) and tokenizer to `folder`, which is made; equal arguments give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed=seed, family=family)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
