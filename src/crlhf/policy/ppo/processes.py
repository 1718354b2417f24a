"""Several processes that train one policy: what they add up, share and wait for. With one process all is a no-op."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def n_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; process 0 writes files and reports."""
    return dist.get_rank() if n_processes() > 1 else 0


def added_up(tensor: Tensor, device: Any) -> Tensor:
    """The sum over processes, the same in each; where all but one hold 0 it is exact."""
    if n_processes() == 1:
        return tensor
    total = tensor.to(device, copy=True)
    dist.all_reduce(total)
    return total.to(tensor.device)


def of_main(value: T) -> T:
    """What process 0 holds."""
    if n_processes() == 1:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    found: T = box[0]
    return found


def gathered(values: list[T]) -> list[T]:
    """The lists of all processes, one after another."""
    if n_processes() == 1:
        return values
    boxes: list[Any] = [None] * n_processes()
    dist.all_gather_object(boxes, values)
    return [value for box in boxes for value in box]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if n_processes() > 1:
        dist.barrier()


def added_up_sums(sums: dict[str, float], names: list[str], device: Any) -> dict[str, float]:
    """The sums of all processes under `names`; a name that is missing counts as 0."""
    if n_processes() == 1:
        return {name: sums.get(name, 0.0) for name in names}
    total = added_up(torch.tensor([sums.get(name, 0.0) for name in names], dtype=torch.float64), device)
    return dict(zip(names, total.tolist(), strict=True))
