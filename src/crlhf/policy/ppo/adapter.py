"""The adapter's files: the same bytes for the same weights, wherever and in whatever folder they were trained."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def save_adapter(model: Any, folder: Path) -> None:
    """Write a PEFT model's adapter so that `PeftModel.from_pretrained` loads it.

    PEFT's own `save_pretrained` also writes a card, the path of the base model, and the target modules in the order of
    a set. The last two differ from run to run and neither is needed, so the path is cut to its name and the modules
    are sorted.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # Embeddings are frozen. The automatic choice would ask the Hub for the base model's configuration.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: x.detach().cpu().contiguous() for name, x in weights.items()}, folder / WEIGHTS)
    settings = copy.deepcopy(model.active_peft_config)
    settings.inference_mode = True
    settings.base_model_name_or_path = Path(settings.base_model_name_or_path or "").name
    settings.save_pretrained(str(folder))
    written = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if isinstance(written.get("target_modules"), list):
        written["target_modules"] = sorted(written["target_modules"])
    (folder / CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(model: Any, folder: Path) -> None:
    """Put weights that `save_adapter` wrote into a model that has the adapter already."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / WEIGHTS))
