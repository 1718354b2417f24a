"""What writes programs: the policy itself, the policy rounded for speed, or vLLM on a GPU; one small interface.

| engine | weights | serves |
| --- | --- | --- |
| `policy` | as they are | everything: its log-probabilities are those of the policy that PPO trains |
| `bfloat16` | linear layers in bfloat16 on a CPU | evaluation |
| `int8` | linear layers in 8-bit integers on a CPU | evaluation |
| `vllm` | as they are, by vLLM on a CUDA device | evaluation |

An engine other than `policy` writes nearly, not exactly, what the policy writes: a result says which engine wrote it,
and policies are compared with one engine. `benchmarks/generation.py` prints the speed, score and gap of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from crlhf.errors import ParamsError
from crlhf.policy.decoding import Key, Sample
from crlhf.policy.generation import generate, in_batches, tokenise
from crlhf.progress import Bar

if TYPE_CHECKING:
    from crlhf.policy.prepacked import Arithmetic

ENGINES = ("policy", "bfloat16", "int8", "vllm")


class Engine(Protocol):
    """Writes completions. The arguments of `generate` and its result are those of `policy.generation.generate`."""

    tokenizer: Any

    def generate(
        self,
        model_inputs: Sequence[str],
        *,
        n: int,
        max_new_tokens: int,
        temperature: float,
        stops: Sequence[str],
        seed: int,
        batch_size: int,
        top_p: float = 1.0,
        on_batch: Callable[[list[Sample]], None] | None = None,
        done: Mapping[Key, Sample] | None = None,
        progress: Bar | None = None,
    ) -> list[Sample]:
        """Samples by input, then by sample_no; batches whose samples are all in `done` are not drawn again."""
        ...


def open_engine(name: str, folder: Path, adapter: Path | None = None) -> Engine:
    """The engine `name` for the policy in `folder`, with a LoRA adapter or without.

    Raises:
        ParamsError: there is no such engine, or this machine cannot run it.
        MissingInputError, IntegrityError: from `load_policy`.
    """
    from crlhf.policy.base import load_policy

    if name not in ENGINES:
        raise ParamsError(f"there is no engine {name}; choose one of {', '.join(ENGINES)}")
    if name == "vllm":
        return VllmEngine(folder, adapter)
    model, tokenizer = load_policy(folder, adapter)
    return PolicyEngine(model, tokenizer, "float32" if name == "policy" else name)  # type: ignore[arg-type]


class PolicyEngine:
    """The project's own decode loop over a model of transformers; `arithmetic` is that of its linear layers."""

    def __init__(self, model: Any, tokenizer: Any, arithmetic: Arithmetic = "float32") -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.arithmetic = arithmetic

    def generate(self, model_inputs: Sequence[str], **options: Any) -> list[Sample]:
        """See `Engine`."""
        return generate(self.model, self.tokenizer, model_inputs, arithmetic=self.arithmetic, **options)


class VllmEngine:
    """vLLM (Kwon et al. 2023, doi:10.1145/3600006.3613165) on a CUDA device; `pip install vllm` beside the project.

    Every completion has a seed of its own, made from (seed, input_no, sample_no). Log-probabilities are those that vLLM
    reports, of the distribution before the temperature.

    Not run by the project's own tests, which have no GPU: they check what is asked of vLLM and how its answer is read.
    """

    def __init__(self, folder: Path, adapter: Path | None = None) -> None:
        try:
            from vllm import LLM
        except ImportError:
            raise ParamsError(
                "engine vllm: vLLM is not installed; it needs a CUDA device and `pip install vllm`"
            ) from None
        self.model = LLM(model=str(folder), enable_lora=adapter is not None, max_lora_rank=_rank(adapter))
        self.tokenizer = self.model.get_tokenizer()
        self.adapter = adapter

    def generate(
        self,
        model_inputs: Sequence[str],
        *,
        n: int,
        max_new_tokens: int,
        temperature: float,
        stops: Sequence[str],
        seed: int,
        batch_size: int,
        top_p: float = 1.0,
        on_batch: Callable[[list[Sample]], None] | None = None,
        done: Mapping[Key, Sample] | None = None,
        progress: Bar | None = None,
    ) -> list[Sample]:
        """See `Engine`; `batch_size` completions are handed over at a time, and kept when they are done."""
        import numpy as np
        from vllm import SamplingParams

        prompts = tokenise(None, self.tokenizer, model_inputs, max_new_tokens)

        def write(batch: list[Key]) -> list[Sample]:
            settings = [
                SamplingParams(
                    temperature=temperature,
                    top_p=top_p,
                    max_tokens=max_new_tokens,
                    stop=list(stops),
                    include_stop_str_in_output=True,
                    logprobs=0,
                    seed=int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0]),
                )
                for key in batch
            ]
            asked = [{"prompt_token_ids": list(prompts[key[0]])} for key in batch]
            answers = self.model.generate(asked, settings, lora_request=self._lora(), use_tqdm=False)
            if progress is not None:
                progress.update(len(batch))
            pairs = zip(batch, answers, strict=True)
            return [_sample(key, prompts[key[0]], answer.outputs[0]) for key, answer in pairs]

        return in_batches(prompts, n, batch_size, write, on_batch=on_batch, done=done)

    def _lora(self) -> Any:
        if self.adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("tuned", 1, str(self.adapter))


def _sample(key: Key, prompt: tuple[int, ...], output: Any) -> Sample:
    """vLLM's `CompletionOutput`; its `stop_reason` is the stop string, or the number of an end token, or None."""
    token_ids = tuple(output.token_ids)
    logprobs = tuple(float(step[token].logprob) for token, step in zip(token_ids, output.logprobs, strict=True))
    stopped = "stop" if isinstance(output.stop_reason, str) else "eos"
    reason = "length" if output.finish_reason == "length" else stopped
    return Sample(*key, prompt, token_ids, logprobs, output.text, reason)


def _rank(adapter: Path | None) -> int:
    """The rank of a LoRA adapter; 16, vLLM's own default, without one."""
    import json

    return 16 if adapter is None else int(json.loads((adapter / "adapter_config.json").read_text())["r"])
