"""Recordings to start from: what `init` and `inpaint` of a request mean to a codec and a generator, and the way back."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from mousai.audio import io
from mousai.audio.hearing import Heard, hear, hear_audio, nearly_whole
from mousai.audio.key import RATE
from mousai.audio.level import level_gain, rms_of
from mousai.audio.splice import splice
from mousai.files import file_hash
from mousai.request.clip import DEFAULT_SECONDS, MAX_SECONDS, Request
from mousai.request.music import Music, in_words
from mousai.types import Codec

HEARD_SECONDS = 30.0  # of the end of a recording by which a piece goes on
SAME_TEMPO = 0.04  # up to such a difference a tempo that is said is the recording's
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
    return io.remix(checked(place, codec.sample_rate), codec.channels)


def checked(recording: Tensor, sample_rate: int) -> Tensor:
    """A recording `(c, s)` or `(1, c, s)` as `(c, s)` float32 on the CPU; ValueError for one that is none."""
    audio = recording[0] if recording.ndim == 3 and len(recording) == 1 else recording
    if audio.ndim != 2 or not audio.is_floating_point() or 0 in audio.shape:
        raise ValueError(f"recording: expected floating-point audio (c, s) at {sample_rate} Hz, came {recording.dtype} {tuple(recording.shape)}")
    if not audio.isfinite().all():
        raise ValueError("recording: holds NaN or infinite samples")
    return audio.detach().float().cpu()


def music_of(place: str | Path) -> Music:
    """What a recording's own recipe says that it is in, its first bar beginning with it unless it says otherwise.

    Nothing for one without; or whose tempo changes; or that is itself the end of another, unless it says where bars begin in that.
    """
    made = io.read_metadata(place)
    piece = made.get("piece", made)
    if not isinstance(piece, dict) or piece.get("glide") or (piece.get("extend") and piece.get("downbeat") is None):
        return Music()
    try:
        music = Music(**{name: piece.get(name) for name in ("bpm", "key", "metre", "downbeat")})
        *_, last = piece.get("sections") or [{}]
        own = (Music(bpm=last["bpm"]) if last.get("bpm") else Music()).over(in_words(str(last.get("prompt", "")))).over(music)
    except (ValueError, TypeError, AttributeError):
        return Music()
    if len(piece.get("sections") or ()) > 1 and (own.bpm, own.metre) != (music.bpm, music.metre):
        return Music()  # its end is in another tempo than its beginning
    return music if music.bpm is None or music.downbeat is not None else replace(music, downbeat=0.0)


def music_in(place: Tensor | str | Path, said: Music, sample_rate: int, begin: float = 0.0, end: float | None = None, listen: bool = True) -> Music:
    """The tempo, bars and key of a recording from `begin` to `end` seconds: those of its own recipe, else what is heard, None where it is unclear.

    `downbeat` counts from the recording's beginning. A tempo that is not steady is none that could be gone on with. What
    is `said` of tempo and metre is kept to.
    """
    own = Music() if isinstance(place, Tensor) else music_of(place)
    if own.said() or not listen:
        return own
    if isinstance(place, Tensor):
        audio = checked(place, sample_rate)
        return _in_heard(hear_audio(audio[:, round(begin * sample_rate) : None if end is None else round(end * sample_rate)], sample_rate, said.bpm, said.metre), begin)
    status = os.stat(place)
    return _heard_in_file(str(place), (status.st_size, status.st_mtime_ns), begin, end, said.bpm, said.metre)


@lru_cache(maxsize=64)
def _heard_in_file(path: str, changed: tuple[int, int], begin: float, end: float | None, bpm: float | None, metre: str | None) -> Music:
    audio = io.read(path, RATE, 1, begin, None if end is None else max(1, round((end - begin) * RATE)))[0]
    return _in_heard(hear(audio, bpm, metre), begin)


def _in_heard(heard: Heard, begin: float) -> Music:
    """What was heard from `begin` seconds on; of bars that are not clear the likeliest beginning is better than none."""
    beats = heard.beats if heard.beats_are_clear and heard.beats.steady else None
    key = heard.key.name if heard.key_is_clear else None
    if beats is None:
        return Music(key=key)
    return Music(bpm=nearly_whole(beats.bpm), metre=beats.metre if heard.bars_are_clear else None, key=key, downbeat=round(begin + beats.downbeats[-1], 4))


def with_heard(said: Music, heard: Music) -> Music:
    """What is said, and what it leaves away from the recording; its bars where tempo and metre are the recording's."""
    music = said.over(heard)
    alike = None not in (music.bpm, heard.bpm) and abs(music.bpm / heard.bpm - 1) < SAME_TEMPO and heard.metre in (None, music.metre)
    return music if alike or said.downbeat is not None else replace(music, downbeat=None)


def heard_in_words(music: Music) -> str:
    """What was heard in a recording, for its user."""
    found = [f"{music.bpm:g} bpm" if music.bpm else "", music.metre or "", f"in {music.key}" if music.key else ""]
    return ", ".join(filter(None, found)) or "no clear beat and no clear key"


def named(kind: str, place: Tensor | str | Path) -> dict[str, str]:
    """What a clip's recipe says of its recording, under the name of its `kind`: the file's name, and where it lies and a hash if it is there."""
    if isinstance(place, Tensor):
        return {kind: "a tensor"}
    path = Path(place)
    name = {kind: path.name.encode("utf-8", "replace").decode()}
    return name | ({"recording_hash": file_hash(path), "recording_at": os.path.abspath(path)} if path.is_file() else {})
