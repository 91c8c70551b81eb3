"""`mousai train`: from a recipe to a model folder.

`OUT/` holds `config.yaml` (the resolved recipe), `state/` (to go on from), `log.jsonl`, `logs/` (trackers), `samples/`
and `model/`. The same command again goes on where the last one stopped.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mousai import checkpoint, config
from mousai.checks import within
from mousai.data.cache import check_header
from mousai.data.latents import LatentCrops
from mousai.data.loader import AudioCrops, Opened, batches, open_sources
from mousai.jobs.export import CALIBRATION_ITEMS, calibration, export
from mousai.jobs.fronts import made_by
from mousai.jobs.places import claimed
from mousai.jobs.train_symbolic import train_phrases, train_prior
from mousai.jobs.weights import Accepted, first_weights, introduce
from mousai.launch.processes import from_first, leave
from mousai.leftovers import sweep
from mousai.pipelines.system import check_conditions, check_frames
from mousai.recipe import Recipe, load_part, load_recipe, recipe_from
from mousai.training.budget import PLAN, is_planned, read_plan, steps_of
from mousai.training.loop import Outcome, accelerator_for, train as run
from mousai.types import Condition
from mousai.words import say

# Settings that change neither what is trained nor what is kept of it: a run that is done is done with others as well.
NEUTRAL = ("data.workers", "train.log_every", "train.save_every", "train.time_limit_minutes", "train.trackers")


def train(
    recipe: str | Path, out: str | Path, overrides: Iterable[str] = (), *, minutes: float | None = None, time_limit_minutes: float | None = None
) -> Outcome:
    """Trains what `recipe` describes and leaves a model in `out/model` unless a signal stopped it.

    `overrides` are such as "train.steps=100"; `minutes`, which plan the run, and `time_limit_minutes` go before the recipe's.
    A run that is done already is left as it is. Errors as in `load_recipe`, `AudioCrops` and `training.loop.train`.
    """
    began = monotonic()
    loaded = with_times(load_recipe(recipe, overrides), minutes, time_limit_minutes)
    out = checked_folder(out)
    accelerator = accelerator_for(loaded.train, out)
    with claimed(out, "trains") if accelerator.is_main_process else nullcontext():
        step = from_first(accelerator, partial(finished_step, loaded, out))  # asked in here, where no other run can end meanwhile
        if step is not None:
            outcome = Outcome(step, "done")
        else:
            trainer = {"phrases": train_phrases, "prior": train_prior, "grid": train_prior, "codec": train_codec}.get(loaded.trains, train_cached)
            outcome = trainer(loaded, out, accelerator, began, partial(accept, loaded, out))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            if step is not None:
                checkpoint.tidy(out / "state")  # a kill may have left an older one
            if outcome.reason != "signal" and (step is None or exported_step(out) != step):
                say(f"wrote {exported(out, loaded)}", to=sys.stderr)
    leave(accelerator)
    return outcome


def accept(recipe: Recipe, out: Path) -> None:
    """Makes the folder a run of this recipe, once all of that is known to be possible; what killed commands left is removed."""
    note_changes(recipe, out)
    for name in ("config.yaml", PLAN, "log.jsonl"):
        sweep(out, name, alone=True)
    config.write_yaml(out / "config.yaml", recipe.to_dict())


def exported(out: Path, recipe: Recipe) -> Path:
    """The model of a run; an OSError, such as a full disk's, says what is kept."""
    try:
        return export(out, recipe.outside)
    except OSError as error:
        raise OSError(f"{error}; the training state in {out / 'state'} is kept, `mousai export {out}` makes the model of it") from error


def with_times(recipe: Recipe, minutes: float | None, time_limit_minutes: float | None) -> Recipe:
    """The recipe with the times that are not None."""
    given = {name: value for name, value in (("minutes", minutes), ("time_limit_minutes", time_limit_minutes)) if value is not None}
    return replace(recipe, train=replace(recipe.train, **given))


