"""Seconds, tokens a second and peak memory of one annotated round of PPO, beside trl 1.12.0's PPOTrainer.

    pip install --no-deps --target /tmp/trl112 trl==1.12.0       # the last trl whose wheel holds a PPOTrainer
    python benchmarks/ppo.py --trl /tmp/trl112 [--policy FOLDER] [--problems 2] [--samples 4] [--max-new-tokens 96]
        [--epochs 2] [--micro-batch 4] [--runs 1] [--threads 2] [--arms crlhf trl trl-full-value] [--profile]

Every arm trains on the same completions, sampled once from the policy, with the same LoRA on the policy, dtype, batch,
micro-batches and epochs. Scores are random numbers: they do not change what is computed. Each run is a process of its
own that warms up with a little work and is then measured. Peak memory is that of the resident set, models loaded.

Generation is left out on both sides: `crlhf` reads stored completions and their log-probabilities. trl's trainer has no
replay, so its `batch_generation` is replaced: it hands out the stored tokens, and the logits that trl would have kept
from generation are computed for a few rows at a time with the clock stopped. That spares trl both the time of its
generation and the gigabytes of its logits. trl's value model is a second backbone: in `trl` it has LoRA too, in
`trl-full-value` it is trained whole, as in trl's own example. trl's reward model is replaced by a look-up.
`crlhf` is timed with everything around training: setting up, the hash of its inputs, and writing the result.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

TEMPERATURE = 0.8
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ARMS = ("crlhf", "trl", "trl-full-value")


def write_rollouts(options: argparse.Namespace, path: Path) -> None:
    """Sample completions of the first starter problems; the scores are random."""
    from crlhf.evaluation.problems import load_starter
    from crlhf.evaluation.protocols import get_protocol
    from crlhf.policy.base import load_policy
    from crlhf.policy.generation import generate
    from crlhf.store import records

    protocol = get_protocol("mbpp/incoder0-v1")
    problems = records(load_starter(Path("data/starter/problems.jsonl")))[: options.problems]
    model, tokenizer = load_policy(options.policy)
    samples = generate(
        model,
        tokenizer,
        [protocol.model_input(problem) for problem in problems],
        n=options.samples,
        max_new_tokens=options.max_new_tokens,
        temperature=TEMPERATURE,
        stops=protocol.stops,
        seed=0,
        batch_size=16,
    )
    draw = random.Random(0)
    rows = [
        {
            "completion_id": str(no),
            "problem_id": str(one.input_no),
            "prompt_token_ids": list(one.prompt_token_ids),
            "token_ids": list(one.token_ids),
            "logprobs": list(one.logprobs),
            "reward": draw.random(),
        }
        for no, one in enumerate(samples)
        if one.token_ids
    ]
    path.write_text(json.dumps(rows))


def forget_peak() -> None:
    """Let the kernel count the peak of the resident set anew."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def peak_gib() -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) / 2**20  # type: ignore[union-attr]


# crlhf


def run_crlhf(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, float]:
    import pandas as pd
    import yaml

    from crlhf.params import PPOParams
    from crlhf.policy.base import load_policy
    from crlhf.policy.ppo import train_ppo

    model, tokenizer = load_policy(options.policy)
    section = yaml.safe_load(Path("params.yaml").read_text())["ppo"]
    size = {"batch_size": len(rows), "micro_batch_size": options.micro_batch, "num_ppo_epochs": options.epochs}
    size |= {"save_every_steps": 1000, "max_kl": 1e9}
    params = PPOParams.model_validate(section | size | {"gradient_checkpointing": options.gradient_checkpointing})

    def train(folder: str, table: pd.DataFrame) -> None:
        train_ppo(
            model,
            tokenizer,
            table,
            params,
            temperature=TEMPERATURE,
            seed=0,
            folder=Path(folder),
            on_step=lambda step, metrics: None,
        )

    table = pd.DataFrame(rows)
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as cold:
        forget_peak()
        train(warm, table.groupby("problem_id").head(1))
        with profile(options.profile):
            started = time.perf_counter()
            train(cold, table)
            seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_gib": peak_gib()}


@contextmanager
def profile(wanted: bool) -> Iterator[None]:
    """Print where the time of a warm round goes: by part of the step, and by operation."""
    if not wanted:
        yield
        return
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    from crlhf.policy.ppo import value_head
    from crlhf.policy.ppo.trainer import CrowdPPOTrainer

    seconds: dict[str, float] = defaultdict(float)

    def timed(owner: Any, name: str, part: str, minus: str | None = None) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            before, started = seconds[minus or ""], time.perf_counter()
            result = inner(*args, **kwargs)
            seconds[part] += time.perf_counter() - started - (seconds[minus or ""] - before)
            return result

        setattr(owner, name, call)

    timed(value_head, "token_logprobs", "head")
    timed(CrowdPPOTrainer, "_score", "scoring: backbone", "head")
    timed(CrowdPPOTrainer, "_compute_loss", "step: forward, backbone", "head")
    timed(torch.Tensor, "backward", "step: backward")
    timed(torch.optim.AdamW, "step", "step: optimiser")
    started = time.perf_counter()
    with torch_profile(activities=[ProfilerActivity.CPU]) as trace:
        yield
    whole = time.perf_counter() - started
    seconds.pop("", None)
    seconds["setting up and writing"] = whole - sum(seconds.values())
    print("\nwhere the time of a warm round goes (head: output layer, forward and its slope)")
    for part, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"  {part:<28}{spent:>8.1f} s{spent / whole:>7.0%}")
    events = sorted(trace.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print("by operation, its own time")
    for event in events[:8]:
        print(f"  {event.key[:40]:<42}{event.self_cpu_time_total / total:>6.0%}{event.count:>8} calls")


# trl 1.12.0


class Logits:
    """What generation would have kept: logits of stored responses, computed for a few rows at a time, off the clock."""

    def __init__(self, model: Any, tokens: torch.Tensor, context: int, pad_id: int, clock: SimpleNamespace) -> None:
        self.model, self.tokens, self.context, self.pad_id, self.clock = model, tokens, context, pad_id, clock

    def __getitem__(self, rows: slice) -> torch.Tensor:
        started = time.perf_counter()
        tokens = self.tokens[rows]
        mask = tokens != self.pad_id
        positions = mask.cumsum(1) - mask.long()
        keep = tokens.shape[1] - self.context + 1
        ids = tokens.masked_fill(~mask, 0)
        found = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep).logits
        self.clock.excluded += time.perf_counter() - started
        return found[:, :-1] / TEMPERATURE


class StoredScores(torch.nn.Module):
    """A reward model that knows the scores of the stored completions."""

    base_model_prefix = "backbone"

    def __init__(self, rows: list[dict[str, Any]], pad_id: int) -> None:
        super().__init__()
        self.known = {(*row["prompt_token_ids"], *row["token_ids"]): row["reward"] for row in rows}
        self.pad_id = pad_id

    def backbone(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        found = [self.known[tuple(ids[mask].tolist())] for ids, mask in zip(input_ids, attention_mask, strict=True)]
        return SimpleNamespace(hidden_states=[torch.tensor(found)[:, None, None].expand(*input_ids.shape, 1)])

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def run_trl(options: argparse.Namespace, rows: list[dict[str, Any]], *, full_value: bool) -> dict[str, float]:
    from datasets import Dataset
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    from crlhf.policy.base import load_policy

    model, tokenizer = load_policy(options.policy)
    value_model = AutoModelForSequenceClassification.from_pretrained(
        options.policy, num_labels=1, dtype=torch.float32, local_files_only=True
    )
    if not full_value:
        inject_adapter_in_model(LoraConfig(**LORA, target_modules=MODULES), value_model)
        value_model.score.requires_grad_(True)
    clock = SimpleNamespace(excluded=0.0, started=0.0)
    pad_id = tokenizer.pad_token_id
    queue: dict[tuple[int, ...], list[list[int]]] = defaultdict(list)
    for row in rows:
        queue[tuple(row["prompt_token_ids"])].append(row["token_ids"])
    turn: dict[tuple[int, ...], int] = defaultdict(int)

    def stored_generation(policy: Any, queries: torch.Tensor, _size: int, pad: int, _config: Any) -> Any:
        clock.started = time.perf_counter()
        responses = []
        for query in queries:
            prompt = tuple(query[query != pad].tolist())
            responses.append(torch.tensor(queue[prompt][turn[prompt] % len(queue[prompt])]))
            turn[prompt] += 1
        padded = torch.nn.utils.rnn.pad_sequence(responses, batch_first=True, padding_value=pad)
        tokens = torch.cat([queries, padded], 1)
        return tokens, Logits(policy, tokens, queries.shape[1], pad, clock)

    ppo_trainer.batch_generation = stored_generation
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output_dir=folder,
            per_device_train_batch_size=options.micro_batch,
            gradient_accumulation_steps=len(rows) // options.micro_batch,
            num_mini_batches=1,
            num_ppo_epochs=options.epochs,
            total_episodes=len(rows),
            local_rollout_forward_batch_size=options.micro_batch,
            response_length=options.max_new_tokens,
            temperature=TEMPERATURE,
            num_sample_generations=0,
            learning_rate=2e-5,
            report_to="none",
            save_strategy="no",
            bf16=False,
            gradient_checkpointing=options.gradient_checkpointing,
            use_cpu=True,
            seed=0,
        )
        trainer = PPOTrainer(
            args=config,
            processing_class=tokenizer,
            model=model,
            ref_model=None,
            reward_model=StoredScores(rows, pad_id),
            value_model=value_model,
            train_dataset=Dataset.from_dict({"input_ids": [row["prompt_token_ids"] for row in rows]}),
            eval_dataset=Dataset.from_dict({"input_ids": [rows[0]["prompt_token_ids"]]}),
            peft_config=LoraConfig(**LORA, target_modules=MODULES, bias="none", task_type="CAUSAL_LM"),
        )
        warm_up = torch.tensor([row["prompt_token_ids"][:16] for row in rows[:2]])
        output, values = ppo_trainer.forward(trainer.model, warm_up, pad_id)
        (output.logits.mean() + values.mean()).backward()
        trainer.model.zero_grad()
        del output, values
        forget_peak()
        trainer.train()
        ended = time.perf_counter()
    return {"seconds": ended - clock.started - clock.excluded, "peak_gib": peak_gib()}


