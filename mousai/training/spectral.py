"""Sigma-reparametrisation: a linear layer's matrix as `gamma W / sigma(W)`, with its spectral norm `gamma` learned by itself.

"Stabilizing Transformer Training by Preventing Attention Entropy Collapse" (Zhai et al., arXiv 2303.06296), section 3. In training the
norm is followed by one power iteration a step (`follow`), from the exact singular vectors; what is validated and exported has it exactly, for an estimate from below
makes matrices larger than they were. `gamma` begins as the matrix's own norm, so that a model begins as it is without.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

MATRIX, SCALE = "parametrizations.weight.original", "parametrizations.weight.0"


class SpectralScale(nn.Module):
    """`gamma W / sigma(W)` of a matrix `(o, i)`."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        left, norms, right = torch.linalg.svd(matrix.detach().float(), full_matrices=False)
        self.gamma = nn.Parameter(norms[:1].clone().to(matrix))
        self.register_buffer("left", left[:, 0].clone().to(matrix))
        self.register_buffer("right", right[0].clone().to(matrix))

    def forward(self, matrix: Tensor) -> Tensor:
        with torch.autocast(matrix.device.type, enabled=False):
            norm = self.left @ matrix @ self.right if self.training else torch.linalg.matrix_norm(matrix.float(), 2).to(matrix)
            return self.gamma / norm * matrix

    @torch.no_grad()
    def follow(self, matrix: Tensor) -> None:
        """One power iteration from the singular vectors of the step before."""
        self.right.copy_(F.normalize(matrix.mT @ self.left, dim=0))
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))


def reparametrise(model: nn.Module) -> None:
    """Reparametrises all linear layers in place but those that are nothing, of which there is no norm to divide by."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and module.weight.requires_grad and module.weight.any():
            parametrize.register_parametrization(module, "weight", SpectralScale(module.weight), unsafe=True)


def follow(model: nn.Module) -> None:
    """One power iteration of each reparametrised matrix: before a step, not within it, where a forward pass may be done again."""
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations.weight[0], SpectralScale):
            module.parametrizations.weight[0].follow(module.parametrizations.weight.original)


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with reparametrised matrices as plain ones, by their exact norms."""
    found = {}
    for name, value in tensors.items():
        layer, inside, _ = name.partition(MATRIX)
        if inside:
            norm = torch.linalg.matrix_norm(value.double(), 2)
            found[f"{layer}weight"] = (tensors[f"{layer}{SCALE}.gamma"].double() / norm * value.double()).to(value)
        elif SCALE not in name:
            found[name] = value
    return found
