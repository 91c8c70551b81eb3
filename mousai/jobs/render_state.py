"""What is kept of a long piece while it is made, so that nothing is lost: a folder beside its file.

    NAME.render/
      begun.json                 what is being made, and with what
      latents/00012.safetensors  a finished segment of latents each
      state-0000123.safetensors  what generation goes on from, the last two of them
      audio.wav                  what is decoded so far, playable at any moment
      audio.sums                 a line for each block of it: samples so far, hash of the block
      progress.json              for whoever asks how far it is
      lock                       held by the process that works on it

Segments and states are written beside their place, synced and renamed, each with its hash; audio is synced before its
line is written. Whatever is damaged is found when work goes on, said in one line, and made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mousai.audio.growing import GrowingWav
from mousai.jobs.places import beside, write_json

SUFFIX = ".render"
STATES_KEPT = 2
Say = Callable[[str], None]


class Busy(Exception):
    """Another process works on the piece."""


class RenderState:
    """The folder of one piece; `say` is told, a line each, what is found damaged."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self.segments = 0  # finished, one after the other from the first

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder and holds its lock; Busy if another process does. The system gives it back whatever happens."""
        try:
            (self.folder / "latents").mkdir(parents=True, exist_ok=True)
            lock = open(self.folder / "lock", "w")
        except OSError as error:
            raise type(error)(f"cannot write to {self.folder}: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"{self.folder}: another process is at work on this piece") from None
            yield

    def begin(self, made_from: dict[str, Any], same: tuple[str, ...]) -> None:
        """Notes what is being made; ValueError if the folder was begun with another of what has to be the `same`."""
        path = self.folder / "begun.json"
        if path.exists():
            begun = read_json(path)
            if different := [line for name in same for line in differences(begun.get(name), made_from[name], name)]:
                raise ValueError(f"{self.folder} was begun with {'; '.join(different[:3])}; remove it to begin anew, or give the piece another name")
        for part in self.folder.rglob("*.tmp-*"):  # of a killed process
            part.unlink()
        write_json(path, made_from)

    # -- latents ---------------------------------------------------------------------------------------------------

    def add(self, frames: Tensor | None, state: dict[str, Tensor], done: int) -> None:
        """Keeps a finished segment `(d, l)`, if there is one, and what to go on from; `done` counts up with every call."""
        if frames is not None:
            save(self._segment(self.segments), {"latents": frames.cpu()})
            self.segments += 1
        save(self.folder / f"state-{done:07}.safetensors", state, segments=self.segments)
        for old in sorted(self.folder.glob("state-*.safetensors"))[:-STATES_KEPT]:
            old.unlink()

    def resume(self, needed: Callable[[int], bool]) -> dict[str, Tensor] | None:
        """The newest state before which every segment that is `needed`, by its number, is whole; None to begin anew."""
        whole: dict[int, bool] = {}
        for path in sorted(self.folder.glob("state-*.safetensors"), reverse=True):
            try:
                state, segments = load(path)
            except ValueError as error:
                self.say(f"{error}; going on from the state before it")
                path.unlink()
                continue
            if all(not needed(index) or whole.setdefault(index, self._whole(index)) for index in range(segments)):
                self.segments = segments
                return state
            path.unlink()
        self.segments = 0
        return None

    def _whole(self, index: int) -> bool:
        try:
            load(self._segment(index))
        except ValueError as error:
            self.say(f"{error}; generating it again")
            return False
        return True

    def latents(self, frame: int, stride: int) -> Iterator[Tensor]:
        """The finished latents `(d, any)` from a frame on."""
        for index in range(frame // stride, self.segments):
            yield load(self._segment(index))[0]["latents"][:, max(0, frame - index * stride) :]

    def _segment(self, index: int) -> Path:
        return self.folder / "latents" / f"{index:05}.safetensors"

    # -- audio -----------------------------------------------------------------------------------------------------

    @contextmanager
    def audio(self, sample_rate: int, channels: int) -> Iterator[Audio]:
        """The growing audio, cut to what is whole of it."""
        with GrowingWav(self.folder / "audio.wav", sample_rate, channels) as wav:
            yield Audio(wav, self.folder / "audio.sums", self.say)

    def note(self, progress: dict[str, Any]) -> None:
        """Writes down how far it is."""
        write_json(self.folder / "progress.json", progress)

    def remove(self) -> None:
        """Removes the folder; the lock goes last, with it."""
        shutil.rmtree(self.folder)


class Audio:
    """The growing audio and the hashes of its blocks; blocks that are not as they were written are cut off, with all after them."""

    def __init__(self, wav: GrowingWav, sums: Path, say: Say) -> None:
        self.wav, self.sums = wav, sums
        lines, good, kept = sums.read_text().splitlines() if sums.exists() else [], 0, []
        for line in lines:
            end, digest = int(line.split()[0]) if line.count(" ") == 1 else -1, line.split()[-1]
            if not good < end <= wav.num_samples or digest != self._digest(good, end):
                say(f"{wav.path} is damaged or cut after {good / wav.sample_rate:.1f} s; decoding from there on again")
                break
            good, kept = end, [*kept, line]
        wav.truncate(good)
        with beside(sums) as part:
            part.write_text("".join(f"{line}\n" for line in kept))

    @property
    def num_samples(self) -> int:
        return self.wav.num_samples

    def append(self, block: Tensor) -> None:
        """Adds a block `(c, s)`."""
        first = self.num_samples
        self.wav.append(block)
        with self.sums.open("a") as file:
            file.write(f"{self.num_samples} {self._digest(first, self.num_samples)}\n")
            file.flush()
            os.fsync(file.fileno())

    def _digest(self, first: int, stop: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for block in self.wav.blocks(first, stop):
            digest.update(block.numpy().tobytes())
        return digest.hexdigest()


def is_locked(folder: Path) -> bool:
    """Whether a process is at work on the piece of a state folder."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def save(path: Path, tensors: dict[str, Tensor], **numbers: int) -> None:
    """Writes tensors with their hash, and numbers, beside the place and renamed."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with beside(path) as part:
        try:
            save_file(tensors, part, {"hash": content_hash(tensors)} | {name: str(number) for name, number in numbers.items()})
        except SafetensorError as error:
            raise OSError(str(error)) from None


def load(path: Path) -> tuple[dict[str, Tensor], int]:
    """The tensors of a file of `save`, and its number `segments`, 0 without; ValueError if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            numbers = file.metadata() or {}
        tensors = load_file(path)
        if content_hash(tensors) != numbers.get("hash"):
            raise ValueError
        return tensors, int(numbers.get("segments", 0))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except (SafetensorError, OSError, ValueError):
        raise ValueError(f"{path} is damaged") from None


def content_hash(tensors: dict[str, Tensor]) -> str:
    """A hash of names, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else repr(tensor.item()).encode())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; ValueError in one line for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: expected a JSON object, it cannot be read ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object, came {type(data).__name__}")
    return data


def differences(before: Any, now: Any, name: str) -> list[str]:
    """What differs between two values of JSON, a phrase each: "seed 3, now 4"."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [line for key in sorted(before.keys() | now.keys()) for line in differences(before.get(key), now.get(key), key)]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [line for index, (a, b) in enumerate(zip(before, now), 1) for line in differences(a, b, f"{name} {index}")]
    if before == now:
        return []
    said = [str(value) if not isinstance(value, (list, dict)) else f"{len(value)} entries" for value in (before, now)]
    return [f"{name} {said[0]}, now {said[1]}"]
