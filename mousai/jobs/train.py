"""`mousai train`: from a recipe to a model folder.

`OUT/` holds `config.yaml` (the resolved recipe), `state/` (to go on from), `log.jsonl`, `logs/` (trackers), `samples/`
and `model/`. The same command again goes on where the last one stopped.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import mousai
from mousai import checkpoint, config
from mousai.data.loader import AudioCrops, Opened, batches, open_sources
from mousai.recipe import Recipe, load_recipe, recipe_from
from mousai.training.loop import Outcome, accelerator_for, train as run
from mousai.training.state import part

CALIBRATION_ITEMS = 64  # crops from which a codec measures the scale of its latents


def train(
    recipe: str | Path, out: str | Path, overrides: Iterable[str] = (), *, time_limit_minutes: float | None = None
) -> Outcome:
    """Trains what `recipe` describes and leaves a model in `out/model` unless a signal stopped it.

    `overrides` are such as "train.steps=100"; `time_limit_minutes` goes before the recipe's. Errors as in `load_recipe`,
    `AudioCrops` and `training.loop.train`.
    """
    loaded = load_recipe(recipe, overrides)
    if time_limit_minutes is not None:
        limited = config.to_dict(replace(loaded.train, time_limit_minutes=time_limit_minutes))
        loaded = recipe_from({**loaded.to_dict(), "train": limited}, str(recipe))
    out = prepare_folder(out)
    accelerator = accelerator_for(loaded.train, out)
    if accelerator.is_main_process:
        note_changes(loaded, out)
        config.write_yaml(out / "config.yaml", loaded.to_dict())
    outcome = train_codec(loaded, out, accelerator)
    accelerator.wait_for_everyone()
    if outcome.reason != "signal" and accelerator.is_main_process:
        print(f"wrote {export(out)}", file=sys.stderr)
    accelerator.wait_for_everyone()
    return outcome


def train_codec(recipe: Recipe, out: Path, accelerator: Accelerator) -> Outcome:
    """Trains the codec on crops of audio."""
    codec, opened = recipe.codec.build(recipe.seed), open_sources(recipe.data.sources)
    crops = AudioCrops(opened, recipe.data, recipe.data.split, codec.sample_rate, codec.channels, recipe.seed)
    if accelerator.is_main_process:
        size = sum(p.numel() for p in codec.parameters() if p.requires_grad)
        print(f"codec of {size / 1e6:.2f} M weights; {len(crops.tracks)} tracks, {crops.seconds / 3600:.2f} h", file=sys.stderr)
    valid = held_out(recipe, opened, codec)
    setting, place = recipe.train, {"rank": accelerator.process_index, "world": accelerator.num_processes}
    stream = partial(batches, crops, setting.batch_size, workers=recipe.data.workers, **place)
    with torch.no_grad():  # weights that begin from data do so from the same items in every process
        codec_loss(codec, next(batches(crops, setting.batch_size)), torch.Generator().manual_seed(recipe.seed))
    return run(
        codec, codec_loss, stream, setting, out, accelerator, seed=recipe.seed,
        valid=valid and (lambda: itertools.islice(batches(valid, setting.batch_size, **place), setting.valid_batches)),
        sample=partial(reconstruct, valid or crops, out, accelerator), meta={"recipe": recipe.to_dict()},
    )  # fmt: skip


def codec_loss(codec: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The codec's loss for a batch of the loader."""
    return codec.loss(batch["audio"], generator)


def held_out(recipe: Recipe, opened: Opened, codec: nn.Module) -> AudioCrops | None:
    """The validation crops, always the same ones; None if the recipe wants none or no track is held out."""
    split = recipe.data.valid_split
    tracks = [track for source, _ in opened for track in source]
    if split is None or not recipe.train.valid_every or not any(track.metadata.get("split") == split for track in tracks):
        return None
    fixed = replace(recipe.data, gain_db=(0.0, 0.0), workers=0)
    return AudioCrops(opened, fixed, split, codec.sample_rate, codec.channels, recipe.seed + 1)


