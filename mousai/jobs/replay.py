"""`mousai replay`: a file again, from the recipe in its own metadata, and whether it is the same."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import mousai
from mousai import checkpoint
from mousai.audio import io
from mousai.diffusion.schedules import strength_from
from mousai.files import file_hash
from mousai.jobs import generate as clips
from mousai.jobs.places import split_out
from mousai.jobs.render.job import Listener, render
from mousai.jobs.render.state import SUFFIX
from mousai.request.clip import Request
from mousai.request.music import MUSIC_CHECKS
from mousai.request.piece import Piece, as_made
from mousai.request.together import of_recipe
from mousai.request.vectors import unpacked
from mousai.types import SETTING_CHECKS

CLIP_SETTINGS = ("seed", "strength", "loudness", *SETTING_CHECKS, *MUSIC_CHECKS)
MADE_BY_INPAINTING = ("sampler", "eta")  # which a request for it leaves away
WORDS = {"mousai": "version of mousai", "torch": "version of torch", "device": "device", "dtype": "precision", "machine": "kind of machine"}
BLOCK_SAMPLES = 480_000
ROUNDING = 1.01 / 2**15  # a step of 16 bits


@dataclass(frozen=True)
class Replayed:
    """The new file, what is different here from where the first one was made, and how the samples compare."""

    file: Path
    path: Path
    differs: tuple[str, ...]
    same: bool
    first_difference: float | None = None  # seconds
    largest_difference: float | None = None  # of samples, full scale 1; None where the lengths differ
    lengths: tuple[str, str] | None = None  # where they do

    def to_dict(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def replay(
    file: str | Path, model: str | Path | None = None, out: str | Path | None = None, *, recording: str | Path | None = None,
    device: str = "auto", dtype: str = "auto", compile: bool = False, listener: Listener | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Replayed | None:  # fmt: skip
    """Makes a file of `render`, `extend` or `generate` again, in its format, and compares the two; None if a signal stopped it.

    `model` is the one that the file names unless given; `out` a new file beside it unless given, or a folder. The same
    call goes on with what was stopped. `recording` is what the file went on from or was made of; unless given, it is
    looked for beside the file and where it was. `compile` is for a file that was made so. `listener` hears of pieces,
    `progress(done, total)` of the steps of a clip. ValueError or FileNotFoundError for a file without a recipe, a model
    that is not known here, a recording that is missing or another one, and an `out` that is there already.
    """
    file, listener = Path(file), listener or Listener()
    made = recipe_in(file)
    with understood(file):
        wanted = piece_of(file, made, recording) if "piece" in made else request_of(file, made, recording)
        together = of_recipe(made)
    model = model_of(file, made) if model is None else model
    path = place_of(file, out)
    differs = here(made, model, device, dtype, compile)
    for line in differs:
        listener.says(f"{file.name} was made with {line}")
    if together is not None and together.prompts is None:
        listener.says(f"{file.name} was made with too many other prompts to say them: this clip is the same to rounding")
    if isinstance(wanted, Piece):
        if render([wanted], model, path, device=device, dtype=dtype, compile=compile, listener=listener).code:
            return None
    else:
        how = {"device": device, "dtype": dtype, "compile": compile, "flow": "none", "together": together}
        with closing(clips.generate(wanted, model, path, **how, progress=progress)) as running:
            path = next(running).path
    return compared(file, path, differs)


# -- what the file says ------------------------------------------------------------------------------------------------


def recipe_in(file: Path) -> dict[str, Any]:
    """The recipe in a file's metadata; ValueError if there is none."""
    made = io.read_metadata(file)
    if "compose" in made:
        raise ValueError(f"{file}: is the sound of a score; replay that, {made.get('score', 'which lies beside it')}")
    if not all(isinstance(made.get(name), str) for name in ("model", "fingerprint")) or not ("piece" in made or "prompt" in made):
        raise ValueError(f"{file}: has no recipe in its metadata; only what mousai made can be replayed")
    return made


@contextmanager
def understood(file: Path) -> Iterator[None]:
    """ValueError in one line, that names the file, for a recipe that is read within and is not as this version writes it."""
    try:
        yield
    except (FileNotFoundError, OtherRecording):
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        text = f"{error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise ValueError(f"{file}: the recipe in its metadata is none that this version of mousai reads ({text})") from None


class OtherRecording(ValueError):
    """The recording is not the one that a file was made from."""


def piece_of(file: Path, made: Mapping[str, Any], recording: str | Path | None) -> Piece:
    """The piece of a recipe, its recording where it is now."""
    piece = Piece.from_dict(as_made(made["piece"]))
    if piece.extend is None:
        return no_recording(file, recording) or piece
    return replace(piece, listen=False, extend=str(recording_at(file, made["recording"]["file"], made["recording"]["hash"], recording, piece.extend)))


def request_of(file: Path, made: Mapping[str, Any], recording: str | Path | None) -> Request:
    """The request for the clip of a recipe, its recording where it is now."""
    settings: dict[str, Any] = {name: made[name] for name in CLIP_SETTINGS if made.get(name) is not None}
    kind = next((name for name in ("init", "inpaint") if name in made), None)
    if kind == "init" and "start" not in made:  # of versions in which the strength was the time to start from
        settings["strength"] = strength_from(made["strength"])
    if kind is not None:
        settings |= {kind: recording_at(file, made[kind], made.get("recording_hash"), recording, made.get("recording_at")), "listen": False}  # what was heard is said
    else:
        no_recording(file, recording)
    if kind == "inpaint":
        settings = {name: value for name, value in settings.items() if name not in MADE_BY_INPAINTING}
        settings["span"] = (made["from"], made["to"])
    else:
        settings["seconds"] = made["seconds"]
    if "vector" in made:
        settings |= {"vectors": unpacked(made["vector"])[None], "wordless": made.get("wordless") is True}
    return Request(made["prompt"], **settings)


