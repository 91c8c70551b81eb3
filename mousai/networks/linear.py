"""A linear layer that is fast on every CPU.

torch multiplies float32 matrices on a CPU with MKL, which on AMD processors leaves half of the vector unit idle
(AVX2 where AVX-512 is there): measured on an EPYC (family 26), 105 against 235 GFLOP/s of oneDNN, which torch uses
for convolutions and carries in the operator that `torch.compile` calls for linear layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """`nn.Linear`, through oneDNN in float32 on a CPU, forward and backward."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight  # once: one that is reparametrised is computed each time
        fast = ONEDNN and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and x.ndim > 1
        if not fast or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
            return F.linear(x, weight, self.bias)
        if torch.is_grad_enabled():
            return OneDNNLinear.apply(x, weight, self.bias)
        return product(x, weight, self.bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x (…, i)` times the transpose of `weight (o, i)`, plus `bias (o,)`."""
    return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight.contiguous(), bias, "none", [], "")


class OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            product(grad, weight.T) if wants_x else None,
            product(rows.T, x.flatten(0, -2).T) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )
