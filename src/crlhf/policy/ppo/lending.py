"""Give back what training borrows: the caller's model, the random state, and the warnings filter."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Hide notices that transformers is about to rename settings which TRL passes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is deprecated and will be removed in v6", category=FutureWarning)
        yield


@contextmanager
def lent(model: Any) -> Iterator[None]:
    """Give the caller's model and the global random state back as they were, however training ends."""
    import numpy as np
    import torch
    from peft import PeftModel

    came_with_adapter = isinstance(model, PeftModel)
    base = model.get_base_model() if came_with_adapter else model
    forward, was_training = base.__dict__.get("forward"), model.training
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
        with quiet():
            base.gradient_checkpointing_disable()
        base.__dict__.pop("forward", None)
        if forward is not None:
            base.forward = forward
        if hasattr(base, "value_head"):
            del base.value_head
        if not came_with_adapter:
            _take_adapter_off(base)
        model.train(was_training)


def _take_adapter_off(base: Any) -> None:
    """Put the plain layers back where LoRA layers were injected."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(name, module) for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in wrapped:
        parent, _, child = name.rpartition(".")
        setattr(base.get_submodule(parent), child, module.get_base_layer())
    if hasattr(base, "peft_config"):
        del base.peft_config
