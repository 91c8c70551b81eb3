"""What every kind of training begins with: first weights, and a line on what is trained on what."""

from __future__ import annotations

import sys
from collections.abc import Callable

from torch import nn

from mousai import checkpoint
from mousai.recipe import Part, Recipe, load_part
from mousai.words import say

Accepted = Callable[[], object]  # called when all of a run is known to be as it has to be, before anything is written


def first_weights(part: Part, recipe: Recipe) -> nn.Module:
    """A codec or generator as its training begins: from the recipe's seed, or from `train.start_from`."""
    module = part.build(recipe.seed)
    if recipe.train.start_from is not None:
        trained = load_part(part.kind, recipe.train.start_from)
        checkpoint.load_strict(module, trained.state_dict(), f"train.start_from {recipe.train.start_from}")
    return module


def introduce(name: str, module: nn.Module, data: str) -> None:
    """One line on what is trained on what."""
    size = sum(p.numel() for p in module.parameters() if p.requires_grad)
    say(f"{name} of {size / 1e6:.2f} M weights; {data}", to=sys.stderr)
