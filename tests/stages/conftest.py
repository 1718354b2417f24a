"""Policies that the stage tests share."""

import shutil

import pytest
import torch

from tests.tiny_policy import build_model, build_tiny_policy, build_tokenizer

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<me>{% endif %}"


@pytest.fixture(scope="session")
def policies(tmp_path_factory):
    """A place with the policies `tiny`, `talker` (with a chat template) and `tuned` (an adapter of tiny)."""
    from peft import LoraConfig, get_peft_model

    home = tmp_path_factory.mktemp("policies")
    build_tiny_policy(home / "tiny")
    shutil.copytree(home / "tiny", home / "talker")
    (home / "talker/chat_template.jinja").write_text(CHAT)
    torch.manual_seed(1)
    adapted = get_peft_model(build_model(build_tokenizer()), LoraConfig(init_lora_weights=False, r=8, lora_alpha=64))
    adapted.save_pretrained(home / "tuned")
    return home