def child(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    rows = json.loads(options.rollouts.read_text())
    found = run_crlhf(options, rows) if options.child == "crlhf" else None
    found = found or run_trl(options, rows, full_value=options.child == "trl-full-value")
    print("RESULT " + json.dumps(found))


def in_process(options: argparse.Namespace, arm: str, rollouts: Path, *more: str) -> dict[str, float]:
    """Run one arm in a process of its own, the trl arms on the trl of `--trl`."""
    environment = dict(
        os.environ, OMP_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1"
    )
    if arm.startswith("trl"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(options.trl), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, __file__, *sys.argv[1:], "--child", arm, "--rollouts", str(rollouts), *more]
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    lines = ended.stdout.splitlines()
    if ended.returncode or not lines or not lines[-1].startswith("RESULT "):
        raise SystemExit(f"{arm} failed:\n{ended.stdout}\n{ended.stderr}")
    if "--profile" in command:
        print("\n".join(lines[:-1]))
    return dict(json.loads(lines[-1].removeprefix("RESULT ")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, help="a prepared policy [default: the newest in the cache]")
    parser.add_argument("--trl", type=Path, help="folder that trl 1.12.0 was installed into [default: no trl arm]")
    parser.add_argument("--problems", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--arms", nargs="+", choices=ARMS)
    parser.add_argument("--profile", action="store_true", help="also show where the time of a warm round goes")
    parser.add_argument("--child", choices=(*ARMS, "rollouts"), help=argparse.SUPPRESS)
    parser.add_argument("--rollouts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.policy is None:
        from crlhf.fetch import cache_folder

        options.policy = max((cache_folder() / "policies").glob("[!.]*"), key=os.path.getmtime)
    if options.child == "rollouts":
        write_rollouts(options, options.rollouts)
        print("RESULT {}")
        return
    if options.child:
        child(options)
        return
    arms = options.arms or (ARMS[:2] if options.trl else ARMS[:1])
    with tempfile.TemporaryDirectory() as folder:
        rollouts = Path(folder) / "rollouts.json"
        in_process(options, "rollouts", rollouts)
        rows = json.loads(rollouts.read_text())
        results: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(options.runs):
            for arm in arms:
                results[arm].append(in_process(options, arm, rollouts))
                print(f"{arm}: {results[arm][-1]}", file=sys.stderr, flush=True)
    report(options, rows, results)


def report(options: argparse.Namespace, rows: list[dict[str, Any]], results: dict[str, list[dict[str, float]]]) -> None:
    n_tokens = sum(len(row["token_ids"]) for row in rows)
    n_prompt = sum(len(row["prompt_token_ids"]) for row in rows)
    print(
        f"{options.policy.name}: {len(rows)} completions of {options.problems} problems, "
        f"{n_prompt / len(rows):.0f} prompt and {n_tokens / len(rows):.0f} response tokens each, {options.epochs} "
        f"epochs of one update, micro-batches of {options.micro_batch}, LoRA r = {LORA['r']}, float32, "
        f"{options.threads} threads, {options.runs} run(s), load {os.getloadavg()[0]:.1f}"
    )
    columns = ("s a round", "s an update", "tokens/s", "peak GiB", "x seconds", "x memory")
    print(f"{'arm':<16}" + "".join(f"{column:>13}" for column in columns))
    middle = {arm: statistics.median(run["seconds"] for run in runs) for arm, runs in results.items()}
    peaks = {arm: max(run["peak_gib"] for run in runs) for arm, runs in results.items()}
    base = list(results)[1 if len(results) > 1 else 0]
    for arm, seconds in middle.items():
        print(
            f"{arm:<16}{seconds:>13.1f}{seconds / options.epochs:>13.1f}{n_tokens * options.epochs / seconds:>13.1f}"
            f"{peaks[arm]:>13.2f}{seconds / middle[base]:>13.2f}{peaks[arm] / peaks[base]:>13.2f}"
        )


if __name__ == "__main__":
    main()
