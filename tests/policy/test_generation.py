"""Sampling: the distribution, the log-probabilities, stops, batches and resumption, on a tiny random policy."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from crlhf.errors import InputError, IntegrityError
from crlhf.policy import decoding, generation
from crlhf.policy.decoding import Decoder, Row, draw, end_token_ids
from crlhf.policy.generation import generate
from crlhf.policy.prepacked import prepacked_linears
from crlhf.policy.roomy_cache import RoomyLayer
from tests.tiny_policy import build_model, build_tokenizer

TOKENIZER = build_tokenizer()
MODELS = {family: build_model(TOKENIZER, family=family) for family in ("llama", "qwen2")}
MODEL = MODELS["llama"]
HEADER = "def is_even(number):\n    if number % 2 == 0:\n        return True\n    return False\n\n\n# é 漢 🙂\n" * 2
INPUTS = ["def add(a, b):\n", "x", HEADER + "def add", HEADER + "for index in range(3):\n    total", "def add(a, b):\n"]


def sample(inputs=INPUTS, model=MODEL, **changes):
    options = {"n": 3, "max_new_tokens": 12, "temperature": 0.7, "stops": (), "seed": 5, "batch_size": 4}
    return generate(model, TOKENIZER, inputs, **(options | changes))


def teacher_forced(model, one, temperature):
    """log softmax(logits / temperature) of the sampled tokens, from one plain pass over prompt and completion."""
    with torch.no_grad():
        logits = model(torch.tensor([one.prompt_token_ids + one.token_ids])).logits[0].float() / temperature
    start = len(one.prompt_token_ids) - 1
    picked = logits[start:-1].log_softmax(-1).gather(1, torch.tensor(one.token_ids).unsqueeze(1))
    return picked.squeeze(1)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("batch_size", [1, 4, 15])
@pytest.mark.parametrize("pack_from", [0, 10**9])
def test_logprobs_are_those_of_a_fresh_forward_pass(family, batch_size, pack_from, monkeypatch):
    # prompts of 2 to 90 tokens share a batch, so that padding, positions and the shared beginning all matter
    monkeypatch.setattr(generation, "_PACK_FROM", pack_from)
    samples = sample(model=MODELS[family], batch_size=batch_size)
    assert [(one.input_no, one.sample_no) for one in samples] == [(i, s) for i in range(5) for s in range(3)]
    for one in samples:
        expected = teacher_forced(MODELS[family], one, 0.7)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=0)


def test_inputs_with_a_long_common_beginning_get_the_same_logprobs():
    inputs = [HEADER + tail for tail in ("a", "def b", "class C:\n    pass\n")]
    n_shared = decoding._shared_length([tuple(TOKENIZER.encode(text)) for text in inputs])
    assert n_shared >= decoding._MIN_SHARED  # the batch takes the shortcut that this test is about
    for one in sample(inputs, batch_size=9):
        torch.testing.assert_close(torch.tensor(one.logprobs), teacher_forced(MODEL, one, 0.7), atol=1e-4, rtol=0)


def test_greedy_completions_are_those_of_transformers_generate():
    samples = sample(n=1, temperature=0.0, max_new_tokens=20)
    for one in samples:
        ids = torch.tensor([one.prompt_token_ids])
        expected = MODEL.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
        assert list(one.token_ids) == expected[0, ids.shape[1] :].tolist()
        torch.testing.assert_close(torch.tensor(one.logprobs), teacher_forced(MODEL, one, 1.0), atol=1e-4, rtol=0)


def test_what_is_drawn_does_not_depend_on_who_shares_the_batch():
    alone = sample(batch_size=1)
    for batch_size in (2, 7, 15):
        assert [one.token_ids for one in sample(batch_size=batch_size)] == [one.token_ids for one in alone]
    assert sample(seed=6) != alone


def test_equal_inputs_and_samples_draw_from_streams_of_their_own():
    samples = sample(n=2)
    texts = [one.token_ids for one in samples if one.prompt_token_ids == tuple(TOKENIZER.encode("def add(a, b):\n"))]
    assert len(texts) == 4
    assert len(set(texts)) == 4


def test_first_tokens_follow_the_softmax():
    # 4000 draws against p = softmax(logits / 0.7): chi-squared over the tokens expected 40 times or more, rest pooled
    samples = sample(["def add(a, b):\n"], n=4000, max_new_tokens=1, batch_size=4000)
    with torch.no_grad():
        logits = MODEL(torch.tensor([samples[0].prompt_token_ids])).logits[0, -1].float() / 0.7
    expected = logits.softmax(-1) * 4000
    counts = torch.zeros_like(expected)
    for token, count in Counter(one.token_ids[0] for one in samples).items():
        counts[token] = count
    common = expected >= 40
    pooled = [(expected[~common].sum(), counts[~common].sum())]
    chi2 = sum((c - e) ** 2 / e for e, c in [*zip(expected[common], counts[common], strict=True), *pooled])
    degrees = int(common.sum())
    assert degrees >= 10
    assert chi2 < degrees + 4 * (2 * degrees) ** 0.5  # mean k, variance 2k; four standard deviations


@given(st.floats(0, 1, exclude_max=True, width=32))
@settings(max_examples=60, deadline=None)
def test_a_draw_inverts_the_cumulative_distribution(uniform):
    # p = (1/8, 0, 1/2, 3/8, 0): cumulative 1/8, 1/8, 5/8, 1, 1; tokens 1 and 4 have probability 0
    probabilities = torch.tensor([[0.125, 0.0, 0.5, 0.375, 0.0]])
    tokens, logprobs = draw(probabilities.log().clamp(min=-1e30), 1.0, torch.tensor([uniform]))
    expected = 0 if uniform < 0.125 else 2 if uniform < 0.625 else 3
    assert abs(uniform - 0.125) < 1e-6 or abs(uniform - 0.625) < 1e-6 or tokens.item() == expected
    assert tokens.item() in (0, 2, 3)
    assert logprobs.item() == pytest.approx(probabilities[0, tokens.item()].log().item(), abs=1e-6)


def test_logits_that_are_not_finite_are_an_error():
    with pytest.raises(IntegrityError, match="not finite"):
        draw(torch.tensor([[0.0, float("nan")]]), 1.0, torch.tensor([0.5]))


def test_a_stop_string_ends_its_row_with_the_token_that_completed_it():
    free = sample(max_new_tokens=40, batch_size=15)
    target = next(one for one in free if len(one.text) > 12 and "\ufffd" not in one.text[6:9])
    stop = target.text[6:9]  # three characters, mostly of several tokens
    for one, before in zip(sample(max_new_tokens=40, batch_size=15, stops=(stop, "never \0")), free, strict=True):
        assert one.token_ids == before.token_ids[: len(one.token_ids)]
        if stop in before.text:
            shorter = TOKENIZER.decode(one.token_ids[:-1], skip_special_tokens=True)
            assert (one.finish_reason, stop in one.text, stop in shorter) == ("stop", True, False)
        else:
            assert one.token_ids == before.token_ids
            assert one.finish_reason in ("eos", "length")


def test_a_stop_string_split_by_silent_tokens_is_found():
    # special tokens have no text: "a<pad>...<pad>b" reads "ab", however many lie between
    decoder = Decoder(MODEL, TOKENIZER, max_new_tokens=64, temperature=1.0, stops=("ab",), progress=None)
    a, b, pad = (TOKENIZER.convert_tokens_to_ids(token) for token in ("a", "b", "<|pad|>"))
    row = Row((0, 0), (a,), None, [a] + [pad] * 30 + [b])
    assert decoder._finish_reason(row) == "stop"


def test_an_end_token_is_kept_in_the_ids_and_not_in_the_text():
    end = TOKENIZER.eos_token_id
    samples = sample(n=40, max_new_tokens=60, batch_size=100)
    ended = [one for one in samples if one.finish_reason == "eos"]
    assert len(ended) >= 5
    for one in ended:
        assert one.token_ids.index(end) == len(one.token_ids) - 1
        assert one.text == TOKENIZER.decode(one.token_ids[:-1], skip_special_tokens=True)
        assert len(one.logprobs) == len(one.token_ids)
    assert all(len(one.token_ids) == 60 for one in samples if one.finish_reason == "length")


def test_every_end_token_of_the_configs_ends_a_text():
    model = build_model(TOKENIZER)
    model.generation_config.eos_token_id = [7, TOKENIZER.pad_token_id]
    assert end_token_ids(model, TOKENIZER) == {7, TOKENIZER.pad_token_id, TOKENIZER.eos_token_id}
    first = sample(["x"], n=1, max_new_tokens=1)[0].token_ids[0]
    model.generation_config.eos_token_id = [first]
    one = sample(["x"], model=model, n=1, max_new_tokens=9)[0]
    assert (one.token_ids, one.finish_reason, one.text) == ((first,), "eos", "")


def test_a_run_taken_up_again_is_the_uninterrupted_run():
    kept: dict = {}
    batches = []

    def keep(samples):
        batches.append(samples)
        kept.update({(one.input_no, one.sample_no): one for one in samples})

    whole = sample(on_batch=keep)
    assert sorted(one for batch in batches for one in batch) == whole
    assert [len(batch) for batch in batches] == [4, 4, 4, 3]  # 15 completions, four at a time
    first_two = {(one.input_no, one.sample_no): one for batch in batches[:2] for one in batch}
    again = []
    assert sample(done=first_two, on_batch=again.append) == whole
    assert again == batches[2:]
    assert sample(done=kept, on_batch=again.append) == whole
    assert again == batches[2:]


def test_progress_counts_every_completion_once():
    class Counting:
        total = 0.0

        def update(self, n=1):
            self.total += n

    counting = Counting()
    sample(progress=counting)
    assert counting.total == 15


def test_no_input_gives_no_sample():
    assert sample([]) == []


def test_an_input_that_does_not_fit_is_refused_by_its_number():
    with pytest.raises(InputError, match="model input 1 has no tokens"):
        sample(["x", ""])
    with pytest.raises(InputError, match="model input 0 has 2040 tokens; with 12 new ones"):
        sample(["é" * 1020])  # two bytes each, and no merge for them: 2040 tokens of 2048


@pytest.mark.parametrize("change", [{"n": 0}, {"temperature": 0.0}, {"stops": ("",)}, {"temperature": -1.0}])
def test_impossible_arguments_are_refused(change):
    with pytest.raises(ValueError, match="must be"):
        sample(**change)


def test_the_model_is_left_as_it_was(monkeypatch):
    monkeypatch.setattr(generation, "_PACK_FROM", 0)
    model = build_model(TOKENIZER).train()
    sample(model=model)
    assert model.training
    assert not any("forward" in vars(module) for module in model.modules())
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0


def test_packed_layers_compute_what_the_plain_ones_do():
    ids = torch.tensor([TOKENIZER.encode(HEADER)])
    with torch.no_grad():
        plain = MODEL(ids).logits
        with prepacked_linears(MODEL) as n_packed:
            packed = MODEL(ids).logits
    # two layers of q, k, v, o, gate, up, down, and the head
    assert n_packed == (15 if torch.backends.mkldnn.is_available() else 0)
    torch.testing.assert_close(packed, plain, atol=1e-4, rtol=0)


def test_a_policy_with_an_adapter_samples_from_base_plus_adapter():
    peft = pytest.importorskip("peft")
    model = build_model(TOKENIZER)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    model = peft.get_peft_model(model, config).eval()
    samples = sample(model=model)
    for one in samples:
        torch.testing.assert_close(torch.tensor(one.logprobs), teacher_forced(model, one, 0.7), atol=1e-4, rtol=0)
    assert [one.token_ids for one in samples] != [one.token_ids for one in sample()]


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5),
    st.integers(1, 20),
    st.lists(st.integers(0, 2), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_the_roomy_cache_holds_what_the_cache_of_transformers_holds(lengths, room, rows):
    # three rows get `lengths` tokens in turn, then `rows` are kept (or doubled), then one more token comes
    ours, theirs = RoomyLayer(room), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    for length in lengths:
        new = torch.randn(2, 3, 2, length, 4, generator=generator)
        for mine, other in zip(ours.update(*new), theirs.update(*new), strict=True):
            assert torch.equal(mine, other)
    new = torch.randn(2, len(rows), 2, 1, 4, generator=generator)
    for layer in (ours, theirs):
        layer.batch_select_indices(torch.tensor(rows))
    for mine, other in zip(ours.update(*new), theirs.update(*new), strict=True):
        assert torch.equal(mine, other)
    assert ours.get_seq_length() == sum(lengths) + 1


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_the_nucleus_is_that_of_transformers(top_p, spread):
    from transformers import TopPLogitsWarper

    from crlhf.policy.decoding import nucleus

    logits = torch.randn(5, 1000, generator=torch.Generator().manual_seed(1)).double() * spread
    assert torch.equal(nucleus(logits, top_p), TopPLogitsWarper(top_p)(None, logits))


def test_a_draw_from_the_nucleus_is_scaled_up_to_one():
    # p = (1/2, 1/4, 1/8, 1/8); top_p 0.6 keeps the first two, which become 2/3 and 1/3
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for uniform, token, probability in ((0.0, 0, 2 / 3), (0.66, 0, 2 / 3), (0.67, 1, 1 / 3), (0.999, 1, 1 / 3)):
        tokens, logprobs = draw(logits, 1.0, torch.tensor([uniform]), 0.6)
        assert tokens.item() == token
        assert logprobs.exp().item() == pytest.approx(probability, abs=1e-6)
