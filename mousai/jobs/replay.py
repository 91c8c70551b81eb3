"""`mousai replay`: a file again, from the recipe in its own metadata, and whether it is the same."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mousai
from mousai import checkpoint
from mousai.audio import io
from mousai.jobs import generate as clips
from mousai.jobs.places import free
from mousai.jobs.render import Listener, render
from mousai.piece import Piece
from mousai.piece_checks import Problems
from mousai.request import Request

CLIP_SETTINGS = (
    "seed", "steps", "guidance", "negative", "sampler", "schedule", "eta", "rescale", "interval", "codec_steps", "strength",
)  # fmt: skip
BLOCK_SAMPLES = 480_000


@dataclass(frozen=True)
class Replayed:
    """The new file, what about this place differs from where the first one was made, and how the samples compare."""

    file: Path
    path: Path
    differs: tuple[str, ...]
    same: bool
    first_difference: float | None = None  # seconds
    largest_difference: float = 0.0  # of samples, full scale 1

    def to_dict(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def replay(
    file: str | Path, model: str | Path | None = None, out: str | Path | None = None, *, recording: str | Path | None = None,
    device: str = "auto", dtype: str = "auto", listener: Listener | None = None,
) -> Replayed:  # fmt: skip
    """Makes a file of `render`, `extend` or `generate` again, in its format, and compares the two.

    `model` is the one that the file names unless given; `out` a new file beside it unless given. `recording` is what the
    file went on from or was made of; one of its name beside the file is found. ValueError or FileNotFoundError for a file
    without a recipe, a model that is not known here, a recording that is missing or another one.
    """
    file = Path(file)
    made, listener = io.read_metadata(file), listener or Listener()
    if "fingerprint" not in made or not ("piece" in made or "prompt" in made):
        raise ValueError(f"{file}: has no recipe in its metadata; only what mousai made can be replayed")
    if model is None:
        model = made["model"]
        if model not in checkpoint.SHIPPED:
            raise ValueError(f"{file}: was made with the model {model!r}, fingerprint {made['fingerprint']}; give its folder with --model")
    path = Path(out) if out is not None else free(file.parent, f"{file.stem}-replay", file.suffix.removeprefix("."))
    differs = here(made, model, device, dtype)
    for line in differs:
        listener.says(f"{file.name} was made with {line}")
    again = render_again if "piece" in made else generate_again
    again(file, made, model, path, recording, device, dtype, listener)
    return compared(file, path, differs)


def here(made: Mapping[str, Any], model: str | Path, device: str, dtype: str) -> tuple[str, ...]:
    """What differs here from what a recipe says, a phrase each."""
    import torch

    from mousai.cascade import place_and_precision

    where, precision = place_and_precision(device, dtype)
    now = {
        "fingerprint": checkpoint.fingerprint(checkpoint.model_folder(model)), "mousai": mousai.__version__, "torch": torch.__version__,
        "device": where.type, "dtype": str(precision).removeprefix("torch."), "machine": platform.machine(),
    }  # fmt: skip
    words = {"fingerprint": "model", "mousai": "mousai"}
    return tuple(f"{words.get(name, name)} {made[name]}, here it is {value}" for name, value in now.items() if name in made and made[name] != value)


def render_again(
    file: Path, made: Mapping[str, Any], model: str | Path, path: Path, recording: str | Path | None, device: str, dtype: str, listener: Listener
) -> None:
    """Renders the piece of a recipe to `path`."""
    try:
        piece = Piece.from_dict(made["piece"])
    except Problems as error:
        raise ValueError(f"{file}: its recipe is of another version of mousai ({error.problems[0]})") from None
    if piece.extend is not None:
        from mousai.jobs.render_piece import file_hash

        place = found(file, made["recording"]["file"], recording)
        if file_hash(place) != made["recording"]["hash"]:
            raise ValueError(f"{place}: is not the recording that {file.name} goes on from; give that one with --recording")
        piece = replace(piece, extend=str(place))
    elif recording is not None:
        raise ValueError(f"{file}: goes on from no recording; leave --recording away")
    render([piece], model, path, device=device, dtype=dtype, listener=listener)


def generate_again(
    file: Path, made: Mapping[str, Any], model: str | Path, path: Path, recording: str | Path | None, device: str, dtype: str, listener: Listener
) -> None:
    """Generates the clip of a recipe to `path`."""
    settings: dict[str, Any] = {name: made[name] for name in CLIP_SETTINGS if made.get(name) is not None}
    settings["interval"] = tuple(made["interval"]) if "interval" in made else None
    if "inpaint" in made:
        settings = {name: value for name, value in settings.items() if name not in ("sampler", "eta")}
        settings |= {"inpaint": found(file, made["inpaint"], recording), "span": (made["from"], made["to"])}
    else:
        settings["seconds"] = made["seconds"]
    if "init" in made:
        settings["init"] = found(file, made["init"], recording)
    request = Request(made["prompt"], **settings)
    with closing(clips.generate(request, model, path, device=device, dtype=dtype)) as running:
        for _ in running:
            pass


def found(file: Path, name: str, recording: str | Path | None) -> Path:
    """The recording that a recipe names; FileNotFoundError if it is neither given nor beside the file."""
    place = Path(recording) if recording is not None else file.parent / name
    if not place.is_file():
        raise FileNotFoundError(f"{file}: was made from {name}, which is not at {place}; say where it is with --recording")
    return place


def compared(file: Path, path: Path, differs: tuple[str, ...]) -> Replayed:
    """How the samples of two files compare, read side by side."""
    before, after = io.info(file), io.info(path)
    rate, channels = before.sample_rate, before.channels
    if (before.num_samples, rate, channels) != (after.num_samples, after.sample_rate, after.channels):
        return Replayed(file, path, differs, False, 0.0, 1.0)
    place, first, largest = 0, None, 0.0
    for one, other in zip(*(io.blocks(each, rate, channels, BLOCK_SAMPLES) for each in (file, path))):
        off = (one - other).abs().amax(0)
        if first is None and bool(off.any()):
            first = (place + int(off.nonzero()[0, 0])) / rate
        largest, place = max(largest, float(off.max())), place + one.shape[-1]
    return Replayed(file, path, differs, first is None, first, largest)


def prompt_of(file: str | Path) -> str:
    """What a file's own recipe says is played at its end; "" if it says nothing."""
    made = io.read_metadata(file)
    sections = (made.get("piece") or {}).get("sections") or [made]
    prompt = sections[-1].get("prompt")
    return prompt if isinstance(prompt, str) else ""
