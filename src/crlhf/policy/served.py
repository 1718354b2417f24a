"""A tuned policy as an MLflow model: `mlflow.pyfunc.load_model("models:/crlhf-policy@r1").predict([...])`.

MLflow keeps the folder of the policy: manifest, and adapter or all weights. The base weights of an adapter stay in the
shared cache, where they are looked for by the manifest's hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crlhf.fetch import cache_folder
from crlhf.policy.engines import Engine, open_engine
from crlhf.store import read_json


class ServedPolicy:
    """What MLflow hands out: model inputs in, completions out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        """One completion for each model input.

        Args:
            model_input: texts, or a table whose first column holds them.
            params: `max_new_tokens` (256), `temperature` (0, greedy), `seed` (0), `stops` (none).
        """
        defaults: dict[str, Any] = {"max_new_tokens": 256, "temperature": 0.0, "seed": 0, "stops": ()}
        chosen = defaults | (params or {})
        texts = _texts(model_input)
        return [sample.text for sample in self._engine.generate(texts, n=1, batch_size=16, **chosen)]


def _texts(model_input: Any) -> list[str]:
    column = model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input
    rows: Iterable[Any] = [column] if isinstance(column, str) else column
    return [str(text) for text in rows]


def _load_pyfunc(path: str) -> ServedPolicy:
    """MLflow's entry point: `path` is a copy of the policy's folder."""
    from crlhf.policy.base import policy_folder
    from crlhf.policy.ppo.tuning import LoraTuning

    folder = Path(path)
    manifest = read_json(folder / "manifest.json")
    weights = folder / manifest["weights"]
    if weights.name != LoraTuning.result:
        return ServedPolicy(open_engine("policy", weights))
    return ServedPolicy(open_engine("policy", policy_folder(manifest["base"], cache_folder()), weights))
