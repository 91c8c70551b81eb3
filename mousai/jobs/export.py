"""From a run's training state to a model folder: averaged weights, calibrated latents, where it all comes from."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mousai
from mousai import checkpoint, config
from mousai.conditioners.joint import Joint, JointConditioner
from mousai.conditioners.text import TextConditioner
from mousai.data.loader import AudioCrops, batches, open_sources
from mousai.recipe import REGISTRIES, Part, Recipe, phrases_fingerprint, recipe_from
from mousai.training.budget import read_plan
from mousai.training.spectral import plain
from mousai.training.state import part
from mousai.words import say

CALIBRATION_ITEMS = 64  # crops from which a codec measures the scale of its latents


def export(out: str | Path, trust: bool | Iterable[str] = False) -> Path:
    """Writes the averaged weights of the newest state under `out` as the model folder `out/model`; returns its path.

    A run whose recipe names classes outside mousai runs their code: `trust` says that this may be, see trust.py.
    """
    out = Path(out)
    if not (out / "config.yaml").is_file():
        raise FileNotFoundError(f"{out} is no training run: it has no config.yaml; name a folder that `mousai train` wrote")
    recipe = recipe_from(config.read_yaml(out / "config.yaml"), str(out / "config.yaml"), trust)
    found = checkpoint.load_state(out / "state")
    if found is None:
        raise FileNotFoundError(f"{out} has no training state yet; train first")
    step, tensors, meta = found
    if isinstance(meta.get("recipe"), dict):
        trained = recipe_from(meta["recipe"], str(out / "state"), trust)
        if trained != recipe:
            say(f"mousai: {out / 'config.yaml'} is not the recipe that the state of step {step} was trained by; the state's own is exported", to=sys.stderr)
        recipe = trained
    averaged = plain(part(tensors, "ema.model."))
    if recipe.trains == "phrases":
        settings, weights = phrases(recipe, averaged, str(out / "state"))
    elif recipe.trains in ("prior", "grid"):
        settings, weights = symbolic(recipe, averaged, str(out / "state"))
    elif recipe.trains == "joint":
        settings = {"joint": recipe.joint.to_dict(), "licences": {"text": TextConditioner.licence_of(recipe.joint.config.text)}}
        weights = {f"joint.{name}": value for name, value in averaged.items()}
    elif recipe.joint is not None:
        settings, weights = vector_generator(recipe, averaged)
    elif recipe.trains == "codec":
        settings, weights = calibrated_codec(recipe, averaged, str(out / "state"))
    else:
        settings, weights = cascade(recipe, averaged, str(out / "state"))
    stages = read_plan(out, recipe.train) if recipe.train.minutes is not None else []
    planned = {"plan": [config.to_dict(stage) for stage in stages]} if stages else {}
    settings["provenance"] = provenance(recipe, step) | planned | ({"phrases" if recipe.trains in ("prior", "grid") else "codec": made} if (made := settings.pop("provenance", None)) else {})
    checkpoint.save_model(out / "model", settings, weights, model_card(settings))
    return out / "model"


def calibrated_codec(recipe: Recipe, averaged: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a trained codec, which measures the scale of its latents on training audio first.

    Where a model was the start and what they follow from is frozen, the latents, and so their scale, stay that model's.
    """
    codec = recipe.codec.build()
    checkpoint.load_strict(codec, averaged, where)
    codec.eval()
    same_latents = recipe.train.start_from is not None and latents_stay(codec, recipe.train.freeze)
    if hasattr(codec, "calibrate") and not same_latents:
        fixed = replace(recipe.data, pool=None, workers=0)
        crops = AudioCrops(open_sources(fixed.sources), fixed, fixed.split, codec.sample_rate, codec.channels, recipe.seed)
        codec.calibrate(calibration(crops))
    return {"codec": recipe.codec.to_dict()}, {f"codec.{name}": value for name, value in codec.state_dict().items()}


