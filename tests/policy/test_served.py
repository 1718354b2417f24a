"""A tuned policy as MLflow hands it out: an adapter on the cache's base, or a whole policy that needs no base."""

from __future__ import annotations

import json

import pytest

from crlhf.policy import base
from crlhf.policy.base import load_policy
from crlhf.policy.engines import open_engine
from crlhf.policy.served import _load_pyfunc
from tests.tiny_policy import build_tiny_policy

TEXTS = ["def add(a, b):\n", "x"]
SHORT = {"max_new_tokens": 8}


def answers(folder, adapter=None):
    options = {"n": 1, "temperature": 0.0, "seed": 0, "stops": (), "batch_size": 16}
    return [sample.text for sample in open_engine("policy", folder, adapter).generate(TEXTS, **options, **SHORT)]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The base policy, in the cache under any manifest."""
    folder = build_tiny_policy(tmp_path / "base", seed=1)
    monkeypatch.setattr(base, "policy_folder", lambda manifest, cache: folder)
    return folder


def registered(folder, weights):
    (folder / "manifest.json").write_text(json.dumps({"base": {"policy_id": "b"}, "weights": weights}))
    return str(folder)


def test_a_policy_of_which_all_weights_were_tuned_is_served_from_its_own(cached, tmp_path):
    whole = build_tiny_policy(tmp_path / "r1" / "policy", seed=2)
    served = _load_pyfunc(registered(tmp_path / "r1", "policy"))
    assert served.predict(TEXTS, SHORT) == answers(whole) != answers(cached)


def test_an_adapter_is_served_on_the_base_in_the_cache(cached, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    model, _ = load_policy(cached)
    torch.manual_seed(0)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    tuned.save_pretrained(str(tmp_path / "r1" / "adapter"))
    served = _load_pyfunc(registered(tmp_path / "r1", "adapter"))
    assert served.predict(TEXTS, SHORT) == answers(cached, tmp_path / "r1" / "adapter") != answers(cached)
