"""Writing audio as it is made: streamed, beside its place and renamed once whole, never clipped, with its own recipe."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mousai.audio.chapters import Chapter, check_chapters
from mousai.audio.encode import BLOCK_SAMPLES, FORMATS, Target, to_samples

__all__ = ["FORMATS", "AudioWriter", "Written", "write", "write_blocks"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """What was written: the `peak` that came and the `scale` that brought it to full scale (1.0 = as it came)."""

    path: Path
    num_samples: int
    peak: float
    scale: float


class AudioWriter:
    """A file to write audio to piece by piece: `with AudioWriter("a.flac") as out: out.write(audio)`.

    The format follows the suffix (or `format`: wav, flac, ogg, opus, mp3), `subtype` is PCM_16, PCM_24 or FLOAT where there
    is a choice. A peak above 1 scales the whole file, with a warning that says so, except in a float WAV. `metadata`
    travels with the file as JSON and `read_metadata` gives it back. The file appears under its name when the block
    ends without an error, and `written` then tells what became of it; otherwise nothing is left. Samples wait in a
    nameless temporary float file beside the target, for only at the end is the peak known. What has the name already is
    replaced, unless `otherwise` gives another path then. `chapters` come back as `io.info(path).chapters`, but of MP3, which has none. Raises ValueError for what the format does not take, OSError
    where the place cannot be written, both before any audio is asked for.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        sample_rate: int = 48000,
        channels: int = 2,
        format: str | None = None,
        subtype: str | None = None,
        metadata: dict[str, Any] | None = None,
        otherwise: Callable[[], Path] | None = None,
        chapters: Sequence[Chapter] = (),
    ):
        self.target = Target(path, sample_rate, channels, format, subtype, metadata)
        self.otherwise, self.chapters = otherwise, chapters
        self.path, self.num_samples, self.peak = self.target.path, 0, 0.0
        self.written: Written | None = None
        with self.target.complaint():
            self.samples = tempfile.TemporaryFile(dir=self.path.parent)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            if failure is None:
                self.finish()
        finally:
            try:
                self.samples.close()
            except OSError:  # what a full disk did not take of a file that is thrown away anyway
                if failure is None:
                    raise

    def write(self, audio: Tensor) -> None:
        """Append audio `(c, s)`. Raises ValueError for another shape and for NaN or infinite samples, OSError on a full disk."""
        samples = to_samples(audio, self.target.channels, self.path)
        with self.target.complaint():
            self.samples.write(samples.data)
        self.num_samples += len(samples)
        self.peak = max(self.peak, float(np.abs(samples).max(initial=0)))

    def finish(self) -> None:
        """Encode what came into a file beside the target, make sure that it is whole, and rename it."""
        if self.num_samples == 0:
            raise ValueError(f"{self.path}: no audio was given to write")
        check_chapters(self.chapters, self.num_samples, self.path)
        scale = 1 / self.peak if self.peak > 1 and self.target.subtype != "FLOAT" else 1.0
        self.place(scale)
        if 20 * math.log10(scale) < -0.05:  # or it would be said to be by 0.0 dB
            logger.warning(
                "%s: the peak of %.2f is above full scale, all of it scaled by %.1f dB",
                self.path, self.peak, 20 * math.log10(scale),
            )  # fmt: skip
        self.written = Written(self.path, self.num_samples, self.peak, scale)

    def place(self, scale: float) -> None:
        while True:
            try:
                return self.target.place(lambda part: self.encode(part, scale), self.num_samples, new=self.otherwise is not None)
            except FileExistsError:
                if self.otherwise is None:
                    raise
                self.target.path = self.path = self.otherwise()

    def encode(self, part: Path, scale: float) -> None:
        self.target.encode(part, self.scaled(scale), self.num_samples, self.chapters)

    def scaled(self, scale: float) -> Iterator[Tensor]:
        """What came, times `scale`, as blocks `(c, s)`."""
        with self.target.complaint():
            self.samples.seek(0)
        while block := self.samples.read(BLOCK_SAMPLES * self.target.channels * 4):
            samples = np.frombuffer(block, np.float32).reshape(-1, self.target.channels) * np.float32(scale)
            yield torch.from_numpy(samples).T


def write_blocks(
    path: str | os.PathLike,
    blocks: Iterable[Tensor],
    num_samples: int,
    sample_rate: int,
    channels: int,
    *,
    metadata: dict[str, Any] | None = None,
    format: str | None = None,
    subtype: str | None = None,
    chapters: Sequence[Chapter] = (),
) -> Written:
    """Write blocks `(c, s)`, `num_samples` together, straight to a file beside `path`, and rename it once it is whole.

    Memory and disk hold no second copy of the audio, so the peak cannot be waited for: a sample beyond ±1 (by more than
    1e-4, which is brought to 1) is a ValueError everywhere but in a float WAV, and so is another number of samples, NaN
    and whatever `AudioWriter` refuses; OSError where the place cannot be written. `format`, `subtype` and `metadata` are
    as in `AudioWriter`; `chapters` come back as `io.info(path).chapters`, but of MP3, which has none. Nothing is left behind by an error.
    """
    target = Target(path, sample_rate, channels, format, subtype, metadata)
    check_chapters(chapters, num_samples, path)
    if num_samples < 1:
        raise ValueError(f"{path}: no audio was given to write")
    peak = 0.0

    def encode(part: Path) -> None:
        nonlocal peak
        peak = target.encode(part, blocks, num_samples, chapters)

    target.place(encode, num_samples)
    return Written(target.path, num_samples, peak, 1.0)


def write(
    path: str | os.PathLike,
    audio: Tensor,
    sample_rate: int = 48000,
    metadata: dict[str, Any] | None = None,
    subtype: str | None = None,
    otherwise: Callable[[], Path] | None = None,
    chapters: Sequence[Chapter] = (),
) -> Written:
    """Write audio `(c, s)` to a file in one go, as `AudioWriter` does."""
    with AudioWriter(path, sample_rate, audio.shape[0], subtype=subtype, metadata=metadata, otherwise=otherwise, chapters=chapters) as writer:
        writer.write(audio)
    return writer.written
