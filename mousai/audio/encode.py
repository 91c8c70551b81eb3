"""Encoding audio into a file of a format: what the formats take, their peculiarities, and a whole file or none.

A WAV that outgrows 4 GiB is an RF64 (EBU Tech 3306).
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from mousai.audio.chapters import Chapter, add_chapters, cue_chunks, to_comments
from mousai.audio.comments import placeholder
from mousai.audio.container import ogg_checksum
from mousai.audio.decoder import Decoder
from mousai.files import writing

FORMATS = {  # by suffix: libsndfile's name and the subtypes that are offered, the default first
    "wav": ("WAV", ("PCM_16", "PCM_24", "FLOAT")),
    "flac": ("FLAC", ("PCM_16", "PCM_24")),
    "ogg": ("OGG", ("VORBIS",)),
    "opus": ("OGG", ("OPUS",)),
    "mp3": ("MP3", ("MPEG_LAYER_III",)),
}
SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
OPUS_DELAY = 312  # samples at 48 kHz by which libopus runs behind, skipped by readers
WAV_MAX_BYTES = 2**32 - 2**16  # of samples; the header counts to 2^32
METADATA_MAX_BYTES = 16384  # libsndfile loses what is much longer from a WAV
PEAK_TOLERANCE = 1e-4  # by which a limiter may miss full scale
BLOCK_SAMPLES = 65536  # libsndfile's Vorbis encoder crashes on a very long single write


class Target:
    """An audio file to be, everything about it checked before there is any audio. Raises as `AudioWriter` does."""

    def __init__(
        self,
        path: str | os.PathLike,
        sample_rate: int,
        channels: int,
        format: str | None,
        subtype: str | None,
        metadata: dict[str, Any] | None,
    ):
        self.path, self.sample_rate, self.channels = Path(path), sample_rate, channels
        if self.path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, expected the name of an audio file")
        self.format, self.subtype = resolve_format(self.path, format, subtype)
        self.comment = None if metadata is None else json.dumps(metadata, ensure_ascii=self.format == "MP3")  # libsndfile takes its tags for Latin-1
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

    def open(self, file: io.BytesIO | str, format: str) -> soundfile.SoundFile:
        return soundfile.SoundFile(file, "w", self.sample_rate, self.channels, format=format, subtype=self.subtype)

    @contextmanager
    def complaint(self) -> Iterator[None]:
        """Turn what goes wrong while writing into one line that names the file."""
        try:
            yield
        except soundfile.LibsndfileError:
            raise OSError(f"cannot write {self.path}: it did not come out whole; is the disk full?") from None
        except OSError as error:
            if error.strerror is None:  # it is in words already
                raise
            raise type(error)(f"cannot write {self.path}: {error.strerror}") from None

    def encode(self, part: Path, blocks: Iterable[Tensor], num_samples: int, chapters: Sequence[Chapter] = ()) -> float:
        """Write `num_samples` of blocks `(c, s)` to the file `part`; their peak returns."""
        num_bytes = num_samples * self.channels * SAMPLE_BYTES.get(self.subtype, 0) + len(cue_chunks(chapters))
        large = self.format == "WAV" and num_bytes > WAV_MAX_BYTES
        padding = -(num_samples + OPUS_DELAY * self.sample_rate // 48000) % (self.sample_rate // 50)
        with self.complaint():
            file = self.open(str(part), "RF64" if large else self.format)
        try:
            if self.comment is not None:
                file.comment = self.comment
            if self.format == "FLAC" and chapters:
                file.copyright = placeholder(to_comments(chapters, self.sample_rate))
            peak = self.encode_samples(file, blocks, num_samples)
            if self.subtype == "OPUS":
                with self.complaint():
                    file.write(np.zeros((padding, self.channels), np.float32))
        finally:
            with self.complaint():
                file.close()
        with self.complaint():
            if self.subtype == "OPUS":
                cut_opus(part, padding * 48000 // self.sample_rate)
            if chapters and self.format != "MP3":
                add_chapters(part, chapters, self.sample_rate)
        return peak

    def encode_samples(self, file: soundfile.SoundFile, blocks: Iterable[Tensor], num_samples: int) -> float:
        """All of the blocks to `file`, the length and the peak verified on the way; the peak returns."""
        peak, count = 0.0, 0
        for samples in even((to_samples(block, self.channels, self.path) for block in blocks), self.channels):
            peak, count = max(peak, float(np.abs(samples).max())), count + len(samples)
            if peak > 1 and self.subtype != "FLOAT":
                if peak > 1 + PEAK_TOLERANCE:
                    raise ValueError(f"{self.path}: a peak of {peak:.5g} is above full scale; limit it or write a float WAV")
                samples = samples.clip(-1, 1)
            if count > num_samples:
                break
            with self.complaint():
                file.write(samples)
        if count != num_samples:
            came = f"at least {count}" if count > num_samples else count
            raise ValueError(f"{self.path}: {num_samples} samples were to be written, {came} came")
        return peak

    def place(self, encode: Callable[[Path], None], num_samples: int, new: bool = False) -> None:
        """Have `encode` write a file beside the target, make sure that it is whole and on the disk, and rename it; `new` is as of `files.writing`."""
        with writing(self.path, new=new) as part:
            encode(part)
            self.verify(part, num_samples)

    def verify(self, part: Path, num_samples: int) -> None:
        """Raise OSError unless the file `part` can be read and counts `num_samples`."""
        try:
            with Decoder(part) as decoder:
                whole = decoder.num_samples == num_samples
        except ValueError:
            whole = False
        if not whole:
            raise OSError(f"cannot write {self.path}: it did not come out whole; is the disk full?")


def to_samples(audio: Tensor, channels: int, path: Path) -> np.ndarray:
    """Audio `(c, s)` as float32 `(s, c)`. Raises ValueError for another shape and for NaN or infinite samples."""
    if audio.dim() != 2 or audio.shape[0] != channels:
        raise ValueError(f"{path}: expected audio ({channels}, s), came {tuple(audio.shape)}")
    if not torch.isfinite(audio).all():
        raise ValueError(f"{path}: audio to be written holds NaN or infinite samples")
    return audio.detach().float().cpu().T.contiguous().numpy()


def even(pieces: Iterable[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    """Samples `(s, c)` in blocks of one length, the last one shorter: libvorbis' result depends on how they are cut."""
    block, filled = np.empty((BLOCK_SAMPLES, channels), np.float32), 0
    for piece in pieces:
        while len(piece):
            taken, piece = piece[: BLOCK_SAMPLES - filled], piece[BLOCK_SAMPLES - filled :]
            block[filled : filled + len(taken)] = taken
            filled += len(taken)
            if filled == BLOCK_SAMPLES:
                yield block
                filled = 0
    if filled:
        yield block[:filled]


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
