"""What every kind of training begins with: first weights, and a line on what is trained on what."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from torch import nn

from mousai import checkpoint
from mousai.recipe import Part, Recipe, load_part
from mousai.words import say

Accepted = Callable[[], object]  # called when all of a run is known to be as it has to be, before anything is written


def first_weights(part: Part, recipe: Recipe) -> nn.Module:
    """What is trained as its training begins: from the recipe's seed, or from `train.start_from`.

    Weights that the model there does not have, and that are nothing at first (`BEGIN_AS_NOTHING`), stay as they are.
    """
    module = part.build(recipe.seed)
    if recipe.train.start_from is not None:
        trained, own = load_part(part.kind, recipe.train.start_from).state_dict(), module.state_dict()
        new = [name for name in own if name not in trained and any(re.fullmatch(each, name) for each in getattr(module, "BEGIN_AS_NOTHING", ()))]
        checkpoint.load_strict(module, {**trained, **{name: own[name] for name in new}}, f"train.start_from {recipe.train.start_from}")
    return module


def introduce(name: str, module: nn.Module, data: str) -> None:
    """One line on what is trained on what."""
    size = sum(p.numel() for p in module.parameters() if p.requires_grad)
    say(f"{name} of {size / 1e6:.2f} M weights; {data}", to=sys.stderr)
