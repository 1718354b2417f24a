"""Tokens a second, score and exactness of the ways to generate on this machine, in one run.

    python benchmarks/generation.py [--policy FOLDER] [--problems 32] [--batch-size 16] [--max-new-tokens 128]
        [--rounds 2] [--threads 2] [--arms generate generate-bfloat16 float32 bfloat16 int8]

Every arm completes the shortest HumanEval problems greedily under humaneval/bigcode-v1; arms take turns within a round,
so that a busy machine slows all of them, and the fastest round of an arm counts. `generate` is that of transformers,
with inputs sorted by length, the same batches, the same stop strings and its key-value cache; the others are
`crlhf.policy.generation` in the arithmetic they are named by. Seconds hold prefill and the packing of weights. The gap
is that between an engine's log-probabilities and the float32 policy's, on the tokens that the engine wrote; `same` is
the share of programs equal to the first arm's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from crlhf.evaluation.intervals import score_interval
from crlhf.evaluation.problems import load_humaneval
from crlhf.evaluation.protocols import Protocol, get_protocol
from crlhf.evaluation.sandbox import run_programs
from crlhf.fetch import cache_folder
from crlhf.policy.base import load_policy
from crlhf.policy.decoding import end_token_ids
from crlhf.policy.generation import generate
from crlhf.store import records

PROTOCOL = "humaneval/bigcode-v1"


class Written(NamedTuple):
    """What an arm wrote for one problem; `logprobs` are empty where the arm gives none."""

    text: str
    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


def by_transformers(options: argparse.Namespace, dtype: str) -> Callable[..., list[Written]]:
    def write(inputs: Sequence[str], stops: tuple[str, ...]) -> list[Written]:
        model, tokenizer = policy(options, dtype)
        order = sorted(range(len(inputs)), key=lambda number: -len(tokenizer(inputs[number])["input_ids"]))
        found: dict[int, Written] = {}
        ends = end_token_ids(model, tokenizer)
        for start in range(0, len(order), options.batch_size):
            places = order[start : start + options.batch_size]
            batch = tokenizer(
                [inputs[place] for place in places], return_tensors="pt", padding=True, padding_side="left"
            )
            with torch.no_grad():
                ids = model.generate(
                    **batch,
                    do_sample=False,
                    max_new_tokens=options.max_new_tokens,
                    stop_strings=list(stops),
                    tokenizer=tokenizer,
                )
            width = batch["input_ids"].shape[1]
            for place, row in zip(places, ids[:, width:].tolist(), strict=True):
                end = next((at for at, token in enumerate(row) if token in ends), len(row))
                text = tokenizer.decode(row[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
                found[place] = Written(text, (), tuple(row[:end]), ())
        return [found[number] for number in range(len(inputs))]

    return write


def by_crlhf(options: argparse.Namespace, arithmetic: Any) -> Callable[..., list[Written]]:
    def write(inputs: Sequence[str], stops: tuple[str, ...]) -> list[Written]:
        model, tokenizer = policy(options, "float32")
        samples = generate(
            model,
            tokenizer,
            inputs,
            n=1,
            max_new_tokens=options.max_new_tokens,
            temperature=0.0,
            stops=stops,
            seed=0,
            batch_size=options.batch_size,
            arithmetic=arithmetic,
        )
        return [Written(one.text, one.prompt_token_ids, one.token_ids, one.logprobs) for one in samples]

    return write


_POLICIES: dict[str, tuple[Any, Any]] = {}


def policy(options: argparse.Namespace, dtype: str) -> tuple[Any, Any]:
    """Model and tokenizer, loaded once for each dtype; loading is not part of any arm's seconds."""
    if dtype not in _POLICIES:
        _POLICIES[dtype] = load_policy(options.policy, dtype=dtype)
    return _POLICIES[dtype]


ARMS: dict[str, tuple[Callable[..., Callable[..., list[Written]]], str]] = {
    "generate": (by_transformers, "float32"),
    "generate-bfloat16": (by_transformers, "bfloat16"),
    "float32": (by_crlhf, "float32"),
    "bfloat16": (by_crlhf, "bfloat16"),
    "int8": (by_crlhf, "int8"),
}


def score(protocol: Protocol, problems: list[dict[str, Any]], written: list[Written]) -> list[float]:
    programs = [
        protocol.program(problem, protocol.cut(one.text), str(number))
        for number, (problem, one) in enumerate(zip(problems, written, strict=True))
    ]
    verdicts = run_programs(programs, timeout_s=protocol.timeout_s, memory_mib=2048, workers=2)
    return [float(verdict.verdict == "pass") for verdict in verdicts]


def gap(options: argparse.Namespace, written: list[Written]) -> float:
    """Mean absolute difference in nats a token, by a plain forward pass of the float32 policy over each program."""
    model, _ = policy(options, "float32")
    gaps: list[float] = []
    for one in written:
        if not one.logprobs:
            return float("nan")
        with torch.no_grad():
            logits = model(torch.tensor([one.prompt_token_ids + one.token_ids])).logits[0]
        own = logits[len(one.prompt_token_ids) - 1 : -1].float().log_softmax(-1)
        own = own.gather(1, torch.tensor(one.token_ids).unsqueeze(1)).squeeze(1)
        gaps += (own - torch.tensor(one.logprobs)).abs().tolist()
    return float(np.mean(gaps))


def matrix_units() -> str:
    """The CPU's instructions for small numbers, which decide how fast bfloat16 and int8 are."""
    known = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "unknown CPU"
    return "CPU with " + ", ".join(name for name in known if name in flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a prepared policy [default: the newest in the cache]")
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.policy = options.policy or max((cache_folder() / "policies").glob("[!.]*"), key=os.path.getmtime)
    protocol = get_protocol(PROTOCOL)
    problems = sorted(records(load_humaneval()), key=lambda problem: len(problem["prompt"]))[: options.problems]
    inputs = [protocol.model_input(problem) for problem in problems]
    seconds = dict.fromkeys(options.arms, float("inf"))
    written: dict[str, list[Written]] = {}
    for _ in range(options.rounds):
        for name in options.arms:
            make, kind = ARMS[name]
            write = make(options, kind)
            policy(options, kind if make is by_transformers else "float32")
            started = time.perf_counter()
            written[name] = write(inputs, protocol.stops)
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    print(f"{options.policy.name}, {len(inputs)} problems, batch {options.batch_size}, at most", end=" ")
    print(
        f"{options.max_new_tokens} tokens, {options.threads} threads, load {os.getloadavg()[0]:.1f}; {matrix_units()}"
    )
    print(f"{'arm':<18}{'seconds':>8}{'x first':>9}{'tokens':>8}{'tok/s':>8}{'pass@1 [95 %]':>22}{'gap':>9}{'same':>7}")
    texts = {name: [protocol.cut(one.text) for one in ones] for name, ones in written.items()}
    for name in options.arms:
        passed = score(protocol, problems, written[name])
        interval = score_interval(passed, 10_000, 0.95, 0)
        n_tokens = sum(len(one.token_ids) for one in written[name])
        same = np.mean([a == b for a, b in zip(texts[options.arms[0]], texts[name], strict=True)])
        faster = seconds[options.arms[0]] / seconds[name]
        span = f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
        print(
            f"{name:<18}{seconds[name]:>8.1f}{faster:>8.2f}x{n_tokens:>8}{n_tokens / seconds[name]:>8.0f}{span:>22}"
            f"{gap(options, written[name]):>9.4f}{same:>7.2f}"
        )


if __name__ == "__main__":
    main()
