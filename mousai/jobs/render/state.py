"""What is kept of a long piece while it is made, so that nothing is lost: a folder beside its file.

    NAME.render/
      begun.json                 what is being made, and with what
      latents/00012.safetensors  a finished segment of latents each
      state-0000000123.safetensors  what generation goes on from, the last two of them
      audio.wav                  what is decoded so far, playable at any moment
      audio.sums                 a line for each block of it: samples so far, hash of the block
      progress.json              for whoever asks how far it is
      lock                       held by the process that works on it

Segments and states are written beside their place, synced and renamed, each with its hash; audio is synced before its
line is written. Whatever is damaged is found when work goes on, said in one line, and made again; only without
`begun.json` nobody can tell what the rest belongs to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from mousai import locks
from mousai.files import read_json, sync, write_json, writing
from mousai.jobs.render.audio import Audio, Say, opened
from mousai.leftovers import sweep

SUFFIX = ".render"
AUDIO = "audio.wav"
LOCK = "lock"
STATES_KEPT = 2


class Busy(Exception):
    """Another process works on the piece."""


class RenderState:
    """The folder of one piece; `say` is told, a line each, what is found damaged."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self.segments = 0  # finished, one after the other from the first
        self.removed = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder and holds its lock; Busy if another process does. The system gives it back whatever happens."""
        with ExitStack() as stack:
            try:
                stack.enter_context(locks.locked(self.folder / LOCK))
                (self.folder / "latents").mkdir(exist_ok=True)
                sync(self.folder.parent)
            except locks.Locked as error:
                raise Busy(f"{self.folder}: {error.holder} is at work on this piece") from None
            except OSError as error:
                raise type(error)(f"cannot write to {self.folder}: {error.strerror}") from None
            yield
        with suppress(OSError):  # of a finished piece; what is open elsewhere, as on NFS or Windows, goes once the lock is closed
            if self.removed and os.name == "nt":
                (self.folder / LOCK).unlink()
            self.folder.rmdir()

    def begin(self, made_from: dict[str, Any], same: tuple[str, ...], alike: tuple[str, ...]) -> list[str]:
        """Notes what is being made. ValueError if the folder was begun with another of what has to be the `same`, or if
        nothing tells with what; where earlier runs had another of `alike`, `say` is told and it is returned, a phrase each.
        """
        path, earlier = self.folder / "begun.json", []
        if path.exists():
            try:
                begun = read_json(path, kind=dict)
            except ValueError:
                raise ValueError(f"{path} is damaged, nobody can tell what the rest belongs to; remove {self.folder} to begin anew") from None
            if different := changes(begun, made_from, same):
                raise ValueError(f"{self.folder} was begun with {'; '.join(different[:3])}; remove it to begin anew, or give the piece another name")
            earlier = begun.get("earlier", []) + [phrase for name in alike if (phrase := f"{name} {begun.get(name)}") != f"{name} {made_from[name]}"]
            if different := changes(begun, made_from, alike):
                self.say(f"{self.folder} was begun with {'; '.join(different)}; the last bits of what follows may differ")
        elif any(next(self.folder.glob(pattern), None) for pattern in ("state-*", "latents/*", AUDIO)):
            raise ValueError(f"{path} is missing, nobody can tell what the rest belongs to; remove {self.folder} to begin anew")
        for folder in (self.folder, self.folder / "latents"):
            sweep(folder, alone=True)
        write_json(path, made_from | {"earlier": list(dict.fromkeys(earlier))})
        return list(dict.fromkeys(earlier))

    # -- latents ---------------------------------------------------------------------------------------------------

    def add(self, frames: Tensor | None, state: dict[str, Tensor], done: int) -> None:
        """Keeps a finished segment `(d, l)`, if there is one, and what to go on from; `done` counts up with every call.

        ValueError, with everything as before, for latents that are no numbers: kept, they would spoil every later run.
        """
        if not all(bool(tensor.isfinite().all()) for tensor in (*state.values(), *(() if frames is None else (frames,)))):
            raise ValueError(f"{self.folder}: the model gave NaN or infinite latents; the same command goes on from before them")
        if frames is not None:
            save(self._segment(self.segments), {"latents": frames.cpu()})
            self.segments += 1
        save(self.folder / f"state-{done:010}.safetensors", state, segments=self.segments)
        for old in sorted(self.folder.glob("state-*.safetensors"))[:-STATES_KEPT]:
            old.unlink()

    def resume(self, needed: Callable[[int], bool]) -> dict[str, Tensor] | None:
        """The newest state before which every segment that is `needed`, by its number, is whole; None to begin anew."""
        whole = cache(self._whole)  # each is looked at, and said to be damaged, once
        for path in sorted(self.folder.glob("state-*.safetensors"), reverse=True):
            try:
                state, segments = load(path)
            except ValueError as error:
                self.say(f"{error}; going on from an earlier one")
                path.unlink()
                continue
            if all(whole(index) for index in range(segments) if needed(index)):
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
        with opened(self.folder / AUDIO, sample_rate, channels, self.say) as wav:
            yield Audio(wav, self.folder / "audio.sums", self.say)

    def note(self, progress: dict[str, Any]) -> None:
        """Writes down how far it is."""
        write_json(self.folder / "progress.json", progress)

    def remove(self) -> None:
        """Removes the folder; the lock goes last."""
        for part in self.folder.iterdir():
            if part.is_dir():
                shutil.rmtree(part)
            elif part.name != LOCK:
                part.unlink()
        self.removed = True
        with suppress(PermissionError):  # Windows keeps what is open
            (self.folder / LOCK).unlink()
        with suppress(OSError):  # another process may have come for the piece; it finds it finished
            self.folder.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether a process is at work on the piece of a state folder."""
    return locks.is_locked(folder / LOCK)


def save(path: Path, tensors: dict[str, Tensor], **numbers: int) -> None:
    """Writes tensors and numbers with their hash, beside the place and renamed."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    said = {name: str(number) for name, number in numbers.items()}
    with writing(path) as part:
        part.write_bytes(serialized(tensors, said | {"hash": content_hash(tensors, said)}))


def load(path: Path) -> tuple[dict[str, Tensor], int]:
    """The tensors of a file of `save`, and its number `segments`, 0 without.

    ValueError if it is missing or damaged, OSError if it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except SafetensorError:
        raise ValueError(f"{path} is damaged") from None
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error}") from None
    if said.pop("hash", None) != content_hash(tensors, said):
        raise ValueError(f"{path} is damaged")
    return tensors, int(said.get("segments", 0))


def content_hash(tensors: dict[str, Tensor], said: dict[str, str]) -> str:
    """A hash of the names, shapes and values of tensors, and of what is said beside them."""
    digest = hashlib.blake2b(repr(sorted(said.items())).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else repr(tensor.item()).encode())
    return digest.hexdigest()


def changes(before: dict[str, Any], now: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """What of `names` differs between two notes of what is made, a phrase each."""
    words = {"asked": "", "fingerprint": "model"}
    return [line for name in names for line in differences(before.get(name), now[name], words.get(name, name))]


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two values of JSON, a phrase each: "seed 3, now 4"."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [line for key in keys for line in differences(before.get(key), now.get(key), f"{name} {key}".strip())]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [line for index, (a, b) in enumerate(zip(before, now), 1) for line in differences(a, b, f"{name.removesuffix('s')} {index}")]
    if before == now:
        return []
    words = {None: "unsaid", "": "empty"}
    said = [f"{len(value)} entries" if isinstance(value, (list, dict)) else words.get(value, str(value)) for value in (before, now)]
    return [f"{name or 'something else'} {said[0]}, now {said[1]}"]
