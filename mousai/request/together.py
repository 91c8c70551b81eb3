"""The batch that a clip was made in: sums of a batch are rounded otherwise than those of one alone, so that the same bits need the same batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mousai.checks import check_number, checked_text, short
from mousai.request.clip import MAX_BATCH, SEEDS, Request

MOST_LETTERS = 4000  # of other prompts that a recipe keeps


@dataclass(frozen=True)
class Together:
    """How many clips were made at once, which of them it is, and the other prompts that were read with its own; None = too many to keep."""

    batch: int = 1
    place: int = 0
    prompts: tuple[str, ...] | None = ()

    def to_dict(self) -> dict[str, Any]:
        """What a recipe says: nothing of a clip that was made alone."""
        batch = {"batch": self.batch, "place": self.place} if self.batch > 1 else {}
        return batch | ({"read_beside": self.prompts and list(self.prompts)} if self.prompts != () else {})

    def around(self, request: Request) -> Request:
        """A request whose clip `place` is the one of `request`, in a batch as large, read with the other prompts, of which nothing need be made."""
        prompts = [*request.prompts * self.batch, *(self.prompts or ())]
        seed = (request.seed - self.place) % SEEDS
        vectors = None if request.vectors is None else request.vectors.expand(len(prompts), -1)
        return replace(request, prompts=tuple(prompts), seed=seed, batch=self.batch, vectors=vectors)


def beside(request: Request, index: int, place: int, batch: int) -> Together:
    """Of clip `index` of a request, made at a place in a batch of so many."""
    others = tuple(dict.fromkeys(prompt for prompt in request.prompts if prompt != request.prompts[index]))
    return Together(batch, place, None if sum(map(len, others)) > MOST_LETTERS else others)


def of_recipe(made: Mapping[str, Any]) -> Together | None:
    """What a recipe says of it; None for a clip that was made alone, or by a version that did not say it. ValueError for what cannot be."""
    if "batch" not in made and "read_beside" not in made:
        return None
    batch, place = made.get("batch", 1), made.get("place", 0)
    check_number("batch", batch, 1, MAX_BATCH, whole=True)
    check_number("place", place, 0, batch - 1, whole=True)
    read = made.get("read_beside", [])
    if not isinstance(read, list) and read is not None:
        raise ValueError(f"read_beside: expected a list of prompts, came {short(read)}")
    return Together(batch, place, None if read is None else tuple(checked_text(each, "read_beside") for each in read))