def finished_step(recipe: Recipe, out: Path) -> int | None:
    """The last step of a run of this recipe, but for `NEUTRAL` settings, in `out` that is done; None if there is something to do.

    ValueError for another recipe of which there would be nothing left to do: what was trained by the one is not said to be by the other.
    """
    newest = checkpoint.newest_state(out / "state")
    if newest is None or not (out / "config.yaml").exists():
        return None
    stages = read_plan(out, recipe.train) if recipe.train.minutes is not None else []
    if not is_planned(recipe.train, stages) or newest[0] < steps_of(recipe.train, stages):
        return None
    different = [f"{key} {before} -> {now}" for key, before, now in changes(recipe, out) if key not in NEUTRAL]
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise ValueError(
            f"{out} is done at step {newest[0]}, by another recipe: {', '.join(different[:3])}{more}; "
            "name another folder, or a larger train.steps to go on by this one"
        )
    return newest[0]


def exported_step(out: Path) -> int | None:
    """The step that the model in `out/model` is of; None if there is no whole one."""
    folder = out / "model"
    if not folder.exists() or checkpoint.verify(folder):
        return None
    return within(checkpoint.load_config(folder), "provenance").get("step")


def train_codec(recipe: Recipe, out: Path, accelerator: Accelerator, began: float, accepted: Accepted) -> Outcome:
    """Trains the codec on crops of audio."""
    codec, opened = first_weights(recipe.codec, recipe), open_sources(recipe.data.sources, accelerator)
    crops = AudioCrops(opened, recipe.data, recipe.data.split, codec.sample_rate, codec.channels, recipe.seed)
    if accelerator.is_main_process:
        introduce("codec", codec, f"{len(crops.tracks)} tracks, {crops.seconds / 3600:.2f} h")
    valid = held_out(recipe, opened, codec)
    setting, place = recipe.train, {"rank": accelerator.process_index, "world": accelerator.num_processes}
    stream = partial(batches, crops, setting.batch_size, workers=recipe.data.workers, **place)
    if recipe.train.start_from is None and checkpoint.newest_state(out / "state") is None and hasattr(codec, "initialise"):
        initialise(codec, crops, accelerator)
    return run(
        codec, codec_loss, stream, setting, out, accelerator, seed=recipe.seed,
        valid=valid and (lambda: itertools.islice(batches(valid, setting.batch_size, **place), setting.valid_batches)),
        sample=partial(reconstruct, valid or crops, out, accelerator), meta={"recipe": recipe.to_dict()},
        finish=partial(export, out, recipe.outside), accepted=accepted, began=began,
    )  # fmt: skip


def initialise(codec: nn.Module, crops: AudioCrops, accelerator: Accelerator) -> None:
    """Lets a codec begin from training audio, in the first process; the others take its weights."""
    if accelerator.is_main_process:
        codec.initialise(calibration(crops, getattr(codec, "INITIAL_ITEMS", CALIBRATION_ITEMS)))
    if accelerator.num_processes > 1:
        for value in codec.state_dict().values():
            sent = value.to(accelerator.device)
            torch.distributed.broadcast(sent, 0)
            value.copy_(sent)


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
    sounds = {}
    for index in range(2):
        audio = crops[index]["audio"]
        latents = codec.encode(audio[None].to(accelerator.device))
        sounds[f"{index}-original"] = audio
        sounds[f"{index}-decoded"] = codec.decode(latents, audio.shape[-1], seeds=[index])[0].float().cpu()
    return keep_samples(sounds, codec.sample_rate, out, step)


