"""What `mousai train` does for the parts of symbolic music."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from mousai import checkpoint
from mousai.conditioners.contrastive import TEXT, PooledText
from mousai.data.loader import batches
from mousai.jobs.export import export
from mousai.jobs.weights import Accepted, first_weights, introduce
from mousai.launch.processes import from_first
from mousai.recipe import Recipe, load_part, phrases_fingerprint
from mousai.symbolic.grid_data import GridWindows
from mousai.symbolic.phrase_data import PhrasePacks, phrases_in
from mousai.symbolic.prior_data import PriorWindows, cached
from mousai.training.loop import Outcome, train as run
from mousai.words import say


def train_phrases(recipe: Recipe, out: Path, accelerator: Accelerator, began: float, accepted: Accepted) -> Outcome:
    """Trains the phrase VAE on the phrases of scores."""
    data, setting = recipe.data, recipe.train
    model = first_weights(recipe.phrases, recipe)
    packs = PhrasePacks(phrases_in(data.sources, data.split), data, recipe.seed)
    if accelerator.is_main_process:
        introduce("phrase VAE", model, f"{len(packs.phrases):,} different phrases")
    held_out = None
    if data.valid_split is not None and setting.valid_every:
        held_out = PhrasePacks(phrases_in(data.sources, data.valid_split), data, recipe.seed + 1, staged=False)
    return trained(model, packs, held_out, recipe, out, accelerator, began, accepted)


def train_prior(recipe: Recipe, out: Path, accelerator: Accelerator, began: float, accepted: Accepted) -> Outcome:
    """Trains a prior, the one that goes bar after bar or that of the grid, on the latents that a phrase VAE makes of scores."""
    data, setting, kind = recipe.data, recipe.train, recipe.trains
    windows_of = GridWindows if kind == "grid" else PriorWindows
    model, vae = first_weights(getattr(recipe, kind), recipe), load_part("phrases", recipe.phrases.path)
    if model.config.latent != vae.config.latent:
        raise ValueError(f"{kind}.latent: expected {vae.config.latent}, as the phrase VAE in {recipe.phrases.path} has, came {model.config.latent}")
    fingerprint = phrases_fingerprint(recipe.phrases.path)
    words = model.config.text if kind == "prior" else None
    text = PooledText(words) if words is not None else None
    if text is not None and text.gives.vectors[TEXT] != model.config.text_features:
        raise ValueError(f"prior.text_features: expected {text.gives.vectors[TEXT]}, as the text encoder {words.name!r} has, came {model.config.text_features}")
    tensors = from_first(accelerator, partial(cached, data, vae, fingerprint, partial(say, to=sys.stderr), text))
    windows = windows_of(tensors, data, model.config.styles, data.split, recipe.seed)
    if checkpoint.newest_state(out / "state") is None:  # with other first weights too: they may be of another phrase VAE
        model.prepare(tensors["latents"])
    if accelerator.is_main_process:
        introduce("prior of the grid" if kind == "grid" else "prior", model, f"{len(windows.pieces):,} scores, {windows.num_bars:,} bars")
    held_out = None
    if data.valid_split is not None and setting.valid_every:
        held_out = windows_of(tensors, data, model.config.styles, data.valid_split, recipe.seed + 1)
    return trained(model, windows, held_out, recipe, out, accelerator, began, accepted)


def trained(
    model: nn.Module, items: Dataset, held_out: Dataset | None, recipe: Recipe, out: Path, accelerator: Accelerator, began: float, accepted: Accepted
) -> Outcome:
    """Trains a model of scores on items, and looks at those that are held out."""
    setting, place = recipe.train, {"rank": accelerator.process_index, "world": accelerator.num_processes}

    def valid() -> Iterator[Mapping[str, Tensor]]:
        return itertools.islice(batches(held_out, setting.batch_size, **place), setting.valid_batches)

    return run(
        model, phrase_loss, partial(batches, items, setting.batch_size, workers=recipe.data.workers, **place), setting, out, accelerator,
        seed=recipe.seed, valid=valid if held_out is not None else None, meta={"recipe": recipe.to_dict()},
        finish=partial(export, out, recipe.outside), accepted=accepted, began=began,
    )  # fmt: skip


def phrase_loss(model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a phrase VAE for a batch of packs, or of a prior for windows."""
    return model.loss(dict(batch), generator)
