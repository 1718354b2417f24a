"""Engines: the rounded arithmetics on a tiny policy, and what is asked of vLLM, which a stand-in plays here."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from crlhf.errors import ParamsError
from crlhf.policy import engines, prepacked
from crlhf.policy.engines import PolicyEngine, open_engine
from crlhf.policy.prepacked import prepacked_linears
from tests.tiny_policy import build_model, build_tiny_policy, build_tokenizer

TOKENIZER = build_tokenizer()
MODEL = build_model(TOKENIZER)
INPUTS = ["def add(a, b):\n", "x", "class Stack:\n    def push(self, item):\n"]
OPTIONS = {"n": 2, "max_new_tokens": 12, "temperature": 0.7, "stops": (), "seed": 5, "batch_size": 4}


def test_int8_rounds_each_row_by_its_own_largest_entry():
    # row 1: scale 2/127: 2 -> 127, -1 -> -63.5 -> -64 (to even), 0.5 -> 31.75 -> 32; row 2 is zero and stays zero
    rows, scale = prepacked._quantise(torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]]))
    assert rows.tolist() == [[127, -64, 32], [0, 0, 0]]
    assert scale[0].item() == pytest.approx(2 / 127)


@pytest.mark.parametrize(("arithmetic", "tolerance"), [("bfloat16", 0.02), ("int8", 0.03)])
def test_rounded_layers_come_close_and_leave_the_model_as_it_was(arithmetic, tolerance):
    torch.manual_seed(1)
    layer = torch.nn.Linear(64, 96)
    inputs = torch.randn(3, 5, 64)
    plain = layer(inputs)
    with torch.no_grad(), prepacked_linears(torch.nn.Sequential(layer), arithmetic) as n_packed:
        rounded = layer(inputs)
    assert n_packed == 1
    gap = (rounded - plain).abs().max() / plain.abs().max()
    assert 0 < gap < tolerance
    assert torch.equal(layer(inputs), plain)


def test_int8_gives_a_token_the_same_output_whoever_shares_the_batch():
    torch.manual_seed(2)
    layer = torch.nn.Linear(32, 48)
    token, loud = torch.randn(1, 32), 100 * torch.randn(7, 32)
    with torch.no_grad(), prepacked_linears(torch.nn.Sequential(layer), "int8"):
        alone, together = layer(token), layer(torch.cat([token, loud]))[:1]
    assert torch.equal(alone, together)


@pytest.mark.parametrize(("arithmetic", "tolerance"), [("bfloat16", 0.03), ("int8", 0.2)])
def test_a_rounded_engine_samples_from_nearly_the_policy(arithmetic, tolerance):
    for one in PolicyEngine(MODEL, TOKENIZER, arithmetic).generate(INPUTS, **OPTIONS):
        with torch.no_grad():  # the first token: only the arithmetic lies between the two
            logits = MODEL(torch.tensor([one.prompt_token_ids])).logits[0, -1] / OPTIONS["temperature"]
        assert 0 < abs(logits.log_softmax(-1)[one.token_ids[0]].item() - one.logprobs[0]) < tolerance


def test_an_arithmetic_that_cannot_be_had_is_refused_not_replaced():
    double = build_model(TOKENIZER).double()
    with pytest.raises(ParamsError, match="cannot be computed in int8"):
        PolicyEngine(double, TOKENIZER, "int8").generate(INPUTS, **OPTIONS)


def test_an_unknown_engine_and_a_missing_vllm_are_clear_errors(tmp_path):
    with pytest.raises(ParamsError, match="choose one of policy, bfloat16, int8, vllm"):
        open_engine("warp", tmp_path)
    if "vllm" not in sys.modules:
        with pytest.raises(ParamsError, match="pip install vllm"):
            open_engine("vllm", tmp_path)


def test_vllm_is_asked_for_seeded_samples_and_its_answers_are_read(monkeypatch, tmp_path):
    asked = []

    class LLM:
        def __init__(self, **options):
            self.options = options

        def get_tokenizer(self):
            return TOKENIZER

        def generate(self, prompts, settings, lora_request, use_tqdm):
            asked.extend(zip(prompts, settings, strict=True))
            assert lora_request is None
            ends = [("stop", "\ndef"), ("stop", None), ("length", None)]
            outputs = []
            for number in range(len(prompts)):
                finish, reason = ends[(len(asked) - len(prompts) + number) % 3]
                step = {7: SimpleNamespace(logprob=-0.5)}
                outputs.append(
                    SimpleNamespace(
                        outputs=[
                            SimpleNamespace(
                                token_ids=[7], logprobs=[step], text="t", finish_reason=finish, stop_reason=reason
                            )
                        ]
                    )
                )
            return outputs

    fake = ModuleType("vllm")
    fake.LLM = LLM
    fake.SamplingParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", fake)
    engine = engines.VllmEngine(tmp_path)
    batches = []
    samples = engine.generate(INPUTS, **(OPTIONS | {"n": 1, "batch_size": 2, "on_batch": batches.append}))
    assert [len(batch) for batch in batches] == [2, 1]
    assert [one.input_no for one in samples] == [0, 1, 2]
    assert {one.finish_reason for one in samples} == {"stop", "eos", "length"}
    assert samples[0].logprobs == (-0.5,)
    assert len({settings.seed for _, settings in asked}) == 3
    ids = {tuple(prompt["prompt_token_ids"]) for prompt, _ in asked}
    assert ids == {tuple(TOKENIZER(text)["input_ids"]) for text in INPUTS}
    asked.clear()
    kept = {(one.input_no, one.sample_no): one for one in samples}
    assert engine.generate(INPUTS, **(OPTIONS | {"n": 1, "batch_size": 2, "done": kept})) == samples
    assert not asked


def test_open_engine_loads_a_prepared_policy(tmp_path):
    folder = build_tiny_policy(tmp_path / "policy")
    engine = open_engine("bfloat16", folder)
    assert engine.arithmetic == "bfloat16"
    assert len(engine.generate(INPUTS, **OPTIONS)) == 6
