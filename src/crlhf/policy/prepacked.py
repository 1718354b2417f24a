"""Linear layers whose weights are packed once for small batches, while a policy is sampled on a CPU.

A decode step multiplies a few rows by every weight matrix of the policy. The usual kernel packs the matrix anew at each
call; packed once, by oneDNN, the same float32 product takes a half to two thirds of the time at 4 to 64 rows. Weights
are not changed, results differ in the last bits only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_TOLERANCE = 1e-4  # of a packed product against the plain one, relative to its largest entry


@contextmanager
def prepacked_linears(model: torch.nn.Module) -> Iterator[int]:
    """Within the block, every float32 linear layer of `model` on a CPU multiplies by a packed copy of its weight.

    Yields the number of packed layers: 0 where this build of torch has no oneDNN, or its product is not the plain one;
    the layers then stay as they are. The copies take as much memory again as the weights, and are dropped at the end.
    The weights must not change within the block: it is for sampling, not for training.
    """
    import torch

    packed: list[torch.nn.Module] = []
    proved: set[tuple[int, ...]] = set()
    try:
        for module in model.modules():
            is_own = "forward" not in vars(module)  # nobody else has put another forward in
            if type(module) is torch.nn.Linear and is_own and _can_pack(module.weight):
                forward = _packed_forward(module)
                shape = tuple(module.weight.shape)
                if forward is None or not (shape in proved or _is_same(module, forward)):
                    break
                proved.add(shape)
                vars(module)["forward"] = forward
                packed.append(module)
        yield len(packed)
    finally:
        for module in packed:
            del module.forward  # the class's own comes back


def _can_pack(weight: torch.Tensor) -> bool:
    import torch

    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return has_onednn and weight.device.type == "cpu" and weight.dtype == torch.float32


def _packed_forward(module: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The forward of `module` over a packed copy of its weight, or None where torch cannot make one."""
    import torch

    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    try:
        multiply = torch.ops.mkldnn._linear_pointwise
        matrix = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    except (AttributeError, RuntimeError):
        return None

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = multiply(inputs, matrix, bias, "none", [], "")
        return product

    return forward


def _is_same(module: torch.nn.Linear, forward: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether `forward` computes what `module` does, on two rows; once for each shape is enough."""
    import torch

    with torch.no_grad():
        inputs = module.weight[:2].contiguous()
        plain = module(inputs)
        try:
            difference = (forward(inputs) - plain).abs().max()
        except RuntimeError:
            return False
        return bool(difference <= _TOLERANCE * plain.abs().max().clamp(min=1e-6))
