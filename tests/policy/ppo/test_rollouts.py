import numpy as np
import pytest
import torch

from crlhf.errors import InputError
from crlhf.policy.ppo.rollouts import Rollouts, read_rollouts, rollouts_sha256
from tests.policy.ppo.tiny import make_policy, sample_rollouts


@pytest.fixture
def table():
    return sample_rollouts(make_policy())


def test_rollouts_are_taken_as_stored(table):
    rollouts = read_rollouts(table)
    assert rollouts.responses == table["token_ids"].tolist()
    assert rollouts.problem_nos.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    for row, logprobs in enumerate(table["logprobs"]):
        np.testing.assert_array_equal(rollouts.old_logprobs[row, : len(logprobs)], np.float32(logprobs))


def test_a_saved_round_is_read_back_exactly(table, tmp_path):
    rollouts = read_rollouts(table)
    rollouts.advantages = torch.randn(8, 6)
    rollouts.save(tmp_path / "rollouts.safetensors")
    again = Rollouts.load(tmp_path / "rollouts.safetensors")
    assert (again.prompts, again.responses) == (rollouts.prompts, rollouts.responses)
    for name in ("problem_nos", "scores", "old_logprobs", "advantages"):
        assert torch.equal(getattr(again, name), getattr(rollouts, name)), name
    assert again.returns is None


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("reward", float("nan"), "no finite reward"),
        ("reward", None, "no finite reward"),
        ("token_ids", [], "no tokens"),
        ("prompt_token_ids", [], "no prompt tokens"),
        ("logprobs", [-1.0], "tokens but 1 log-probabilities"),
        ("logprobs", [-1.0] * 5 + [float("-inf")], "above 0 or not finite"),
        ("logprobs", [-1.0] * 5 + [0.5], "above 0 or not finite"),
    ],
)
def test_an_unusable_row_is_named(table, column, value, fault):
    table = table.astype({"reward": object})
    table.at[0, column] = value
    with pytest.raises(InputError, match=f"completion c0-0 has .*{fault}"):
        read_rollouts(table)


def test_a_table_that_is_empty_repeats_or_lacks_a_column_is_refused(table):
    with pytest.raises(InputError, match="no annotated completion"):
        read_rollouts(table.iloc[:0])
    with pytest.raises(InputError, match="columns missing: reward"):
        read_rollouts(table.drop(columns="reward"))
    with pytest.raises(InputError, match="c0-1 is there more than once"):
        read_rollouts(table.replace({"completion_id": {"c0-0": "c0-1"}}))


def test_the_hash_sees_one_changed_score(table):
    before = rollouts_sha256(read_rollouts(table))
    assert rollouts_sha256(read_rollouts(table)) == before
    table.at[3, "reward"] += 1e-6
    assert rollouts_sha256(read_rollouts(table)) != before
