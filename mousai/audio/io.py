"""Reading audio of any format at any rate, and writing it; what a file is, is told by its content, never by its name.

libsndfile decodes (through soundfile), soxr resamples, once, at its high quality. Samples are float32 and are never
clipped: what a float or lossy file holds beyond [-1, 1] arrives as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor

from mousai.audio.chapters import Chapter, read_chapters
from mousai.audio.container import AudioError, File, Member
from mousai.audio.decoder import HIGHEST_RATE, LOWEST_RATE, Decoder
from mousai.audio.remix import remix
from mousai.audio.write import FORMATS, AudioWriter, Written, write, write_blocks
from mousai.files import parse_json

__all__ = [
    "FORMATS", "AudioError", "AudioInfo", "AudioWriter", "Chapter", "File", "Member", "Written", "blocks", "info", "read",
    "read_metadata", "remix", "resampled_length", "write", "write_blocks",
]  # fmt: skip

BLOCK_SAMPLES = 65536
RESAMPLER_REACH = 256  # samples of the lower rate beyond which soxr's filter is below 1e-6


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds; `num_samples` and `chapters` count at the file's own rate, `tags` are named as libsndfile's strings."""

    sample_rate: int
    channels: int
    num_samples: int
    format: str  # "WAV", "FLAC", "OGG", "MP3", …
    subtype: str  # "PCM_16", "FLOAT", "VORBIS", "OPUS", …
    tags: dict[str, str]
    chapters: tuple[Chapter, ...] = ()

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


def info(file: File) -> AudioInfo:
    """What `file` holds, without decoding it all where its headers tell.

    Raises FileNotFoundError, or AudioError for what is empty, cut or no audio; damage in the middle of a file that
    has no checksums outside its audio shows only when that part is read.
    """
    with Decoder(file) as decoder:
        if decoder.slack == decoder.num_samples:
            decoder.num_samples = sum(len(block) for block in native_blocks(decoder))
        elif decoder.format in ("FLAC", "MP3"):  # these promise a length that nothing has verified yet
            decoder.read(max(0, decoder.num_samples - 1 - decoder.slack), decoder.slack + 1)
        return AudioInfo(
            decoder.sample_rate,
            decoder.channels,
            decoder.num_samples,
            decoder.format,
            decoder.subtype,
            decoder.tags,
            read_chapters(decoder.windows[0], decoder.sample_rate, decoder.num_samples),
        )


def read_metadata(file: File) -> dict[str, Any]:
    """The metadata that `AudioWriter` put into a file, {} where there is none, or one that is not as ours are. Raises as `info` does."""
    with Decoder(file) as decoder:
        comment = decoder.tags.get("comment", "")
    try:
        return parse_json(comment, "the comment", dict, finite=True)
    except ValueError:
        return {}


