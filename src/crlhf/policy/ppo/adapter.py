"""The adapter's files: the same bytes for the same weights, wherever and in whatever folder they were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_adapter(model: Any, folder: Path) -> None:
    """Write a PEFT model's adapter as `adapter_model.safetensors` and `adapter_config.json`.

    PEFT writes the path of the base model and the target modules in the order of a set; both differ from run to run
    and neither is needed to load the adapter, so the path is cut to its name and the modules are sorted.
    """
    # Embeddings are frozen. The automatic choice would ask the Hub for the base model's configuration.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = Path(config.get("base_model_name_or_path") or "").name
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
