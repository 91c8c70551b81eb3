"""One long piece from its first latent to its finished files, going on from whatever an earlier run left."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mousai.audio import io
from mousai.files import file_hash, read_json
from mousai.jobs.render.audio import Audio, Say
from mousai.jobs.render.finish import finish
from mousai.jobs.render.plan import Target
from mousai.jobs.render.state import RenderState, changes
from mousai.leftovers import sweep
from mousai.pipelines.cascade import Cascade
from mousai.pipelines.long_form import RECORDING_BLOCK, Lead, Rendering, lead_of
from mousai.pipelines.recording import heard_in_words
from mousai.pipelines.settled import settled_and_heard

SAVE_SECONDS = 5.0  # at least so often, while no segment is finished
NOTE_SECONDS = 2.0
SAME = ("asked", "fingerprint", "recording")  # what a piece that goes on must have been begun with
ALIKE = ("mousai", "torch", "device", "dtype", "machine")  # what its last bits may follow from

Tell = Callable[[float, str], None]  # (share of the piece that is done, what is being done)
T = TypeVar("T")


class Stopped(Exception):
    """A signal asked to stop; everything so far is saved."""


def make(target: Target, cascade: Cascade, say: Say, tell: Tell, stop: Callable[[], bool]) -> dict[str, Any]:
    """Renders a piece and returns what its job file says; the state folder is gone then.

    Busy if another process is at it, Stopped after saving when `stop()` says so; ValueError or OSError in one line.
    """
    state = RenderState(target.state, say)
    with state.locked():
        remove_parts(target)
        made_from, lead = begin(target, cascade, say)
        if (made := made_before(target, made_from)) is not None:
            state.remove()
            return made
        made_from["earlier"] = state.begin(made_from, SAME, ALIKE)
        work = Work(target, cascade, Rendering(cascade, target.piece, lead), state, tell, stop)
        work.recorded = (made_from["recording"] or {}).get("num_samples", 0)
        with state.audio(cascade.sample_rate, cascade.codec.channels) as audio:
            work.render(audio)
            made = finish(target, work.rendering, audio.wav, made_from, work.tell_or_stop)
        state.remove()
    return made


def begin(target: Target, cascade: Cascade, say: Say) -> tuple[dict[str, Any], Lead | None]:
    """What the piece is made from, and the end of the recording that it goes on from, if it does; says what is heard in that."""
    made_from: dict[str, Any] = {"asked": target.asked, **cascade.facts, "recording": None, "earlier": []}
    if target.piece.extend is None:
        return made_from, None
    recording = Path(target.piece.extend)
    lead, total, info = lead_of(cascade, target.piece)
    made_from["recording"] = {"file": recording.name, "hash": file_hash(recording), "num_samples": total, "subtype": info.subtype}
    if cascade.hears_music and target.piece.listen is not False:
        _, heard = settled_and_heard(cascade, target.piece)
        made_from["heard"] = heard.said()
        say(f"{recording.name} ends with {heard_in_words(heard)}")
    return made_from, lead


def remove_parts(target: Target) -> None:
    """Removes what a killed process left half-written beside the piece's files."""
    for file in (target.file, target.picture, target.job):
        sweep(file.parent, file.name, alone=True)


