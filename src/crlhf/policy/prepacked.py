"""Linear layers whose weights are packed once for small batches, while a policy is sampled on a CPU.

A decode step multiplies a few rows by every weight matrix of the policy. The usual kernel packs the matrix anew at each
call; packed once, by oneDNN, the same float32 product takes a half to two thirds of the time at 4 to 64 rows. Weights
are not changed, results differ in the last bits only.

Two coarser arithmetics serve evaluation, where no log-probability of the exact policy is needed:

- `bfloat16`: weights and inputs rounded to 8 bits of mantissa, sums in float32. Fast where the CPU multiplies bfloat16
  (AMX, AVX512-BF16), slow elsewhere.
- `int8`: weights rounded to 8-bit integers with one scale a row of the matrix (output feature), inputs with one scale a
  row of the batch (token), `y = (q_x q_w^T) s_x s_w`, `s = max|.| / 127`, sums exact in int32. A token's scale is its
  own, so what is written does not depend on who shares the batch; torch's own dynamic quantisation takes one scale a
  batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    Forward = Callable[[torch.Tensor], torch.Tensor]

Arithmetic = Literal["float32", "bfloat16", "int8"]

_TOLERANCES: dict[Arithmetic, float] = {"float32": 1e-4, "bfloat16": 2e-2, "int8": 5e-2}
"""Of a packed product against the plain one, relative to its largest entry."""


@contextmanager
def prepacked_linears(model: torch.nn.Module, arithmetic: Arithmetic = "float32") -> Iterator[int]:
    """Within the block, every float32 linear layer of `model` on a CPU multiplies by a packed copy of its weight.

    Yields the number of packed layers: 0 where this build of torch has no oneDNN, or its product is not the plain one;
    the layers then stay as they are. The copies take memory beside the weights (as much again in float32, a half in
    bfloat16, a quarter in int8), and are dropped at the end. The weights must not change within the block: it is for
    sampling, not for training.
    """
    import torch

    packed: list[torch.nn.Module] = []
    proved: set[tuple[int, ...]] = set()
    try:
        for module in model.modules():
            is_own = "forward" not in vars(module)  # nobody else has put another forward in
            if type(module) is torch.nn.Linear and is_own and _can_pack(module.weight):
                forward = _packed_forward(module, arithmetic)
                shape = tuple(module.weight.shape)
                if forward is None or not (shape in proved or _is_close(module, forward, _TOLERANCES[arithmetic])):
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


def _packed_forward(module: torch.nn.Linear, arithmetic: Arithmetic) -> Forward | None:
    """The forward of `module` over a packed copy of its weight, or None where torch cannot make one."""
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    try:
        return _int8_forward(weight, bias) if arithmetic == "int8" else _onednn_forward(weight, bias, arithmetic)
    except (AttributeError, RuntimeError):
        return None


def _onednn_forward(weight: torch.Tensor, bias: torch.Tensor | None, arithmetic: Arithmetic) -> Forward:
    """`x W^T + b` with `W` in oneDNN's own layout; in bfloat16 inputs are rounded too, the bias is not."""
    import torch

    multiply = torch.ops.mkldnn._linear_pointwise
    dtype = getattr(torch, arithmetic)
    matrix = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), None)

    def exact(inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = multiply(inputs, matrix, bias, "none", [], "")
        return product

    def rounded(inputs: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = multiply(inputs.to(dtype), matrix, None, "none", [], "").float()
        return product if bias is None else product.add_(bias)

    return exact if dtype == torch.float32 else rounded


def _int8_forward(weight: torch.Tensor, bias: torch.Tensor | None) -> Forward:
    """`y = (q_x q_w^T) s_x s_w + b` with 8-bit integers `q` and a scale `s` for each row of `x` and of `W`."""
    import torch

    rows, weight_scale = _quantise(weight)
    matrix, weight_scale = rows.t(), weight_scale.squeeze(1)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        tokens, scale = _quantise(inputs.reshape(-1, inputs.shape[-1]))
        product = torch._int_mm(tokens, matrix).float().mul_(scale).mul_(weight_scale)
        product = product if bias is None else product.add_(bias)
        return product.reshape(*inputs.shape[:-1], -1)

    return forward


def _quantise(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`rows` (R, K) as integers in -127..127, int8, and the scale of each row (R, 1)."""
    import torch

    scale = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12).div_(127)
    return (rows / scale).round_().to(torch.int8), scale


def _is_close(module: torch.nn.Linear, forward: Forward, tolerance: float) -> bool:
    """Whether `forward` computes what `module` does, on two rows; once for each shape is enough."""
    import torch

    with torch.no_grad():
        inputs = module.weight[:2].contiguous()
        plain = module(inputs)
        try:
            difference = (forward(inputs) - plain).abs().max()
        except RuntimeError:
            return False
        return bool(difference <= tolerance * plain.abs().max().clamp(min=1e-6))
