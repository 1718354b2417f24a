"""Started by torchrun: two optimiser steps of PPO's forward pass and losses on weights sharded by FSDP2, on CPUs.

accelerate shards on accelerators only, so the sharding is done here, as it does it: each layer, then the last norm with
the output layer, then the rest. Prints the largest difference from the same steps without sharding.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard

from crlhf.policy.ppo.losses import clipped_policy_loss, clipped_value_loss
from crlhf.policy.ppo.packing import pack_responses
from crlhf.policy.ppo.value_head import ValueHead, add_response_scores
from tests.policy.ppo.tiny import TEMPERATURE, make_policy, sample_rollouts


def build() -> Any:
    torch.manual_seed(0)
    # The 0.5B policy and larger ones keep their embeddings apart; tied ones are one group in accelerate.
    config = copy.deepcopy(make_policy().config)
    config.tie_word_embeddings = False
    base = type(make_policy())(config)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    add_response_scores(base, ValueHead(32, 0.5), TEMPERATURE)
    return model


def shard(model: Any) -> Any:
    inner = model.get_base_model()
    for layer in inner.model.layers:
        fully_shard(layer)
    fully_shard(inner.model.embed_tokens)
    fully_shard([inner.model.norm, inner.lm_head], reshard_after_forward=False)
    return fully_shard(model)


def train(model: Any, rows: list[dict[str, Any]], share: int, of: int) -> None:
    """Two steps on `rows`, of which this process takes each `of`-th; gradients are averaged over processes."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    n_tokens = sum(len(row["token_ids"]) for row in rows)
    for _ in range(2):
        mine = rows[share::of]
        batch = pack_responses([row["prompt_token_ids"] for row in mine], [row["token_ids"] for row in mine], 0)
        found = model(**{name: value for name, value in batch._asdict().items() if name != "n_tokens"})
        mask = batch.response_mask
        old = torch.nn.utils.rnn.pad_sequence([torch.tensor(row["logprobs"]) for row in mine], batch_first=True)
        goal = torch.tensor([row["reward"] for row in mine])[:, None].expand(mask.shape)
        policy = clipped_policy_loss(found.logprobs, old, goal - 0.5, mask, 0.2).loss_sum
        value = clipped_value_loss(found.value_predictions, torch.full(mask.shape, 0.5), goal, mask, 0.2).loss_sum
        ((policy + 0.1 * value) * of / n_tokens).backward()
        optimizer.step()
        optimizer.zero_grad()


def whole(tensor: Any) -> torch.Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach()


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rows = sample_rollouts(make_policy()).to_dict("records")
    plain, sharded = build(), shard(build())
    n_sharded = sum(hasattr(p, "full_tensor") for p in sharded.parameters())
    train(plain, rows, 0, 1)
    train(sharded, rows, dist.get_rank(), dist.get_world_size())
    before = {name: p.detach() for name, p in build().named_parameters()}
    after = {name: whole(p) for name, p in sharded.named_parameters()}
    gaps = [float((after[name] - p).abs().max()) for name, p in plain.named_parameters()]
    moved = max(float((after[name] - p).abs().max()) for name, p in before.items())
    if dist.get_rank() == 0:
        print(f"SHARDED {n_sharded} of {len(gaps)} MOVED {moved} GAP {max(gaps)}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