def phrases(recipe: Recipe, averaged: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a trained phrase VAE."""
    checkpoint.load_strict(recipe.phrases.build(), averaged, where)
    return {"phrases": recipe.phrases.to_dict()}, {f"phrases.{name}": value for name, value in averaged.items()}


def symbolic(recipe: Recipe, averaged: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a trained prior with the phrase VAE that it was trained for, whose fingerprint it names."""
    kind = recipe.trains
    checkpoint.load_strict(getattr(recipe, kind).build(), averaged, where)
    vae, state = checkpoint.load_model(recipe.phrases.path)
    weights = {name: value for name, value in state.items() if name.startswith("phrases.")}
    weights |= {f"{kind}.{name}": value for name, value in averaged.items()}
    names = {"phrases": vae["phrases"], kind: getattr(recipe, kind).to_dict(), "trained_for": phrases_fingerprint(recipe.phrases.path)}
    if kind == "prior" and recipe.prior.config.text is not None:
        names["licences"] = {"text": TextConditioner.licence_of(recipe.prior.config.text)}
    return {**names, "provenance": vae.get("provenance")}, weights


def latents_stay(codec: nn.Module, freeze: Iterable[str]) -> bool:
    """Whether all weights that the codec's latents follow from are frozen."""
    parts = getattr(codec, "LATENT_PARTS", None)
    deciding = [name for name, _ in codec.named_parameters() if parts is None or name.split(".")[0] in parts]
    return all(any(f"{name}.".startswith(f"{beginning.rstrip('.')}.") for beginning in freeze) for name in deciding)


def cascade(recipe: Recipe, averaged: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a trained generator with the codec that it was trained for; the conditioner is named."""
    checkpoint.load_strict(recipe.generator.build(), averaged, where)
    codec, state = checkpoint.load_model(recipe.codec.path)
    settings = {"codec": codec["codec"], "conditioner": recipe.conditioner.to_dict(), "generator": recipe.generator.to_dict()}
    weights = {name: value for name, value in state.items() if name.startswith("codec.")}
    weights |= {f"generator.{name}": value for name, value in averaged.items()}
    licences = {"conditioner": recipe.conditioner.licence}
    of_codec = codec.get("licences") or {}
    if "weights" in of_codec or "codec" in of_codec:  # one that was not trained here
        licences["codec"] = of_codec.get("codec", of_codec.get("weights"))
    return {**settings, "licences": licences, "provenance": codec.get("provenance")}, weights


def vector_generator(recipe: Recipe, averaged: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a generator of a joint encoder's vectors; that encoder and the conditioner are named."""
    settings = {"joint": config.to_dict(recipe.joint), "conditioner": recipe.conditioner.to_dict(), "generator": recipe.generator.to_dict()}
    licences = {"joint": JointConditioner.licence_of(recipe.joint), "conditioner": recipe.conditioner.licence}
    return {**settings, "space": Joint(recipe.joint).space, "licences": licences}, {f"generator.{name}": value for name, value in averaged.items()}


def calibration(crops: AudioCrops, items: int = CALIBRATION_ITEMS) -> Iterator[Tensor]:
    """Audio of the training set in batches of four, the same for every export."""
    for batch in itertools.islice(batches(crops, 4), items // 4):
        yield batch["audio"]


def provenance(recipe: Recipe, step: int) -> dict[str, Any]:
    """Where a model's weights come from."""
    return {"mousai": mousai.__version__, "torch": str(torch.__version__), "step": step, "recipe": recipe.to_dict()}


def model_card(settings: Mapping[str, Any]) -> str:
    """The README of a model folder."""
    made = settings["provenance"]
    parts = [f"{kind} ({settings[kind].get('type') or settings[kind]['name']})" for kind in REGISTRIES if isinstance(settings.get(kind), Mapping)]
    sources = [s if isinstance(s, str) else s["spec"] for s in made["recipe"]["data"]["sources"]]
    return "\n".join([
        "# A mousai model", "",
        f"Parts: {', '.join(parts)}.", "",
        f"Trained for {made['step']} steps with mousai {made['mousai']} on: {', '.join(sources)}.",
        "The weights are exponential moving averages; `config.yaml` has the whole recipe.", "",
        *(f"The {kind}'s weights are {'not here' if kind == 'conditioner' else 'as released'}; their licence: {licence or 'nobody has said'}.\n" for kind, licence in settings.get("licences", {}).items()),
        "Licence: that of the training data's owners; name it here before you publish.", "",
    ])  # fmt: skip


