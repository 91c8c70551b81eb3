"""A float WAV that grows for hours, plays at any moment and goes on after a crash, beyond 4 GiB too.

The header is `RIFF WAVE JUNK fmt fact data` (Microsoft, Multimedia Data Standards Update 3.0, for the float format) and
becomes `RF64 WAVE ds64 fmt fact data` in the same bytes when the sizes outgrow 32 bits (EBU Tech 3306, section 3). What it
counts is there: samples reach the disk before the header that counts them.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mousai.audio.encode import BLOCK_SAMPLES, WAV_MAX_BYTES, to_samples
from mousai.files import sync

HEADER = struct.Struct("<4sI4s 4sIQQQI 4sIHHIIHHH 4sII 4sI")
HEADER_BYTES = HEADER.size
IEEE_FLOAT = 3  # WAVE_FORMAT_IEEE_FLOAT
ELSEWHERE = 2**32 - 1  # a size that ds64 tells


class GrowingWav:
    """A float32 WAV at `path` to append to; `num_samples` counts what it holds.

    Creates the file, or opens one that was begun here with the same `sample_rate` and `channels`, cuts what its header
    does not count and counts only what is there. Raises ValueError for any other file, OSError where the place cannot be
    written. One process at a time may have it open.
    """

    def __init__(self, path: str | os.PathLike, sample_rate: int, channels: int):
        if not (1 <= sample_rate < 2**32 and 1 <= channels < 2**14 and 4 * channels * sample_rate < 2**32):
            raise ValueError(f"{path}: {channels} channels at {sample_rate} Hz cannot be written as WAV")
        self.path, self.sample_rate, self.channels = Path(path), sample_rate, channels
        with self.complaint():
            self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b", buffering=0)
        try:
            self.num_samples = self.count()
            with self.complaint():
                self.settle(self.num_samples)
                sync(self.path.parent)
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> GrowingWav:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()

    @property
    def frame_bytes(self) -> int:
        return 4 * self.channels

    def count(self) -> int:
        """The samples that are there and that the header counts. Raises ValueError for a file of another kind."""
        head = self.file.read(HEADER_BYTES)
        if header(0, self.sample_rate, self.channels).startswith(head):  # new, or killed while it was
            return 0
        if len(head) == HEADER_BYTES:
            fields = HEADER.unpack(head)
            size = fields[-1] if fields[0] == b"RIFF" else fields[6]
            declared, sample_rate, channels = size // self.frame_bytes, fields[13], fields[12]
            if is_header(head, declared, self.sample_rate, self.channels):
                return min(declared, (os.fstat(self.file.fileno()).st_size - HEADER_BYTES) // self.frame_bytes)
            if channels and is_header(head, size // (4 * channels), sample_rate, channels):
                raise ValueError(
                    f"{self.path} holds {channels} channels at {sample_rate} Hz, expected {self.channels} at {self.sample_rate} Hz"
                )
        raise ValueError(f"{self.path} is not a WAV that was begun here and can go on; give another name or remove it")

    def append(self, audio: Tensor) -> None:
        """Add audio `(c, s)`; once this returns it is on the disk.

        Raises ValueError for another shape and for NaN or infinite samples; OSError, with the file as before, where the
        disk does not take it.
        """
        samples = to_samples(audio, self.channels, self.path)
        if len(samples) == 0:
            return
        with self.complaint():
            try:
                self.put(HEADER_BYTES + self.num_samples * self.frame_bytes, memoryview(samples).cast("B"))
                self.put(0, header(self.num_samples + len(samples), self.sample_rate, self.channels))
            except BaseException:
                with contextlib.suppress(OSError):
                    self.settle(self.num_samples)
                raise
        self.num_samples += len(samples)

    def truncate(self, num_samples: int) -> None:
        """Keep the first `num_samples`. Raises ValueError where there are fewer, OSError where the disk fails."""
        if not 0 <= num_samples <= self.num_samples:
            raise ValueError(f"{self.path} holds {self.num_samples} samples, cannot be cut to {num_samples}")
        with self.complaint():
            self.settle(num_samples)
        self.num_samples = num_samples

    def blocks(self, start: int = 0, stop: int | None = None, size: int = BLOCK_SAMPLES) -> Iterator[Tensor]:
        """Samples [start, stop) as blocks `(c, size)`, the last one shorter; appending meanwhile does no harm.

        Raises ValueError for a range that the file does not hold.
        """
        stop = self.num_samples if stop is None else stop
        if not 0 <= start <= stop <= self.num_samples or size < 1:
            raise ValueError(f"{self.path} holds {self.num_samples} samples, asked for [{start}, {stop}) in blocks of {size}")
        return self.read(start, stop, size)

    def read(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        with self.path.open("rb") as file:
            file.seek(HEADER_BYTES + start * self.frame_bytes)
            for first in range(start, stop, size):
                wanted = min(size, stop - first) * self.frame_bytes
                data = file.read(wanted)
                if len(data) < wanted:
                    raise OSError(f"cannot read {self.path}: it was cut while it was read")
                samples = np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, self.channels)
                yield torch.from_numpy(samples).T.contiguous()

    def settle(self, num_samples: int) -> None:
        """A header that counts `num_samples`, and nothing behind them."""
        self.put(0, header(num_samples, self.sample_rate, self.channels))
        self.file.truncate(HEADER_BYTES + num_samples * self.frame_bytes)
        sync(self.file)

    def put(self, at: int, data: bytes | memoryview) -> None:
        """Write all of `data` at byte `at` and have the disk keep it."""
        self.file.seek(at)
        view = memoryview(data)
        while view:
            view = view[self.file.write(view) :]
        sync(self.file)

    @contextlib.contextmanager
    def complaint(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise type(error)(f"cannot write {self.path}: {error.strerror}") from None


def is_header(head: bytes, num_samples: int, sample_rate: int, channels: int) -> bool:
    """Whether `head` is what `header` makes of the rest; not where that is more than it can hold."""
    try:
        return head == header(num_samples, sample_rate, channels)
    except struct.error:
        return False


def header(num_samples: int, sample_rate: int, channels: int) -> bytes:
    """The bytes before the samples: RIFF with 28 bytes of JUNK, or RF64 with these as ds64 where 32 bits do not do."""
    frame = 4 * channels
    size = num_samples * frame
    riff = HEADER_BYTES - 8 + size
    large = size > WAV_MAX_BYTES
    sizes = (riff, size, num_samples, 0) if large else (0, 0, 0, 0)
    return HEADER.pack(
        b"RF64" if large else b"RIFF", ELSEWHERE if large else riff, b"WAVE",
        b"ds64" if large else b"JUNK", 28, *sizes,
        b"fmt ", 18, IEEE_FLOAT, channels, sample_rate, sample_rate * frame, frame, 32, 0,
        b"fact", 4, ELSEWHERE if large else num_samples,
        b"data", ELSEWHERE if large else size,
    )  # fmt: skip