def train_cached(recipe: Recipe, out: Path, accelerator: Accelerator, began: float, accepted: Accepted) -> Outcome:
    """Trains the generator, or the joint encoder, on what `mousai cache` has made."""
    data, setting, part = recipe.data, recipe.train, recipe.generator or recipe.joint
    made_with = {name: getattr(data, name) for name in ("segment_seconds", "rms", "captions", "caption_drop")}
    check_header(data.cache, {**made_by(recipe), **made_with}, "run `mousai cache` again")
    model = first_weights(part, recipe)
    windows = LatentCrops(data, data.split, recipe.seed)
    if model.latent_channels != windows.header["latent_channels"]:
        raise ValueError(f"{part.kind}: expected {windows.header['latent_channels']} latent channels (its network's in_channels) as the codec's, came {model.latent_channels}")
    check_conditions(windows.gives, model.accepts, f"latent cache {data.cache}")
    check_frames(model, windows.header["hop"], windows.header["sample_rate"])
    if hasattr(model, "prepare"):
        model.prepare(load_part("codec", recipe.codec.path))
    if accelerator.is_main_process:
        introduce(part.kind, model, f"{len(windows.items)} items, {windows.seconds / 3600:.2f} h")
    valid = None
    if data.valid_split is not None and setting.valid_every and data.valid_split in windows.splits:
        valid = LatentCrops(replace(data, workers=0), data.valid_split, recipe.seed + 1)
    place = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    return run(
        model, generator_loss, partial(batches, windows, setting.batch_size, workers=data.workers, **place),
        setting, out, accelerator, seed=recipe.seed,
        valid=valid and (lambda: itertools.islice(batches(valid, setting.batch_size, **place), setting.valid_batches)),
        sample=partial(compose, valid or windows, recipe, out, accelerator) if recipe.codec is not None else None, meta={"recipe": recipe.to_dict()},
        finish=partial(export, out, recipe.outside), accepted=accepted, began=began,
    )  # fmt: skip


def generator_loss(model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a generator, or a joint encoder, for a batch of the cache."""
    latents = batch["codes" if "codes" in batch else "latents"]
    return model.loss(latents, Condition.from_parts(batch), generator, batch["frames"])


@torch.no_grad()
def compose(windows: LatentCrops, recipe: Recipe, out: Path, accelerator: Accelerator, generator: nn.Module, step: int) -> dict[str, Any]:
    """Writes what the generator makes of two cached captions to `out/samples/` as sound and picture."""
    batch = next(batches(windows, 2))
    condition = Condition.from_parts(batch).to(accelerator.device)
    latents = generator.sample(condition, recipe.data.crop_frames, seeds=[0, 1])
    codec = load_part("codec", recipe.codec.path).to(accelerator.device)
    audio = codec.decode(latents, seeds=[0, 1]).float().cpu()
    return keep_samples({str(index): sound for index, sound in enumerate(audio)}, codec.sample_rate, out, step)


def keep_samples(sounds: Mapping[str, Tensor], sample_rate: int, out: Path, step: int) -> dict[str, Any]:
    """Writes sounds `(c, s)` and their spectrograms to a step's folder; returns both for the trackers."""
    from matplotlib.image import imread

    from mousai.audio.write import write
    from mousai.pictures.spectrogram import spectrogram_png

    folder = out / "samples" / f"step-{step:07}"
    folder.mkdir(parents=True, exist_ok=True)
    samples: dict[str, Any] = {}
    for name, sound in sounds.items():
        write(folder / f"{name}.wav", sound, sample_rate)
        spectrogram_png(sound, sample_rate, folder / f"{name}.png", f"{name}, step {step}")
        samples |= {f"{name}/sound": (sound, sample_rate), f"{name}/spectrogram": imread(folder / f"{name}.png")[..., :3]}
    return samples


def checked_folder(out: str | Path) -> Path:
    """The output folder, which need not be there; ValueError for a file."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; training needs a folder to write to")
    return out


def changes(recipe: Recipe, out: Path) -> list[tuple[str, Any, Any]]:
    """The settings in which `recipe` differs from the one in the folder: their dotted key, before, now."""
    path = out / "config.yaml"
    before, now = flat(recipe_from(config.read_yaml(path), str(path), recipe.outside).to_dict()), flat(recipe.to_dict())  # settings that came since have values too
    return [(key, before.get(key), now.get(key)) for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]


def note_changes(recipe: Recipe, out: Path) -> None:
    """Says which settings differ from those that the folder's state was made with."""
    if (out / "config.yaml").exists() and (out / "state").exists():
        for key, before, now in changes(recipe, out):
            if key != "train.time_limit_minutes":
                say(f"going on with another {key}: {before} -> {now}", to=sys.stderr)


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted keys."""
    rows: dict[str, Any] = {}
    for key, value in data.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return rows
