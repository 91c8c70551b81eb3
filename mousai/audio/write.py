"""Writing audio as it is made: streamed, beside its place and renamed once whole, never clipped, with its own recipe.

Samples wait in a nameless temporary float file beside the target, for only at the end is it known whether a peak is
above full scale and whether a WAV outgrows 4 GiB and must be an RF64 (EBU Tech 3306).
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from mousai.audio.container import ogg_checksum
from mousai.audio.decoder import Decoder

logger = logging.getLogger(__name__)

FORMATS = {  # by suffix: libsndfile's name and the subtypes that are offered, the default first
    "wav": ("WAV", ("PCM_16", "PCM_24", "FLOAT")),
    "flac": ("FLAC", ("PCM_16", "PCM_24")),
    "ogg": ("OGG", ("VORBIS",)),
    "opus": ("OGG", ("OPUS",)),
}
SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
OPUS_DELAY = 312  # samples at 48 kHz by which libopus runs behind, skipped by readers
WAV_MAX_BYTES = 2**32 - 2**16  # of samples; the header counts to 2^32
METADATA_MAX_BYTES = 16384  # libsndfile loses what is much longer from a WAV
BLOCK_SAMPLES = 65536  # libsndfile's Vorbis encoder crashes on a very long single write


@dataclass(frozen=True)
class Written:
    """What was written: the `peak` that came and the `scale` that brought it to full scale (1.0 = as it came)."""

    path: Path
    num_samples: int
    peak: float
    scale: float


class AudioWriter:
    """A file to write audio to piece by piece: `with AudioWriter("a.flac") as out: out.write(audio)`.

    The format follows the suffix (or `format`: wav, flac, ogg, opus), `subtype` is PCM_16, PCM_24 or FLOAT where there
    is a choice. A peak above 1 scales the whole file, with a warning that says so, except in a float WAV. `metadata`
    travels with the file as JSON and `read_metadata` gives it back. The file appears under its name when the block
    ends without an error, and `written` then tells what became of it; otherwise nothing is left. Raises ValueError for
    what the format does not take, OSError where the place cannot be written, both before any audio is asked for.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        sample_rate: int = 48000,
        channels: int = 2,
        format: str | None = None,
        subtype: str | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        self.path, self.sample_rate, self.channels = Path(path), sample_rate, channels
        if self.path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, expected the name of an audio file")
        self.format, self.subtype = resolve_format(self.path, format, subtype)
        self.comment = None if metadata is None else json.dumps(metadata, ensure_ascii=False)
        if self.comment and len(self.comment.encode()) > METADATA_MAX_BYTES:
            raise ValueError(f"{path}: the metadata may have {METADATA_MAX_BYTES} bytes, came {len(self.comment.encode())}")
        if self.subtype == "OPUS" and sample_rate not in OPUS_RATES:
            raise ValueError(f"{path}: Opus takes sample rates of {OPUS_RATES}, came {sample_rate}; resample or use .flac")
        try:
            self.open(io.BytesIO(), self.format).close()
        except soundfile.LibsndfileError:
            raise ValueError(f"{path}: {channels} channels at {sample_rate} Hz cannot be written in this format") from None
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"cannot write {path}: there is no folder {self.path.parent}")
        self.num_samples, self.peak = 0, 0.0
        self.written: Written | None = None
        try:
            self.samples = tempfile.TemporaryFile(dir=self.path.parent)
        except OSError as error:
            raise type(error)(f"cannot write {path}: {error.strerror}") from None

    def open(self, file: io.BytesIO | str, format: str) -> soundfile.SoundFile:
        return soundfile.SoundFile(file, "w", self.sample_rate, self.channels, format=format, subtype=self.subtype)

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
        if audio.dim() != 2 or audio.shape[0] != self.channels:
            raise ValueError(f"{self.path}: expected audio ({self.channels}, s), came {tuple(audio.shape)}")
        if not torch.isfinite(audio).all():
            raise ValueError(f"{self.path}: audio to be written holds NaN or infinite samples")
        if audio.shape[1] == 0:
            return
        samples = audio.detach().float().cpu().T.contiguous()
        try:
            self.samples.write(samples.numpy().data)
        except OSError as error:
            raise OSError(f"cannot write {self.path}: {error.strerror}") from None
        self.num_samples += len(samples)
        self.peak = max(self.peak, samples.abs().max().item())

    def finish(self) -> None:
        """Encode what came into a file beside the target, make sure that it is whole, and rename it."""
        if self.num_samples == 0:
            raise ValueError(f"{self.path}: no audio was given to write")
        scale = 1 / self.peak if self.peak > 1 and self.subtype != "FLOAT" else 1.0
        part = self.path.with_name(f"{self.path.name}.tmp-{secrets.token_hex(4)}")
        try:
            self.encode(part, scale)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            with Decoder(part) as decoder:
                if decoder.num_samples != self.num_samples:
                    raise OSError(f"{decoder.num_samples} of {self.num_samples} samples arrived")
            part.replace(self.path)
        except (soundfile.LibsndfileError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it did not come out whole; is the disk full?"
            raise OSError(f"cannot write {self.path}: {reason}") from None
        finally:
            part.unlink(missing_ok=True)
        if scale < 1:
            logger.warning(
                "%s: the peak of %.2f is above full scale, all of it scaled by %.1f dB",
                self.path, self.peak, 20 * math.log10(scale),
            )  # fmt: skip
        self.written = Written(self.path, self.num_samples, self.peak, scale)

    def encode(self, part: Path, scale: float) -> None:
        num_bytes = self.num_samples * self.channels * SAMPLE_BYTES.get(self.subtype, 0)
        large = self.format == "WAV" and num_bytes > WAV_MAX_BYTES
        self.samples.seek(0)
        padding = -(self.num_samples + OPUS_DELAY * self.sample_rate // 48000) % (self.sample_rate // 50)
        with self.open(str(part), "RF64" if large else self.format) as file:
            if self.comment is not None:
                file.comment = self.comment
            while block := self.samples.read(BLOCK_SAMPLES * self.channels * 4):
                file.write(np.frombuffer(block, np.float32).reshape(-1, self.channels) * np.float32(scale))
            if self.subtype == "OPUS":
                file.write(np.zeros((padding, self.channels), np.float32))
        if self.subtype == "OPUS":
            cut_opus(part, padding * 48000 // self.sample_rate)


def write(
    path: str | os.PathLike,
    audio: Tensor,
    sample_rate: int = 48000,
    metadata: dict[str, Any] | None = None,
    subtype: str | None = None,
) -> Written:
    """Write audio `(c, s)` to a file in one go, as `AudioWriter` does."""
    with AudioWriter(path, sample_rate, audio.shape[0], subtype=subtype, metadata=metadata) as writer:
        writer.write(audio)
    return writer.written


def cut_opus(path: Path, num_samples: int) -> None:
    """Leave `num_samples`, less than a frame, off the end of an Opus file by its last page's position (RFC 7845, 4.4).

    libsndfile 1.2.2 spoils the last frame where it is not full (a click of up to 20 ms), so full ones are written.
    """
    with path.open("r+b") as file:
        first = max(0, path.stat().st_size - 2**17)
        file.seek(first)
        tail = bytearray(file.read())
        at = tail.rindex(b"OggS")
        position = int.from_bytes(tail[at + 6 : at + 14], "little") - num_samples
        tail[at + 6 : at + 14] = position.to_bytes(8, "little")
        tail[at + 22 : at + 26] = bytes(4)
        tail[at + 22 : at + 26] = ogg_checksum(bytes(tail[at:])).to_bytes(4, "little")
        file.seek(first)
        file.write(tail)


def resolve_format(path: Path, format: str | None, subtype: str | None) -> tuple[str, str]:
    """libsndfile's (format, subtype) for a path. Raises ValueError where suffix, `format` and `subtype` do not go together."""
    suffix = path.suffix.lower().removeprefix(".")
    name = format or suffix
    if name not in FORMATS:
        raise ValueError(f"{path}: cannot tell the format to write; use one of {', '.join(FORMATS)}, as suffix or by name")
    if suffix in FORMATS and suffix != name:
        raise ValueError(f"{path}: the format is to be {name}, the name says {suffix}")
    container, subtypes = FORMATS[name]
    if subtype is not None and subtype not in subtypes:
        raise ValueError(f"{path}: {name} is written as {' or '.join(subtypes)}, came {subtype}")
    return container, subtype or subtypes[0]