def no_recording(file: Path, recording: str | Path | None) -> None:
    """OtherRecording if one is given for a file that was made of none."""
    if recording is not None:
        raise OtherRecording(f"{file}: was made from no recording; leave --recording away")


def recording_at(file: Path, name: str, wanted: str | None, given: str | Path | None, was: str | None = None) -> Path:
    """The recording called `name` with the hash that is `wanted`: the `given` one, else beside the file, else where it `was`."""
    places = [Path(given)] if given is not None else [file.parent / name, *([Path(was)] if was else [])]
    existing = [place for place in places if place.is_file()]
    if not existing:
        raise FileNotFoundError(f"{file}: was made from {name}, which is not at {places[0]}; say where it is with --recording")
    same = next((place for place in existing if wanted in (None, file_hash(place))), None)
    if same is None:
        raise OtherRecording(f"{existing[0]}: is not the recording that {file.name} was made from; give that one with --recording")
    return same


def model_of(file: Path, made: Mapping[str, Any]) -> str:
    """The model that a recipe names, if its name is known here; ValueError if not."""
    if made["model"] not in checkpoint.SHIPPED:
        raise ValueError(f"{file}: was made with the model {made['model']!r}, fingerprint {made['fingerprint']}; give its folder with --model")
    return made["model"]


def prompt_of(file: str | Path) -> str:
    """What a file's own recipe says is played at its end; "" if it says nothing."""
    made = io.read_metadata(file)
    piece = made.get("piece")
    sections = piece.get("sections") if isinstance(piece, dict) else [made]
    last = sections[-1] if isinstance(sections, list) and sections else None
    prompt = last.get("prompt") if isinstance(last, dict) else None
    return prompt if isinstance(prompt, str) else ""


# -- where, and on what ------------------------------------------------------------------------------------------------


def place_of(file: Path, out: str | Path | None) -> Path:
    """The new file: `out`, or in that folder FILE-replay, FILE-replay-2, …, the first that is not there or was begun."""
    suffix = file.suffix.lower().removeprefix(".")
    folder, name, suffix = split_out(file.parent if out is None else out, 1, suffix, suffix)

    def is_begun(name: str) -> bool:
        return (folder / f"{name}{SUFFIX}").is_dir()

    def is_there(name: str) -> bool:
        return any(os.path.lexists(folder / f"{name}.{each}") for each in (suffix, "png", "job.json"))

    if name is None:
        names = (f"{file.stem}-replay{'' if number == 1 else f'-{number}'}" for number in count(1))
        name = next(each for each in names if is_begun(each) or not is_there(each))
    elif is_there(name) and not is_begun(name):
        raise ValueError(f"{folder / name}.{suffix}, or what belongs to it, is there already; name another place with --out")
    return folder / f"{name}.{suffix}"


def here(made: Mapping[str, Any], model: str | Path, device: str, dtype: str, compile: bool) -> tuple[str, ...]:
    """What is different here from what a recipe says, a phrase each."""
    import torch

    from mousai.pipelines.cascade import check_model, place_and_precision

    where, precision = place_and_precision(device, dtype)
    check_model(model)
    name, fingerprint = Path(os.path.abspath(model)).name, checkpoint.fingerprint(checkpoint.model_folder(model))
    other = [] if made["fingerprint"] == fingerprint else [f"another model: {made['model']} {made['fingerprint']}, here it is {name} {fingerprint}"]
    now = {
        "mousai": mousai.__version__, "torch": torch.__version__, "device": where.type,
        "dtype": str(precision).removeprefix("torch.") + (" compiled" if compile else ""), "machine": platform.machine(),
    }  # fmt: skip
    other += [f"another {WORDS[key]}: {made[key]}, here it is {value}" for key, value in now.items() if key in made and made[key] != value]
    other += [f"{phrase} for a part of it" for phrase in made.get("earlier", [])]
    return tuple(other)


# -- how they compare --------------------------------------------------------------------------------------------------


def compared(file: Path, path: Path, differs: tuple[str, ...]) -> Replayed:
    """How the samples of two files compare, read side by side."""
    before, after = io.info(file), io.info(path)
    rate, channels = before.sample_rate, before.channels
    if (before.num_samples, rate, channels) != (after.num_samples, after.sample_rate, after.channels):
        lengths = tuple(f"{each.num_samples} samples at {each.sample_rate} Hz in {each.channels} channels" for each in (before, after))
        return Replayed(file, path, differs, same=False, lengths=lengths)
    place, first, largest = 0, None, 0.0
    for one, other in zip(*(io.blocks(each, rate, channels, BLOCK_SAMPLES) for each in (file, path)), strict=True):
        off = (one - other).abs().amax(0)
        if first is None and bool(off.any()):
            first = (place + int(off.nonzero()[0, 0])) / rate
        largest, place = max(largest, float(off.max())), place + one.shape[-1]
    return Replayed(file, path, differs, first is None, first, largest)
