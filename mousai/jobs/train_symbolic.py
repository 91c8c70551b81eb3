"""What `mousai train` does for the parts of symbolic music."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mousai.data.loader import batches
from mousai.jobs.export import export
from mousai.jobs.weights import Accepted, first_weights, introduce
from mousai.recipe import Recipe
from mousai.symbolic.phrase_data import PhrasePacks, phrases_in
from mousai.training.loop import Outcome, train as run


def train_phrases(recipe: Recipe, out: Path, accelerator: Accelerator, began: float, accepted: Accepted) -> Outcome:
    """Trains the phrase VAE on the phrases of scores."""
    data, setting = recipe.data, recipe.train
    model = first_weights(recipe.phrases, recipe)
    packs = PhrasePacks(phrases_in(data.sources, data.split), data, recipe.seed)
    if accelerator.is_main_process:
        introduce("phrase VAE", model, f"{len(packs.phrases):,} different phrases")
    place = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    held_out = None
    if data.valid_split is not None and setting.valid_every:
        held_out = PhrasePacks(phrases_in(data.sources, data.valid_split), data, recipe.seed + 1, staged=False)

    def valid() -> Iterator[Mapping[str, Tensor]]:
        return itertools.islice(batches(held_out, setting.batch_size, **place), setting.valid_batches)

    return run(
        model, phrase_loss, partial(batches, packs, setting.batch_size, workers=data.workers, **place), setting, out, accelerator, seed=recipe.seed,
        valid=valid if held_out is not None else None, meta={"recipe": recipe.to_dict()}, finish=partial(export, out, recipe.outside),
        accepted=accepted, began=began,
    )  # fmt: skip


def phrase_loss(model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The phrase VAE's loss for a batch of packs."""
    return model.loss(dict(batch), generator)
