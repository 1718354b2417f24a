"""Sampling completions from a policy, with the log-probabilities that PPO needs.

The distribution that is sampled is the policy's own at temperature `tau`, `softmax(logits / tau)`, with no top-k or
repetition penalty, and whole unless `top_p` is below 1, which protocols of evaluation ask for and PPO never does; the
log-probability kept for a token is that of this very distribution. Greedy decoding
(`tau` = 0) keeps `log softmax(logits)`.

Every completion draws from a random stream of its own, made from (seed, input_no, sample_no): token `t` is the first
whose cumulative probability exceeds the stream's `t`-th uniform number (inverse transform sampling). What is drawn does
not depend on which rows share the batch, up to the last bits of floating point.

Speed, without changing what is computed: inputs are sorted by length, weights are packed once (`prepacked`), prompts
are computed once for all their samples and finished rows leave the batch (`decoding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from crlhf.errors import InputError, ParamsError
from crlhf.policy.decoding import Decoder, Key, Row, Sample
from crlhf.progress import Bar

if TYPE_CHECKING:
    import numpy as np

    from crlhf.policy.prepacked import Arithmetic

_PACK_FROM = 1000  # tokens to sample at most; for fewer, packing the weights takes longer than it saves


def generate(
    model: Any,
    tokenizer: Any,
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
    on_text: Callable[[Key, str], None] | None = None,
    arithmetic: Arithmetic = "float32",
) -> list[Sample]:
    """Sample `n` completions of each of `model_inputs`.

    Batches are laid out from the whole list, so that a run that is taken up again computes exactly what an
    uninterrupted one does: a batch whose completions are all in `done` is skipped, every other is computed whole.

    Args:
        model: a causal language model of transformers, or such a model in PEFT; it is left as it was.
        tokenizer: its tokenizer.
        model_inputs: texts as the policy shall see them.
        n: completions of each input.
        max_new_tokens: the most tokens that are drawn for a completion.
        temperature: of the distribution that is sampled; 0 is greedy, and then `n` is 1.
        stops: a completion ends as soon as one of these appears in its text.
        seed: of all random streams.
        batch_size: completions that are computed together.
        top_p: share of probability that is sampled from, the likeliest tokens first; 1 is all of it.
        on_batch: called with the samples of each finished batch, in the order of (input_no, sample_no).
        done: samples of an earlier run with equal arguments, by (input_no, sample_no).
        progress: told of every finished completion.
        on_text: called after every token with its completion's (input_no, sample_no) and the text so far.
        arithmetic: of the linear layers on a CPU. `bfloat16` and `int8` are faster and serve evaluation only: the
            log-probabilities are then those of the rounded policy, not of the one that PPO trains.

    Returns:
        The samples by input, then by sample_no; an empty list for no input.

    Raises:
        InputError: an input has no tokens, or does not fit into the policy's context with `max_new_tokens`.
        IntegrityError: the policy computes numbers that are not finite.
        ParamsError: the linear layers cannot be computed in `arithmetic` here.
    """
    import torch

    if n < 1 or max_new_tokens < 1 or batch_size < 1 or temperature < 0 or "" in stops:
        raise ValueError("n, max_new_tokens, batch_size must be 1 or more, temperature 0 or more, no stop string empty")
    if not 0 < top_p <= 1:
        raise ValueError("top_p must be above 0 and at most 1")
    if temperature == 0 and n > 1:
        raise ValueError("greedy completions of one input are all the same: n must be 1")
    prompts = tokenise(model, tokenizer, model_inputs, max_new_tokens)
    was_training = model.training
    model.eval()
    is_long = len(prompts) * n * max_new_tokens >= _PACK_FROM
    decoder = Decoder(
        model,
        tokenizer,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        stops=tuple(stops),
        progress=progress,
        on_text=on_text,
    )

    def write(batch: list[Key]) -> list[Sample]:
        return decoder.run([Row(key, prompts[key[0]], _uniforms(seed, key, max_new_tokens)) for key in batch])

    try:
        with torch.no_grad(), _packed(model, arithmetic, is_long=is_long) if prompts else nullcontext():
            return in_batches(prompts, n, batch_size, write, on_batch=on_batch, done=done)
    finally:
        model.train(was_training)


def in_batches(
    prompts: Sequence[tuple[int, ...]],
    n: int,
    batch_size: int,
    write: Callable[[list[Key]], list[Sample]],
    *,
    on_batch: Callable[[list[Sample]], None] | None,
    done: Mapping[Key, Sample] | None,
) -> list[Sample]:
    """`n` samples of each of `prompts`, by prompt, then by sample_no; `write` makes those of one batch.

    The longest prompts come first. Batches rest on the prompts' lengths only; one whose samples are all in `done` is
    skipped, every other is written whole, so that a run that is taken up again writes what an uninterrupted one does.
    """
    order = sorted(range(len(prompts)), key=lambda input_no: (-len(prompts[input_no]), input_no))
    keys = [(input_no, sample_no) for input_no in order for sample_no in range(n)]
    finished = dict(done or {})
    for start in range(0, len(keys), batch_size):
        batch = keys[start : start + batch_size]
        if all(key in finished for key in batch):
            continue
        samples = sorted(write(batch))
        finished.update({(sample.input_no, sample.sample_no): sample for sample in samples})
        if on_batch is not None:
            on_batch(samples)
    return [finished[key] for key in sorted(keys)]


@contextmanager
def _packed(model: Any, arithmetic: Arithmetic, *, is_long: bool) -> Iterator[None]:
    """The policy with linear layers packed in `arithmetic`; exact ones only where packing pays."""
    from crlhf.policy.prepacked import prepacked_linears

    if arithmetic == "float32" and not is_long:
        yield
        return
    with prepacked_linears(model, arithmetic) as n_packed:
        if not n_packed and arithmetic != "float32":
            raise ParamsError(
                f"the policy's linear layers cannot be computed in {arithmetic} here: that takes float32 weights on a "
                "CPU, and a torch with oneDNN; choose float32"
            )
        yield


def tokenise(model: Any, tokenizer: Any, texts: Sequence[str], max_new_tokens: int) -> list[tuple[int, ...]]:
    """Token ids of each text; a text that already begins with the begin token does not get a second one.

    Raises:
        InputError: a text has no tokens, or with `max_new_tokens` more does not fit into the context of `model` (None:
            not checked).
    """
    limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    begin = getattr(tokenizer, "bos_token", None)
    prompts = []
    for number, text in enumerate(texts):
        ids = tokenizer(text, add_special_tokens=not (begin and text.startswith(begin)))["input_ids"]
        if not ids:
            raise InputError(f"model input {number} has no tokens; a policy needs at least one to go on from")
        if limit and len(ids) + max_new_tokens > limit:
            raise InputError(
                f"model input {number} has {len(ids)} tokens; with {max_new_tokens} new ones it does not fit into the "
                f"policy's context of {limit}; lower max_new_tokens or leave the problem out"
            )
        prompts.append(tuple(ids))
    return prompts


def _uniforms(seed: int, key: Key, count: int) -> np.ndarray:
    """The first `count` numbers in [0, 1) of the completion's random stream, float32."""
    import numpy as np

    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)).random(count, dtype=np.float32)
