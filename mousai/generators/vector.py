"""A generator told a vector of a joint text–music space: as several tokens to attend to, and added to what every block hears.

A vector of NaN is not said of that item. Both ways begin as nothing, so that a model that learns them goes on from one
that did not have them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mousai.types import Condition


@dataclass(frozen=True)
class VectorConfig:
    features: int  # as the joint encoder's
    name: str = "music"  # of the condition's vector
    tokens: int = 4  # that it becomes: attention to a single one would be the same everywhere
    drop: float = 0.1  # probability in training that it alone is not said
    drop_text: float = 0.1  # that the text is not said, and it is
    alone: bool = False  # no text is heard beside it

    def __post_init__(self) -> None:
        if min(self.features, self.tokens) < 1 or not self.name:
            raise ValueError(f"expected features and tokens of 1 or more and a name, came {self}")
        if not all(0 <= drop < 1 for drop in (self.drop, self.drop_text)):
            raise ValueError(f"expected drop and drop_text from 0 to below 1, came {self.drop} and {self.drop_text}")


@dataclass(frozen=True)
class Told:
    """What is made of the vectors of b items; nothing where the network has no use for it."""

    tokens: Tensor | None  # (b, n, token features)
    mask: Tensor | None  # (b, n), False where nothing is said
    everywhere: Tensor | None  # (b, features of a block's condition), 0 where nothing is said


class Vector(nn.Module):
    """Vectors to tokens of `token_features` and to `features` that every block hears; 0 = the network has no use for these."""

    def __init__(self, config: VectorConfig, token_features: int, features: int) -> None:
        super().__init__()
        self.config = config
        self.expand = nn.Linear(config.features, config.tokens * token_features) if token_features else None
        self.everywhere = nn.Linear(config.features, features) if features else None
        for parameter in self.everywhere.parameters() if features else ():
            nn.init.zeros_(parameter)

    def forward(self, vectors: Tensor) -> Told:
        """Of unit vectors `(b, e)`, NaN = not said."""
        weight = next(self.parameters())
        said = ~vectors.isnan().any(-1, keepdim=True).to(weight.device)
        x = (vectors.nan_to_num(0.0) * math.sqrt(self.config.features)).to(weight)
        tokens = None if self.expand is None else self.expand(x).unflatten(-1, (self.config.tokens, -1))
        mask = None if tokens is None else said.expand(tokens.shape[:2])
        return Told(tokens, mask, None if self.everywhere is None else self.everywhere(x) * said)

    def of(self, condition: Condition | None, b: int = 1) -> Tensor:
        """The vectors `(b, e)` that a condition says; NaN for none."""
        found = None if condition is None else condition.vectors.get(self.config.name)
        if found is None:
            return torch.full((b, self.config.features), math.nan)
        if found.shape[-1] != self.config.features:
            raise ValueError(f"the vector {self.config.name!r}: the generator expects {self.config.features} features, came {found.shape[-1]}")
        return found

    def dropped(self, vectors: Tensor, everything: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Training vectors with those of `everything (b,)` and some more not said; and which items are to be told no text."""
        gone, alone = (torch.rand(len(vectors), generator=generator) < drop for drop in (self.config.drop, self.config.drop_text))
        gone = gone | everything.cpu()
        return vectors.masked_fill(gone[:, None].to(vectors.device), math.nan), alone & ~gone
