"""Is a clip copied? How near its nearest stretch of the training set is, beside how near other pieces' is.

Clips are compared in stretches of 4 s, by their log-mel spectra in 20 bands and frames of 0.17 s less the stretch's mean:
enough to know a recording again after a codec, at another level, from wherever in it the stretch is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mousai.audio import io
from mousai.audio.level import at_rms
from mousai.audio.spectral import log_mel
from mousai.evaluation.features import SAMPLE_RATE
from mousai.evaluation.genre import rows_of
from mousai.evaluation.phases import Phase, counted, silent
from mousai.files import file_hash, write_tensors

BANDS, N_FFT, HOP = 20, 4096, 2048
FRAME_HOPS = 4  # a frame, 0.17 s
STEP_HOPS = 2  # from one place of the training set that is looked at to the next, 0.085 s
QUIET = 1.0  # of power, some 45 dB below the peaks of music: what is less is all one, a codec has noise of its own there
STRETCH = 24  # frames
STRIDE = 12  # frames from one stretch of a clip to the next
LEAST_SECONDS = STRETCH * FRAME_HOPS * HOP / SAMPLE_RATE
STEP_SECONDS = STEP_HOPS * HOP / SAMPLE_RATE


@dataclass(frozen=True)
class Nearest:
    """The training clip that is nearest to a clip, from where, and how far its stretch is, as root mean square in dB."""

    distance_db: float
    track: str
    seconds: float


@dataclass(frozen=True)
class TrainingSet:
    """Outlines `(20, any)` of its clips, one place every 0.085 s, and their names."""

    names: tuple[str, ...]
    outlines: tuple[Tensor, ...]


def outline(audio: Tensor) -> Tensor:
    """Log-mel spectrum of the mean of the channels of audio `(c, s)` at 48 kHz in 20 bands and frames of 0.17 s, one every 0.085 s: `(20, l)`."""
    levels = log_mel(at_rms(audio).mean(0), SAMPLE_RATE, BANDS, N_FFT, HOP, QUIET)
    return F.avg_pool1d(levels[None], FRAME_HOPS, STEP_HOPS)[0]


def stretches(outlined: Tensor, stride: int = 1) -> Tensor:
    """All stretches of an outline, from every `stride`-th place on, each less its mean: `(places, 480)`; none of one too short."""
    reach = (STRETCH - 1) * FRAME_HOPS // STEP_HOPS + 1
    if outlined.shape[1] < reach:
        return torch.zeros(0, BANDS * STRETCH)
    found = outlined.unfold(1, reach, stride)[..., :: FRAME_HOPS // STEP_HOPS].transpose(0, 1).flatten(1)
    return found - found.mean(1, keepdim=True)


def nearest(clips: Sequence[Tensor], training: TrainingSet, progress: Phase = silent) -> list[Nearest]:
    """For each outline `(20, l)` of clips the training stretch that any stretch of it is nearest to; at least `LEAST_SECONDS` each."""
    asked = [stretches(clip, STRIDE * FRAME_HOPS // STEP_HOPS) for clip in clips]
    if not asked or any(len(each) == 0 for each in asked):
        raise ValueError(f"expected clips of at least {LEAST_SECONDS:.1f} s, to be compared with the training set")
    queries = torch.cat(asked)
    best, where, place = torch.full((len(queries),), torch.inf), torch.zeros(len(queries), dtype=torch.long), torch.zeros(len(queries), dtype=torch.long)
    for number, outlined in enumerate(counted(training.outlines, progress("looking for the nearest of the training set: clips"))):
        known = stretches(outlined)
        if len(known):
            distances, places = torch.cdist(queries, known).min(1)
            nearer = distances < best
            best, where, place = torch.where(nearer, distances, best), where.masked_fill(nearer, number), torch.where(nearer, places, place)
    owner = torch.repeat_interleave(torch.arange(len(asked)), torch.tensor([len(each) for each in asked]))
    found = []
    for index in range(len(asked)):
        of_this = (owner == index).nonzero()[:, 0]
        chosen = of_this[best[of_this].argmin()]
        name, seconds = training.names[where[chosen]], place[chosen].item() * STEP_SECONDS
        found.append(Nearest(best[chosen].item() / (BANDS * STRETCH) ** 0.5, name, round(seconds, 2)))
    return found


def training_set(manifest: Path, phase: Phase = silent) -> TrainingSet:
    """The outlines of a practice set's train split, made once and kept beside its manifest."""
    path = manifest.with_name(f"stretches-{file_hash(manifest)[:8]}.safetensors")
    if not path.is_file():
        rows = [row for row in rows_of(manifest, {"file": str, "split": str}) if row["split"] == "train"]
        files = counted([row["file"] for row in rows], phase("reading the training set to look for copies, once: clips"))
        made = {file: outline(io.read(manifest.parent / file, SAMPLE_RATE, 2)).half().contiguous() for file in files}
        write_tensors(path, made)
    try:
        with safe_open(path, "pt") as file:
            return TrainingSet(tuple(file.keys()), tuple(file.get_tensor(name).float() for name in file.keys()))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}; remove it, and it is made again") from error
