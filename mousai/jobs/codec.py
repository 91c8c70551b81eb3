"""`mousai encode` and `mousai decode`: audio to a file of latents and back, to the sample, in bounded memory.

A latent file is safetensors with `latents (d, l)` float32 and, in its metadata, what decoding needs: the length, the
codec's fingerprint and the gain that brought the audio to the level the codec was trained at.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import mousai
from mousai import checkpoint
from mousai.audio import io
from mousai.audio.level import level_gain, rms_of_blocks
from mousai.checks import Problems, check_number
from mousai.device import device_of, limit_threads, windows_at_once
from mousai.files import write_tensors
from mousai.jobs.places import free, ready, split_out, taken
from mousai.pipelines.cascade import check_model, load_codec, place_and_precision
from mousai.recipe import codec_fingerprint
from mousai.request.clip import SEEDS
from mousai.types import MAX_STEPS

FORMAT = "1"
SUFFIX = "safetensors"
CHECK_BYTES = 2**26  # of latents that are checked at a time
BLOCK_SECONDS = 10.0  # of audio read, or latents decoded, at a time

T = TypeVar("T")
Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Coded:
    """One finished file: what it was made from, its length, and the seconds of work on it."""

    source: Path
    path: Path
    num_samples: int
    frames: int
    sample_rate: int
    took: float

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


@dataclass(frozen=True)
class LatentFile:
    """What the header of a latent file says."""

    path: Path
    codec: str  # fingerprint
    sample_rate: int
    channels: int
    num_samples: int
    frames: int
    latent_channels: int
    gain: float
    source: str


def encode(
    files: Iterable[str | Path], model: str | Path = "starter", out: str | Path | None = None,
    *, device: str = "auto", dtype: str = "auto", progress: Progress | None = None,
) -> Iterator[Coded]:  # fmt: skip
    """Encodes audio files, each to a latent file of its name, and yields each when it is there.

    `out` is a folder (default: this one), or a file name for one file; a taken name gets a number. `progress(done,
    total)` counts seconds of audio. Wrong input raises ValueError or OSError before weights are read. Of several files those
    that cannot be read are left out, and Problems says so, with a line for each, when the others are done.
    """
    sources, problems = as_paths(files), []
    folder, name, _ = split_out(out, len(sources), SUFFIX, SUFFIX, (SUFFIX,))
    lengths = looked_into(sources, lambda source: io.info(source).seconds, problems)
    total = sum(seconds for _, seconds in lengths)
    limit_threads()
    place_and_precision(device, dtype)
    check_model(model, ("codec",))
    with ready(folder):
        codec, rms = load_codec(model, device, dtype)
        made_by = codec_fingerprint(checkpoint.model_folder(model))
        before = 0.0
        for source, seconds in lengths:
            began = time.perf_counter()
            report = None if progress is None else lambda seconds: progress(before + seconds, total)
            try:
                latents, num_samples, gain = encode_file(source, codec, rms, report)
            except (io.AudioError, OSError) as error:  # damage that only reading it to its end has met
                note(problems, source, error, len(sources))
                continue
            finally:
                before += seconds
            header = {
                "format": FORMAT, "codec": made_by, "sample_rate": codec.sample_rate, "channels": codec.channels,
                "num_samples": num_samples, "gain": repr(gain), "source": source.name.encode("utf-8", "replace").decode(),
                "mousai": mousai.__version__,
            }  # fmt: skip
            path = taken(folder, name or source.stem, SUFFIX, partial(save_latents, latents, {key: str(value) for key, value in header.items()}))
            yield Coded(source, path, num_samples, latents.shape[-1], codec.sample_rate, time.perf_counter() - began)
    if problems:
        raise Problems(problems)


def encode_file(source: Path, codec: nn.Module, rms: float | None, report: Callable[[float], None] | None = None) -> tuple[Tensor, int, float]:
    """Latents `(d, l)` of a file, its samples at the codec's rate, and the gain that brought it to `rms` first.

    The file is read block by block, twice where there is an `rms`; what is held of it are the latents.
    """
    device = device_of(codec)
    size = round(BLOCK_SECONDS * codec.sample_rate)
    gain, taken = 1.0, 0
    if rms is not None:
        gain = level_gain(rms_of_blocks(io.blocks(source, codec.sample_rate, codec.channels, size)), rms)

    def pieces() -> Iterator[Tensor]:
        nonlocal taken
        for block in io.blocks(source, codec.sample_rate, codec.channels, size):
            yield block[None].to(device) * gain
            taken += block.shape[-1]
            if report:
                report(taken / codec.sample_rate)

    return gathered(piece[0] for piece in codec.encode_stream(pieces())), taken, gain


def gathered(pieces: Iterable[Tensor]) -> Tensor:
    """Pieces `(d, any)` as one `(d, l)` float32 on the CPU.

    They are copied into room that doubles: small tensors kept among the large ones of every window would hold the heap open.
    """
    room, frames = None, 0
    for piece in pieces:
        end = frames + piece.shape[-1]
        if room is None or end > room.shape[-1]:
            larger = torch.empty(piece.shape[0], max(2 * end, 4096))
            if room is not None:
                larger[:, :frames] = room[:, :frames]
            room = larger
        room[:, frames:end] = piece
        frames = end
    return room[:, :frames].contiguous()


def save_latents(latents: Tensor, header: dict[str, str], path: Path) -> None:
    """Writes a latent file with its checksum, whole or not at all; FileExistsError where something has the name."""
    latents = latents.contiguous()
    write_tensors(path, {"latents": latents}, header | {"crc": str(checksum(header, [latents]))}, new=True)


def checksum(header: Mapping[str, str], latents: Iterable[Tensor]) -> int:
    """The CRC-32 of what a latent file says and of its latents, given as one `(d, l)` or as some of its rows after the other."""
    crc = zlib.crc32(json.dumps({key: value for key, value in header.items() if key != "crc"}, sort_keys=True).encode())
    for rows in latents:
        crc = zlib.crc32(rows.contiguous().view(torch.uint8).numpy(), crc)
    return crc


def check_latents(path: Path) -> None:
    """ValueError for a latent file that is not what was written; files of earlier versions do not tell."""
    with safe_open(path, framework="pt") as file:
        header, latents = file.metadata(), file.get_slice("latents")
        count, length = latents.get_shape()
        size = max(1, CHECK_BYTES // (4 * max(1, length)))
        if header.get("crc") not in (None, str(checksum(header, (latents[row : row + size] for row in range(0, count, size))))):
            raise ValueError(f"{path} is damaged: it does not have its checksum; run `mousai encode` again")


def decode(
    files: Iterable[str | Path], model: str | Path = "starter", out: str | Path | None = None, format: str | None = None,
    *, steps: int | None = None, seed: int = 0, device: str = "auto", dtype: str = "auto", progress: Progress | None = None,
) -> Iterator[Coded]:  # fmt: skip
    """Decodes latent files to audio of exactly the length that was encoded, and yields each when it is there.

    Arguments and errors as of `encode`; `format` is wav, flac, ogg, opus or mp3. ValueError for latents that another codec made.
    """
    sources, problems = as_paths(files), []
    check_number("steps", steps, 1, MAX_STEPS, whole=True)
    check_number("seed", seed, 0, SEEDS - 1, whole=True)
    folder, name, format = split_out(out, len(sources), format, "wav")
    latents = [header for _, header in looked_into(sources, read_header, problems)]
    limit_threads()
    place_and_precision(device, dtype)
    check_model(model, ("codec",))
    expected = codec_fingerprint(checkpoint.model_folder(model))
    for each in latents:
        if each.codec != expected:
            raise ValueError(f"{each.path}: its latents were made by codec {each.codec}, that of {model} is {expected}; give --model the one they were made with")
    with ready(folder):
        codec, _ = load_codec(model, device, dtype)
        total = sum(each.num_samples / each.sample_rate for each in latents)
        before = 0.0
        for each in latents:
            began = time.perf_counter()
            vacant = partial(free, folder, name or each.path.stem, format)
            metadata = {"decoded_from": each.path.name.encode("utf-8", "replace").decode(), "source": each.source, "codec": each.codec, "seed": seed}
            metadata |= {"codec_steps": steps or codec.default_steps, "mousai": mousai.__version__}
            report = None if progress is None else lambda share: progress(before + share * each.num_samples / each.sample_rate, total)
            written = decode_file(each, codec, vacant, steps, seed, metadata, report)
            yield Coded(each.path, written.path, each.num_samples, each.frames, each.sample_rate, time.perf_counter() - began)
            before += each.num_samples / each.sample_rate
    if problems:
        raise Problems(problems)


def decode_file(
    latents: LatentFile, codec: nn.Module, vacant: Callable[[], Path], steps: int | None, seed: int, metadata: dict[str, Any],
    report: Callable[[float], None] | None = None,
) -> io.Written:  # fmt: skip
    """Writes the audio of a latent file, window by window, to the path that is `vacant` when it is whole."""
    if latents.latent_channels != codec.latent_channels or latents.frames != math.ceil(latents.num_samples / codec.hop):
        shape = f"({codec.latent_channels}, {math.ceil(latents.num_samples / codec.hop)})"
        raise ValueError(f"{latents.path}: {latents.num_samples} samples of this codec have latents {shape}, came ({latents.latent_channels}, {latents.frames})")
    device = device_of(codec)
    left = latents.num_samples
    callback = None if report is None else lambda done, total: report(done / total)
    how = {"num_frames": latents.frames, "callback": callback, "batch": windows_at_once(device)}
    with io.AudioWriter(vacant(), codec.sample_rate, codec.channels, metadata=metadata, otherwise=vacant) as writer:
        for audio in codec.decode_stream(read_latents(latents, codec, device), seeds=[seed], steps=steps, **how):
            writer.write(audio[0, :, :left].float().cpu() / latents.gain)
            left -= min(left, audio.shape[-1])
    return writer.written


def read_latents(file: LatentFile, codec: nn.Module, device: torch.device) -> Iterator[Tensor]:
    """The latents of a file in pieces `(1, d, l)`."""
    size = max(1, round(BLOCK_SECONDS * codec.sample_rate / codec.hop))
    with safe_open(file.path, framework="pt") as tensors:
        latents = tensors.get_slice("latents")
        for first in range(0, file.frames, size):
            yield latents[:, first : first + size][None].to(device)


def read_header(path: Path) -> LatentFile:
    """What a latent file's header says. FileNotFoundError, or ValueError where it is none or does not hold together."""
    if not path.is_file():
        raise ValueError(f"{path} is a folder, expected a file of latents") if path.is_dir() else FileNotFoundError(f"no such file of latents: {path}")
    try:
        with safe_open(path, framework="pt") as tensors:
            header = tensors.metadata() or {}
            shape = tensors.get_slice("latents").get_shape() if "latents" in tensors.keys() else []
            kind = tensors.get_slice("latents").get_dtype() if shape else ""
    except SafetensorError as error:
        raise ValueError(f"{path}: no latents that `mousai encode` wrote, or cut ({error})") from error
    try:
        if header["format"] != FORMAT or len(shape) != 2 or kind != "F32":
            raise ValueError
        rate, channels, num_samples = (int(header[key]) for key in ("sample_rate", "channels", "num_samples"))
        read = LatentFile(path, header["codec"], rate, channels, num_samples, shape[1], shape[0], float(header["gain"]), header["source"])
        if not (rate > 0 and 0 < num_samples and 0 < read.gain < math.inf):
            raise ValueError
    except (KeyError, ValueError, OverflowError):
        raise ValueError(f"{path}: its header is not that of latents that `mousai encode` of this version wrote") from None
    check_latents(path)
    return read


def looked_into(sources: list[Path], look: Callable[[Path], T], problems: list[str]) -> list[tuple[Path, T]]:
    """The files, each with what `look` gives; errors are lines of `problems`, unless there is no other file."""
    found = []
    for source in sources:
        try:
            found.append((source, look(source)))
        except (ValueError, OSError) as error:
            note(problems, source, error, len(sources))
    if not found:
        raise Problems(problems)
    return found


def note(problems: list[str], source: Path, error: Exception, count: int) -> None:
    """Adds a line on a file to `problems`; raises the error of one that is alone."""
    if count == 1:
        raise error
    text = f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
    problems.append(text if str(source) in text else f"{source}: {text}")


def as_paths(files: Iterable[str | Path]) -> list[Path]:
    """The files as paths; ValueError for none."""
    paths = [Path(file) for file in files]
    if not paths:
        raise ValueError("no file: name at least one")
    return paths