def made_before(target: Target, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """What the job file says, where an earlier run finished exactly this and was killed before its state was removed."""
    if not all(file.is_file() for file in (target.file, target.picture, target.job)):
        return None
    made = read_json(target.job, kind=dict)
    return None if changes(made, made_from, SAME) else made


class Work:
    """Latents and audio of one piece, each going on from what its folder holds."""

    def __init__(self, target: Target, cascade: Cascade, rendering: Rendering, state: RenderState, tell: Tell, stop: Callable[[], bool]) -> None:
        self.target, self.cascade, self.rendering, self.state, self.stop = target, cascade, rendering, state, stop
        self._tell, self.began, self.noted = tell, time.monotonic(), 0.0
        self.denoiser = rendering.denoiser()
        self.begun_with = 0.0  # share that was done when this run began
        self.share = 0.0
        self.recorded = 0  # samples of the recording that the piece goes on from
        self.failure: BaseException | None = None  # of generation, which may be a block ahead of who hears of it

    @property
    def took(self) -> float:
        """Seconds of this run."""
        return time.monotonic() - self.began

    def render(self, audio: Audio) -> None:
        """Fills the growing audio to its end."""
        piece, rendering = self.target.piece, self.rendering
        before = 0 if piece.extend is None else self._copy_recording(audio)
        done = audio.num_samples - before
        if done >= rendering.total:
            return
        self._resume(done)
        for block in rendering.audio(self._latents, done):
            audio.append(block)
            done += block.shape[-1]
            self.tell(0.5 * self.denoiser.done / self.denoiser.total + 0.5 * done / rendering.total, "rendering")
            if self.stop():
                raise Stopped

    def _copy_recording(self, audio: Audio) -> int:
        """Puts the recording that the piece goes on from into the audio, but for its faded end; how many samples that is."""
        rate, channels = self.cascade.sample_rate, self.cascade.codec.channels
        place, before = 0, self.recorded - self.rendering.join
        if audio.num_samples >= before:
            return before
        for block in io.blocks(self.target.piece.extend, rate, channels, RECORDING_BLOCK):
            audio.append(block[:, max(0, audio.num_samples - place) : max(0, before - place)])
            place += block.shape[-1]
            self.tell_or_stop(0.0, "copying the recording")
        return before

    def _resume(self, done: int) -> None:
        """Brings generation to where the folder's newest usable state was."""
        rendering, stride = self.rendering, self.rendering.grid.stride
        opening, frame = rendering.frames_read(done)

        def needed(index: int) -> bool:
            return (index + 1) * stride > frame or index * stride < opening

        state = self.state.resume(needed)
        if state is not None:
            self.denoiser.restore(state)
        self.begun_with = 0.5 * self.denoiser.done / self.denoiser.total + 0.5 * done / rendering.total
        if self.begun_with > 0:
            self.tell(self.begun_with, "going on")

    def _latents(self, frame: int) -> Iterator[Tensor]:
        """The stream's latents from a frame on: those that are there, then those to come, each kept before it is used."""
        stride = self.rendering.grid.stride
        if self.failure is not None:
            raise self.failure
        yield from self.state.latents(frame, stride)
        fresh = self.generated(frame, stride)
        yield from ahead(fresh, self.cascade.device) if self.cascade.device.type == "cuda" else fresh

    def generated(self, frame: int, stride: int) -> Iterator[Tensor]:
        """Latents that are generated now, from a frame on; a failure is kept for whoever reads them next."""
        try:
            yield from self._advance(frame, stride)
        except Exception as error:
            self.failure = error
            raise

    def _advance(self, frame: int, stride: int) -> Iterator[Tensor]:
        saved = time.monotonic()
        while self.denoiser.done < self.denoiser.total:
            frames = self.denoiser.advance()
            stop = self.stop()
            if frames is not None or stop or time.monotonic() - saved > SAVE_SECONDS:
                first = self.state.segments * stride
                self.state.add(frames, self.denoiser.state(), self.denoiser.done)
                saved = time.monotonic()
            if stop:
                raise Stopped
            if frames is not None and first + frames.shape[-1] > frame:
                yield frames[:, max(0, frame - first) :].cpu()
            elif frames is None:
                self.tell(max(self.share, 0.5 * self.denoiser.done / self.denoiser.total), "rendering")

    def tell_or_stop(self, share: float, doing: str) -> None:
        """As `tell`, where everything so far is saved at any moment; Stopped if a signal asked for it."""
        self.tell(share, doing)
        if self.stop():
            raise Stopped

    def tell(self, share: float, doing: str) -> None:
        """Passes on how far the piece is, and notes it in the folder now and then."""
        self.share = share
        self._tell(share, doing)
        now = time.monotonic()
        if now - self.noted < NOTE_SECONDS:
            return
        self.noted, seconds = now, self.rendering.piece.seconds
        speed = (share - self.begun_with) * seconds / max(self.took, 1e-9)
        left = (1 - share) * seconds / speed if speed > 0 else None
        self.state.note({
            "share": share, "doing": doing, "seconds": seconds, "times_real_time": speed, "left": left,
            "host": socket.gethostname(), "process": os.getpid(), "written": time.time(),
        })  # fmt: skip


def ahead(items: Iterator[T], device: torch.device) -> Iterator[T]:
    """`items`, each made, on a stream of its own where the device has such, while the one before is being used."""

    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))  # for the texts and the recording, read there

    def make_next() -> T | None:
        with torch.cuda.stream(stream):  # None is no stream, and does nothing
            item = next(items, None)
        if stream is not None:
            stream.synchronize()
        return item

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make_next)
        while (item := coming.result()) is not None:
            coming = pool.submit(make_next)
            yield item
