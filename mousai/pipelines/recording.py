"""Recordings to start from: what `init` and `inpaint` of a request mean to a codec and a generator, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mousai.audio import io
from mousai.audio.level import level_gain, rms_of
from mousai.audio.splice import splice
from mousai.files import file_hash
from mousai.request.clip import DEFAULT_SECONDS, MAX_SECONDS, Request
from mousai.request.music import Music
from mousai.types import Codec

CONTEXT_SECONDS = 15.0  # of the recording on each side of an inpainted span that the generator hears


@dataclass(frozen=True)
class Start:
    """How long the clips are and, with a recording, latents `(1, d, l)` of it and how to put it together again."""

    num_samples: int  # of what is sampled and decoded
    latents: Tensor | None = None
    keep: Tensor | None = None  # boolean (1, 1, l), True = stays as it is
    gain: float = 1.0  # by which the recording was brought to the level that the model knows
    recording: Tensor | None = None  # (c, s), of inpainting
    window: tuple[int, int] = (0, 0)  # the samples of it that the latents stand for
    span: tuple[int, int] = (0, 0)  # the samples of it that are made anew


def begin(request: Request, codec: Codec, rms: float | None, device: torch.device) -> Start:
    """Reads and encodes the recording of a request, brought to `rms`; without one, says how long the clips are."""
    place = request.init if request.init is not None else request.inpaint
    if place is None:
        return Start(max(1, round((request.seconds or DEFAULT_SECONDS) * codec.sample_rate)))
    if not isinstance(place, Tensor):
        request.check_length(io.info(place).seconds)  # before it is read, of which the request needs MAX_SECONDS at most
    recording = read(place, codec)
    total = recording.shape[-1]
    request.check_length(total / codec.sample_rate)
    gain = level_gain(rms_of(recording), rms)
    if request.inpaint is not None:
        return _gap(request, recording, gain, codec, device)
    wanted = total if request.seconds is None else min(total, max(1, round(request.seconds * codec.sample_rate)))
    return Start(wanted, codec.encode(recording[None, :, :wanted].to(device) * gain), gain=gain)


def _gap(request: Request, recording: Tensor, gain: float, codec: Codec, device: torch.device) -> Start:
    """The start of an inpainting: latents of the span and of what lies around it; a frame that touches the span is unknown."""
    total, rate, hop = recording.shape[-1], codec.sample_rate, codec.hop
    request.check_span(total / rate)
    first, stop = (min(total, round(seconds * rate)) for seconds in request.span)
    if first >= stop:
        raise ValueError(f"span: from {request.span[0]:g} s to {request.span[1]:g} s holds no sample")
    context = round(CONTEXT_SECONDS * rate)
    left, right = max(0, first - context) // hop * hop, min(total, stop + context)
    latents = codec.encode(recording[None, :, left:right].to(device) * gain)
    frames = torch.arange(latents.shape[-1], device=device)
    unknown = (frames >= (first - left) // hop) & (frames < math.ceil((stop - left) / hop))
    return Start(right - left, latents, ~unknown[None, None], gain, recording, (left, right), (first, stop))


def finish(audio: Tensor, start: Start, sample_rate: int) -> Tensor:
    """The clips of decoded `audio (b, c, num_samples)`: at the recording's level and, for inpainting, put into it."""
    audio = audio / start.gain
    if start.recording is None:
        return audio
    (left, right), (first, stop) = start.window, start.span
    recording = start.recording.expand(len(audio), -1, -1)
    middle = splice(recording[..., left:right], audio, first - left, stop - left, sample_rate)
    return torch.cat([recording[..., :left], middle, recording[..., right:]], dim=-1)


def read(place: Tensor | str | Path, codec: Codec) -> Tensor:
    """The recording `(c, s)` that a path or a tensor means, with the codec's channels; of a longer file its first MAX_SECONDS."""
    if not isinstance(place, Tensor):
        return io.read(place, codec.sample_rate, codec.channels, num_samples=round(MAX_SECONDS * codec.sample_rate))
    audio = place[0] if place.ndim == 3 and len(place) == 1 else place
    if audio.ndim != 2 or not audio.is_floating_point() or audio.shape[-1] == 0:
        raise ValueError(f"recording: expected floating-point audio (c, s) at {codec.sample_rate} Hz, came {place.dtype} {tuple(place.shape)}")
    if not audio.isfinite().all():
        raise ValueError("recording: holds NaN or infinite samples")
    return io.remix(audio.detach().float().cpu(), codec.channels)


def music_of(place: str | Path) -> Music:
    """What a recording's own recipe says that it is in; nothing for one without, or one that is itself the end of another."""
    made = io.read_metadata(place)
    piece = made.get("piece", made)
    said = {name: piece.get(name) for name in ("bpm", "key", "metre")} if isinstance(piece, dict) and not piece.get("extend") else {}
    try:
        return Music(**said)
    except ValueError:
        return Music()


def named(kind: str, place: Tensor | str | Path) -> dict[str, str]:
    """What a clip's recipe says of its recording, under the name of its `kind`: the file's name, and a hash if it is there."""
    if isinstance(place, Tensor):
        return {kind: "a tensor"}
    path = Path(place)
    name = {kind: path.name.encode("utf-8", "replace").decode()}
    return name | ({"recording_hash": file_hash(path)} if path.is_file() else {})
