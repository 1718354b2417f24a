"""params.yaml and its bounds."""

from pathlib import Path

import pytest
import yaml

from crlhf.errors import ParamsError
from crlhf.params import load_params

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def changed(tmp_path, section, **values):
    content = yaml.safe_load(SHIPPED.read_text())
    content[section] |= values
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_shipped_params_parse():
    params = load_params(SHIPPED)
    assert params.model_dump(mode="json").keys() == yaml.safe_load(SHIPPED.read_text()).keys()


@pytest.mark.parametrize(
    ("section", "values", "word"),
    [
        ("ppo", {"gamma": 1.5}, "ppo.gamma"),
        ("ppo", {"batch_size": 10}, "multiple of ppo.micro_batch_size"),
        ("ppo", {"klcoef": 0.1}, "ppo.klcoef"),
        ("completions", {"temperature": 0}, "completions.temperature"),
        ("benchmarks", {"k": [10]}, "pass@10 needs at least 10"),
        ("benchmarks", {"n_samples": 4}, "greedy samples are all the same"),
        ("crowd", {"verdicts_per_completion": 99}, "cannot give 99 verdicts"),
        ("base_policy", {"sha256": "abc"}, "base_policy.sha256"),
    ],
)
def test_a_value_out_of_bounds_is_named(tmp_path, section, values, word):
    with pytest.raises(ParamsError, match=word):
        load_params(changed(tmp_path, section, **values))


def test_a_missing_or_broken_file_says_so(tmp_path):
    with pytest.raises(ParamsError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(ParamsError, match="not readable as YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("")
    with pytest.raises(ParamsError, match="the file"):
        load_params(tmp_path / "params.yaml")
