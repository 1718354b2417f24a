"""What PPO trains: a LoRA adapter on frozen weights, or all weights. How each is prepared, kept and measured against.

The reference policy is always the model as the caller gave it, however many rounds were trained before:

| | the reference is | memory beside the policy |
| --- | --- | --- |
| `LoraTuning` | the same weights with the adapter off | none |
| `FullTuning`, stored rollouts | those weights, before training begins | none; with a `start` a copy, until then |
| `FullTuning`, online | a frozen copy, put in place for a pass each round | one copy of the weights on the CPU |
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from crlhf.errors import MissingInputError, ParamsError
from crlhf.params import PPOParams

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
FULL_WEIGHTS = "model.safetensors"
FULL_INDEX = "model.safetensors.index.json"
"""Names the shards that transformers cuts a large policy into; there is no FULL_WEIGHTS then."""


class Tuning(Protocol):
    """One way to tune.

    Attributes:
        result: name of the folder that the trained weights are written to.
    """

    result: str

    def prepared(self, model: Any) -> tuple[Any, Any]:
        """The model as the trainer takes it, with the weights to start from, and PEFT's settings or None."""

    def is_reference(self, model: Any) -> bool:
        """Whether the policy is still the reference, so that one pass serves both."""

    def reference(self, model: Any) -> Any:
        """A context in which the model is the reference."""

    def save(self, model: Any, folder: Path, state_dict: Mapping[str, Any] | None = None) -> None:
        """Write the trained weights into a checkpoint; `state_dict`: gathered from shards, where there are any."""

    def load(self, model: Any, folder: Path) -> None:
        """Read what `save` wrote."""

    def write(self, model: Any, tokenizer: Any, folder: Path, state_dict: Mapping[str, Any] | None = None) -> None:
        """Write the trained weights as other programs load them."""


def tuning_of(params: PPOParams, start: Path | None, *, keeps_reference: bool) -> Tuning:
    """The tuning that the params ask for.

    Args:
        params: the section `ppo` of params.yaml.
        start: folder of an earlier round's result.
        keeps_reference: the reference is asked for after training has begun.
    """
    return LoraTuning(params, start) if params.fine_tuning == "lora" else FullTuning(start, keeps_reference)