def read(
    file: File,
    sample_rate: int = 48000,
    channels: int = 2,
    start_seconds: float = 0.0,
    num_samples: int | None = None,
) -> Tensor:
    """Audio `(c, s)` float32 of a file, or of `num_samples` at `sample_rate` from `start_seconds` on.

    A part is found by seeking and equals the same part of the whole to 1e-5; where the file ends sooner, fewer samples
    return. `file` is a path or a `Member` of an archive. Raises FileNotFoundError; AudioError where the file is not
    whole audio; ValueError where the start lies outside it.
    """
    check_output(sample_rate, channels)
    if start_seconds < 0 or num_samples is not None and num_samples < 1:
        raise ValueError(f"start_seconds must be at least 0 and num_samples 1; came {start_seconds} and {num_samples}")
    with Decoder(file) as decoder:
        total = resampled_length(decoder.num_samples, decoder.sample_rate, sample_rate)
        first = round(start_seconds * sample_rate)
        count = min(total - first, num_samples or total)
        # A crop begins where a sample of both rates falls together, so that the filter's phase is that of the whole.
        common = gcd(decoder.sample_rate, sample_rate)
        step_in, step_out = decoder.sample_rate // common, sample_rate // common
        reach = 0 if step_in == step_out else RESAMPLER_REACH * max(sample_rate, decoder.sample_rate) // decoder.sample_rate
        steps = max(0, first - reach) // step_out
        end = min(decoder.num_samples, -(-(first + count + reach) * step_in // step_out))
        audio = decoder.read(steps * step_in, end - steps * step_in)
        if decoder.slack and steps * step_in + len(audio) < end:  # an MP3 that ends before it says
            total = resampled_length(steps * step_in + len(audio), decoder.sample_rate, sample_rate)
            count = min(count, total - first)
        if count < 1:
            raise ValueError(f"{file}: ends after {total / sample_rate:.3f} s, cannot start at {start_seconds:.3f} s")
        audio = mix_down(audio, channels, decoder)
        audio = soxr.resample(audio, decoder.sample_rate, sample_rate, quality="HQ")[first - steps * step_out :]
        return to_tensor(fit(audio, count), channels)


def blocks(file: File, sample_rate: int, channels: int, block_samples: int) -> Iterator[Tensor]:
    """The whole of a file as blocks `(c, block_samples)`, the last one shorter, in bounded memory; together what `read` gives."""
    check_output(sample_rate, channels)
    if block_samples < 1:
        raise ValueError(f"block_samples must be at least 1, came {block_samples}")
    with Decoder(file) as decoder:
        kept = min(channels, decoder.channels) if channels <= 2 else decoder.channels
        stream = soxr.ResampleStream(decoder.sample_rate, sample_rate, kept, dtype="float32", quality="HQ")
        pending, held, taken, given = [], 0, 0, 0

        def flush(size: int) -> Tensor:
            nonlocal pending, held, given
            audio = np.concatenate(pending)
            pending, held, given = [audio[size:]], max(0, len(audio) - size), given + size
            return to_tensor(fit(audio, size), channels)

        for native in native_blocks(decoder):
            taken += len(native)
            pending.append(stream.resample_chunk(mix_down(native, channels, decoder)))
            held += len(pending[-1])
            while held >= block_samples:
                yield flush(block_samples)
        pending.append(stream.resample_chunk(np.zeros((0, kept), np.float32), last=True))
        total = resampled_length(taken, decoder.sample_rate, sample_rate)
        while given < total:
            yield flush(min(block_samples, total - given))


def resampled_length(num_samples: int, rate_in: int, rate_out: int) -> int:
    """How many samples `num_samples` become at another rate: rounded, half up, at least one."""
    return max(1, (2 * num_samples * rate_out + rate_in) // (2 * rate_in))


def native_blocks(decoder: Decoder) -> Iterator[np.ndarray]:
    """All samples of a file at its own rate, `(s, c)` a block."""
    start = 0
    while start < decoder.num_samples:
        block = decoder.read(start, min(BLOCK_SAMPLES, decoder.num_samples - start))
        if len(block) == 0:
            return
        yield block
        start += len(block)


def mix_down(audio: np.ndarray, channels: int, decoder: Decoder) -> np.ndarray:
    """`(s, c)` with no more channels than are wanted, before resampling; mono is widened afterwards."""
    if decoder.channels in (1, channels):
        return audio
    return np.ascontiguousarray(remix(torch.from_numpy(audio.T), channels, decoder.layout).numpy().T)


def fit(audio: np.ndarray, num_samples: int) -> np.ndarray:
    """`(s, c)` cut, or filled with zeros where a resampler rounded its length down, to `num_samples`."""
    return np.pad(audio[:num_samples], ((0, max(0, num_samples - len(audio))), (0, 0)))


def to_tensor(audio: np.ndarray, channels: int) -> Tensor:
    """`(s, c)` array → `(channels, s)` tensor."""
    return remix(torch.from_numpy(np.ascontiguousarray(audio.T)), channels).contiguous()


def check_output(sample_rate: int, channels: int) -> None:
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE or channels < 1:  # soxr takes minutes to the second for a rate of a few Hz
        raise ValueError(f"sample_rate must be from {LOWEST_RATE} to {HIGHEST_RATE} and channels at least 1; came {sample_rate} and {channels}")