@torch.no_grad()
def reconstruct(crops: AudioCrops, out: Path, accelerator: Accelerator, codec: nn.Module, step: int) -> dict[str, Any]:
    """Writes two held-out crops, and what the codec makes of them, to `out/samples/` as sound and picture."""
    from mousai.audio import spectral
    from mousai.audio.write import write

    folder = out / "samples" / f"step-{step:07}"
    folder.mkdir(parents=True, exist_ok=True)
    samples = {}
    for index in range(2):
        audio = crops[index]["audio"]
        again = codec.decode(codec.encode(audio[None].to(accelerator.device)), audio.shape[-1], seeds=[index])[0].float().cpu()
        for name, sound in ((f"{index}-original", audio), (f"{index}-decoded", again)):
            write(folder / f"{name}.wav", sound, codec.sample_rate)
            spectral.spectrogram_png(sound, codec.sample_rate, folder / f"{name}.png", f"{name}, step {step}")
            samples[name] = (sound, codec.sample_rate)
    return samples


def export(out: str | Path) -> Path:
    """Writes the averaged weights of the newest state under `out` as the model folder `out/model`; returns its path."""
    out = Path(out)
    recipe = recipe_from(config.read_yaml(out / "config.yaml"), str(out / "config.yaml"))
    found = checkpoint.load_state(out / "state")
    if found is None:
        raise FileNotFoundError(f"{out} has no training state yet; train first")
    step, tensors, _ = found
    codec = recipe.codec.build()
    checkpoint.load_strict(codec, part(tensors, "ema.model."), str(out / "state"))
    codec.eval()
    if hasattr(codec, "calibrate"):
        crops = AudioCrops(open_sources(recipe.data.sources), replace(recipe.data, pool=None), recipe.data.split, codec.sample_rate, codec.channels, recipe.seed)
        codec.calibrate(calibration(crops))
    settings = {"codec": recipe.codec.to_dict(), "provenance": provenance(recipe, step)}
    weights = {f"codec.{name}": value for name, value in codec.state_dict().items()}
    checkpoint.save_model(out / "model", settings, weights, model_card(settings))
    return out / "model"


def calibration(crops: AudioCrops) -> Iterator[Tensor]:
    """Audio of the training set in batches of four, the same for every export."""
    for batch in itertools.islice(batches(crops, 4), CALIBRATION_ITEMS // 4):
        yield batch["audio"]


def provenance(recipe: Recipe, step: int) -> dict[str, Any]:
    """Where a model's weights come from."""
    return {"mousai": mousai.__version__, "torch": str(torch.__version__), "step": step, "recipe": recipe.to_dict()}


def model_card(settings: Mapping[str, Any]) -> str:
    """The README of a model folder."""
    made = settings["provenance"]
    parts = [f"{kind} ({settings[kind]['type']})" for kind in ("codec", "conditioner", "generator") if kind in settings]
    sources = [s if isinstance(s, str) else s["spec"] for s in made["recipe"]["data"]["sources"]]
    return "\n".join([
        "# A mousai model", "",
        f"Parts: {', '.join(parts)}.", "",
        f"Trained for {made['step']} steps with mousai {made['mousai']} on: {', '.join(sources)}.",
        "The weights are exponential moving averages; `config.yaml` has the whole recipe.", "",
        "Licence: that of the training data's owners; name it here before you publish.", "",
    ])  # fmt: skip


def prepare_folder(out: str | Path) -> Path:
    """The output folder, made and tried; OSError or ValueError before any work is done."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; training needs a folder to write to")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise PermissionError(f"cannot write to {out}; name another output folder")
    return out


def note_changes(recipe: Recipe, out: Path) -> None:
    """Says which settings differ from those that the folder's state was made with."""
    if not (out / "config.yaml").exists() or not (out / "state").exists():
        return
    before, now = flat(config.read_yaml(out / "config.yaml")), flat(recipe.to_dict())
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            print(f"going on with another {key}: {before.get(key)} -> {now.get(key)}", file=sys.stderr)


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted keys."""
    rows: dict[str, Any] = {}
    for key, value in data.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return rows