class LoraTuning:
    """A LoRA adapter; the base weights never change."""

    result = "adapter"

    def __init__(self, params: PPOParams, start: Path | None) -> None:
        self._params = params
        self._start = None if start is None else start / self.result

    def prepared(self, model: Any) -> tuple[Any, Any]:
        """The model with the adapter of the start, or settings of a new one.

        Raises:
            MissingInputError: the start has no adapter.
            ParamsError: the adapter of the start has another shape than the params ask for.
        """
        from peft import LoraConfig, PeftModel

        params = self._params
        if self._start is not None:
            model = self._with_start(model, self._start)
        if isinstance(model, PeftModel):
            for name, parameter in model.named_parameters():
                parameter.requires_grad_("lora_" in name)
            return model, None
        return model, LoraConfig(
            r=params.lora_r,
            lora_alpha=params.lora_alpha,
            lora_dropout=0.0,
            target_modules=list(params.lora_target_modules),
            bias="none",
            task_type="CAUSAL_LM",
        )

    def _with_start(self, model: Any, start: Path) -> Any:
        from peft import PeftModel

        if isinstance(model, PeftModel):
            raise ValueError("give the base model, or a model with an adapter and no start")
        if not (start / CONFIG).is_file():
            raise MissingInputError(f"{start}: no adapter to start from")
        found = json.loads((start / CONFIG).read_text(encoding="utf-8"))
        wanted = {"r": self._params.lora_r, "lora_alpha": self._params.lora_alpha}
        for name, value in wanted.items():
            if found[name] != value:
                raise ParamsError(
                    f"{start}: the adapter to start from has {name} = {found[name]}, params.yaml asks for {value}; "
                    "rounds share one adapter, so its shape must stay"
                )
        return PeftModel.from_pretrained(model, start, is_trainable=True)

    def is_reference(self, model: Any) -> bool:
        """True while the adapter changes nothing: its B matrices are 0."""
        return not any(bool(p.any()) for name, p in model.named_parameters() if "lora_B" in name)

    def reference(self, model: Any) -> Any:
        """The adapter is off within."""
        return model.disable_adapter()

    def save(self, model: Any, folder: Path, state_dict: Mapping[str, Any] | None = None) -> None:
        """Write the adapter's files: the same bytes for the same weights, wherever they were trained.

        PEFT's own `save_pretrained` also writes a card, the path of the base model, and the target modules in the order
        of a set. The last two differ from run to run and neither is needed, so the path is cut to its name and the
        modules are sorted.
        """
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        # Embeddings are frozen. The automatic choice would ask the Hub for the base model's configuration.
        weights = get_peft_model_state_dict(model, state_dict=state_dict, save_embedding_layers=False)
        save_file({name: x.detach().cpu().contiguous() for name, x in weights.items()}, folder / WEIGHTS)
        settings = copy.deepcopy(model.active_peft_config)
        settings.inference_mode = True
        settings.base_model_name_or_path = Path(settings.base_model_name_or_path or "").name
        settings.save_pretrained(str(folder))
        written = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if isinstance(written.get("target_modules"), list):
            written["target_modules"] = sorted(written["target_modules"])
        (folder / CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, model: Any, folder: Path) -> None:
        """Put weights that `save` wrote into a model that has the adapter already."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        set_peft_model_state_dict(model, load_file(folder / WEIGHTS))

    def write(self, model: Any, tokenizer: Any, folder: Path, state_dict: Mapping[str, Any] | None = None) -> None:
        """The adapter, as `PeftModel.from_pretrained` loads it."""
        self.save(model, folder, state_dict)


class FullTuning:
    """All weights, embeddings and output layer included."""

    result = "policy"

    def __init__(self, start: Path | None, keeps_reference: bool) -> None:
        self._start = None if start is None else start / self.result
        self._keeps = keeps_reference
        self._reference: dict[str, Any] | None = None
        self._has_begun = False

    def prepared(self, model: Any) -> tuple[Any, Any]:
        """The model with the weights of the start, if any; a copy of the reference is made where one is needed.

        Raises:
            MissingInputError: the start has no weights.
        """
        from peft import PeftModel

        if isinstance(model, PeftModel):
            raise ParamsError("ppo.fine_tuning full trains a model without an adapter; merge the adapter first")
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        if self._keeps or self._start is not None:
            self._reference = {name: p.detach().cpu().clone() for name, p in model.named_parameters()}
        if self._start is not None:
            self._put(model, self._start)
        return model, None

    def is_reference(self, model: Any) -> bool:
        """True in the first pass of a run that starts from the reference; the next ones come after updates."""
        is_first = self._start is None and not self._has_begun
        self._has_begun = True
        return is_first

    @contextmanager
    def reference(self, model: Any) -> Iterator[None]:
        """The reference's weights are in place within, the policy's again afterwards."""
        assert self._reference is not None
        own = {name: p.data for name, p in model.named_parameters() if name in self._reference}
        try:
            for name, parameter in model.named_parameters():
                if name in own:
                    parameter.data = self._reference[name].to(parameter.device)
            yield
        finally:
            for name, parameter in model.named_parameters():
                if name in own:
                    parameter.data = own[name]
            if not self._keeps:
                self._reference = None

    def save(self, model: Any, folder: Path, state_dict: Mapping[str, Any] | None = None) -> None:
        """Write all weights, tied ones once."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        seen: set[int] = set()
        kept = {}
        for name, tensor in self._weights(model, state_dict).items():
            if tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                kept[name] = tensor.detach().cpu().contiguous()
        save_file(kept, folder / FULL_WEIGHTS)

    def load(self, model: Any, folder: Path) -> None:
        """Read what `save` wrote; the rollouts of a checkpoint already hold what the reference says of them."""
        self._put(model, folder)
        self._has_begun = True
        if not self._keeps:
            self._reference = None

    def write(self, model: Any, tokenizer: Any, folder: Path, state_dict: Mapping[str, Any] | None = None) -> None:
        """The whole policy, weights, configuration and tokenizer, as transformers loads it."""
        model.save_pretrained(folder, state_dict=self._weights(model, state_dict))
        tokenizer.save_pretrained(folder)

    @staticmethod
    def _weights(model: Any, state_dict: Mapping[str, Any] | None) -> dict[str, Any]:
        weights = model.state_dict() if state_dict is None else state_dict
        return {name: tensor for name, tensor in weights.items() if not name.startswith("value_head.")}

    @staticmethod
    def _put(model: Any, folder: Path) -> None:
        """Read what `save` or `write` wrote: one file, or the shards of a large policy that an index names."""
        from safetensors.torch import load_file

        index = folder / FULL_INDEX
        names = {FULL_WEIGHTS}
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        for name in sorted(names):
            if not (folder / name).is_file():
                raise MissingInputError(f"{folder / name}: no weights to start from")
        for name in sorted(names):
            model.load_state_dict(load_file(folder / name), strict=False)
