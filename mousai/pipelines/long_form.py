"""A piece longer than a model was trained on: windows of latents along its sections, decoded as they come.

`Rendering` is one piece on one system. Its latents come from `diffusion/windows.py`, in either of the two ways there;
within a transition what the sections on both sides predict is interpolated frame by frame, in every step.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from mousai.audio import io
from mousai.audio.level import rms_of_blocks
from mousai.audio.splice import FADE_SECONDS, crossfade
from mousai.device import windows_at_once
from mousai.diffusion.ring import Ring
from mousai.diffusion.sampling import PLAIN
from mousai.diffusion.schedules import schedule
from mousai.diffusion.windows import Continuation, JointDenoiser, WindowPredict
from mousai.pipelines.joining import FAR_SECONDS, Lead, gain_from, gains_after
from mousai.pipelines.settled import goes_round, grid_of, resolved
from mousai.pipelines.system import System
from mousai.pipelines.tempo import gliding_beats, music_of_sections
from mousai.request.piece import MIN_LEAD_SECONDS, Piece
from mousai.theory import METRES
from mousai.types import Condition

ROWS_AT_ONCE = {"cpu": 4, "cuda": 64}  # windows in one pass of the generator, twice as many rows with guidance
SECTIONS_AT_ONCE = 4  # whose keys and values are prepared together
EDGE_FRAMES = 2  # latents at the end of a recording that tell of the silence after it, and are made anew
RECORDING_BLOCK = 480_000  # samples
LEAD_SHARE = 0.5  # of the first window that a recording fills where a piece goes on from it


class Rendering:
    """One piece on a system: everything that its samples follow from, and the samples.

    `piece` is the piece with everything said that was left to the model. The latent stream has `grid.num_frames` frames;
    its first `lead` ones are what came before: the end of a recording, or of the loop itself.
    """

    def __init__(self, system: System, piece: Piece, lead: Lead | None = None) -> None:
        self.system, self.codec, self.device = system, system.codec, system.device
        self.piece, self.settings = resolved(system, piece)
        rate = system.sample_rate
        self.num_samples = max(1, round(piece.seconds * rate))
        self.gain, self.prefix, self.recording, self.lead = 1.0, None, None, None
        if lead is not None:
            self.gain, self.recording = lead.gain(system.rms), lead.audio
            latents = self.codec.encode(lead.audio[None].to(self.device) * self.gain)[0]
            self.lead, self.prefix = latents.shape[-1], latents[:, :-EDGE_FRAMES]
        self.grid, self.lead = grid_of(system, self.piece, self.lead)
        self._transitions = [begin for begin, _ in self.piece.transitions], [end for _, end in self.piece.transitions]
        self.conditions, self._negatives = self._read_texts()

    @staticmethod
    def lead_samples(system: System, piece: Piece, available: int) -> int:
        """How many of the last samples of a recording of `available` a piece that goes on from it needs; ValueError if there are too few."""
        if available < MIN_LEAD_SECONDS * system.sample_rate:
            lasts = f"{1000 * available // system.sample_rate / 1000:.3f} s"
            raise ValueError(f"extend: the recording lasts {lasts}, a piece goes on from {MIN_LEAD_SECONDS:g} s or more")
        hop, whole = system.codec.hop, resolved(system, piece)[0]
        frames = round(whole.window * system.sample_rate / hop * LEAD_SHARE)
        return min(frames, available // hop) * hop

    @property
    def downbeat(self) -> float:
        """Seconds of the piece at which a bar begins: 0 unless it says otherwise, or as the bars of a recording go on."""
        if self.piece.downbeat is None or self.piece.bpm is None:
            return 0.0
        if self.piece.extend is None:
            return self.piece.downbeat
        bar = 60 / self.piece.bpm * METRES[self.piece.metre or "4/4"]
        return (self.piece.downbeat - io.info(self.piece.extend).seconds) % bar

    @property
    def rows_at_once(self) -> int:
        """Windows in one pass of the generator."""
        return ROWS_AT_ONCE.get(self.device.type, 1) if self.piece.method == "joint" else 1

    # -- latents ---------------------------------------------------------------------------------------------------

    def denoiser(self) -> JointDenoiser | Continuation | Ring:
        """The stream of latents from its beginning."""
        settings = self.settings.over(PLAIN)
        process = self.system.generator.process
        times = schedule(settings.schedule, settings.steps, process=process)
        place = {"prefix": self.prefix, "loop": self.piece.loop, "device": self.device}
        arguments = (process, self.predictor(times), times, self.grid, self.codec.latent_channels, self.piece.seed)
        if self.piece.method == "continuation":
            return Continuation(*arguments, resamples=settings.resamples, **place)
        if goes_round(self.piece):
            return Ring(*arguments, eta=settings.eta, device=self.device)
        return JointDenoiser(*arguments, eta=settings.eta, batch=self.rows_at_once, **place)

    def predictor(self, times: Tensor) -> WindowPredict:
        """`predict(x, t, firsts)` for windows that begin at the stream's frames `firsts`."""
        generator, conditions, negatives = self.system.generator, self.conditions, self._negatives

        @lru_cache(maxsize=8)
        def rows(block: int):
            first = block * SECTIONS_AT_ONCE
            sections = range(first, min(first + SECTIONS_AT_ONCE, len(conditions)))
            return generator.predictor([conditions[i] for i in sections] + [negatives[i] for i in sections], self.settings, times)

        def predict(x: Tensor, t: Tensor, firsts: list[int]) -> Tensor:
            row, section, share = [], [], []
            for index, first in enumerate(firsts):
                for number, weight in self.weights(first, x.shape[-1]):
                    row, section, share = [*row, index], [*section, number], [*share, weight]
            row, section, share = torch.tensor(row), torch.tensor(section), torch.stack(share)[:, None].to(x)
            mixture = torch.zeros_like(x)
            for block in (section // SECTIONS_AT_ONCE).unique().tolist():
                count = min(SECTIONS_AT_ONCE, len(conditions) - block * SECTIONS_AT_ONCE)
                for some in (section // SECTIONS_AT_ONCE == block).nonzero()[:, 0].split(self.rows_at_once):
                    which, item = row[some], section[some] - block * SECTIONS_AT_ONCE
                    prediction = rows(block)(x[which.to(x.device)], t[which], item, item + count, [firsts[i] for i in which])
                    mixture.index_add_(0, which.to(x.device), prediction * share[some.to(x.device)])
            return mixture

        return torch.no_grad()(predict)

    def weights(self, first: int, count: int) -> list[tuple[int, Tensor]]:
        """The sections that have a say in the `count` frames from `first` of the stream on, each with its share `(count,)`."""
        seconds = (torch.arange(first, first + count, dtype=torch.float64) - self.lead + 0.5) * self.codec.hop / self.system.sample_rate
        begins, ends = self._transitions
        low, high = bisect_right(ends, float(seconds[0])), bisect_right(begins, float(seconds[-1]))
        come = [torch.ones_like(seconds)]  # how much of each section, or of what follows it, is there
        for begin, end in zip(begins[low:high], ends[low:high]):
            come.append(((seconds - begin) / (end - begin)).clamp(0, 1) if end > begin else (seconds >= begin).double())
        come.append(torch.zeros_like(seconds))
        return [(low + index, (before - after).float()) for index, (before, after) in enumerate(zip(come, come[1:]))]

    def _read_texts(self):
        """The conditions of every section's prompt and negative prompt, None for none; each different text is read once."""
        sections = self.piece.sections
        texts = list(dict.fromkeys([each.prompt for each in sections] + [each.negative for each in sections if each.negative]))
        read = self.system.encode_texts(texts)
        of = {text: read[index : index + 1] for index, text in enumerate(texts)} | {None: None, "": None}
        told = [of[each.prompt] for each in sections]
        told = [self._in_music(each, index) for index, each in enumerate(told)]
        negatives = [of[each.negative] for each in sections]
        return told, [other if each is None or other is None else self.system.against(other, each) for each, other in zip(told, negatives)]

    def _in_music(self, condition: Condition | None, index: int) -> Condition | None:
        """A section's condition in the piece's music, or in its own, whose first bar then begins with it unless the tempo glides there.

        Without a prompt the music alone is told, or nothing where there is none.
        """
        musics, music = music_of_sections(self.piece), self.piece.music()
        own, frame_seconds = musics[index], self.codec.hop / self.system.sample_rate
        if not self.system.hears_music or (condition is None and not own.said()):
            return condition
        condition = Condition(numbers={"bpm": torch.full((1,), math.nan)}) if condition is None else condition
        changes = index > 0 and (own.bpm, own.metre) != (music.bpm, music.metre)
        start, beats = -self.lead * frame_seconds, None
        if self.piece.glide and own.bpm is not None:
            seconds = torch.arange(self.grid.num_frames + 1, dtype=torch.float64) * frame_seconds + start
            beats = gliding_beats(self.piece, musics, index, seconds, self.downbeat)
        own = replace(own, downbeat=self.piece.starts[index] if changes else self.downbeat)
        return self.system.in_music(condition, [own], self.grid.num_frames, start, beats)

    # -- audio -----------------------------------------------------------------------------------------------------

    @property
    def join(self) -> int:
        """Samples at the end of a recording within which it is faded into what goes on from it."""
        return 0 if self.recording is None else self._fade

    @property
    def tail(self) -> Tensor:
        """The recording's own last `join` samples `(c, s)`."""
        return torch.zeros(self.codec.channels, 0) if self.recording is None else self.recording[:, -self.join :]

    @property
    def _fade(self) -> int:
        return min(round(FADE_SECONDS * self.system.sample_rate), self.lead * self.codec.hop)

    @property
    def total(self) -> int:
        """Samples that `audio` gives: those of the piece, after the last `join` ones of a recording."""
        return self.num_samples + self.join

    def audio(self, latents: Callable[[int], Iterator[Tensor]], done: int = 0) -> Iterator[Tensor]:
        """The samples `(c, any)` from number `done` on, wherever that is; `latents(frame)` gives the stream's `(d, any)` from a frame on."""
        opening = self._opening(latents) if self.lead else None
        late, skip = self._late(done), self._skip
        blocks = self._decoded(latents, skip + done - late, skip + self.total)
        if self.recording is not None:
            return self._joined(blocks, opening, done)
        return self._closed(blocks, opening, late) if self.piece.loop else blocks

    def frames_read(self, done: int) -> tuple[int, int]:
        """Which of the stream's frames `audio` reads for the samples from number `done` on: none from the first number to the second."""
        ahead = (windows_at_once(self.device) + 1) * self.codec.stride_frames + 2 * self.codec.context_frames
        opening = self.lead + math.ceil(self._heard / self.codec.hop) + ahead if self.lead else 0
        return opening, self.codec.resume(self._skip + done - self._late(done))[1]

    @property
    def _skip(self) -> int:
        """The stream's samples before those of `audio`."""
        return self.lead * self.codec.hop - self.join

    @property
    def _heard(self) -> int:
        """How many samples of what goes on from a recording its level is found by."""
        return 0 if self.recording is None else min(self.num_samples, round(FAR_SECONDS * self.system.sample_rate))

    def _late(self, done: int) -> int:
        """How many samples before number `done` are made with it: a loop's last fade is made as a whole."""
        return max(0, done - (self.total - self._fade)) if self.piece.loop else 0

    def _decoded(self, latents: Callable[[int], Iterator[Tensor]], first: int, stop: int) -> Iterator[Tensor]:
        """The stream's samples first … stop - 1."""
        window, frame, position = self.codec.resume(first)
        pieces = (piece[None].to(self.device) for piece in self._on_and_on(latents, frame))
        settings = {"seeds": [self.piece.seed], "steps": self.piece.codec_steps, "batch": windows_at_once(self.device)}
        for block in self.codec.decode_stream(pieces, start=window, **settings):
            begin, end = max(0, first - position), min(block.shape[-1], stop - position)
            if begin < end:
                yield block[0, :, begin:end].float().cpu() / self.gain
            position += block.shape[-1]
            if position >= stop:
                return

    def _on_and_on(self, latents: Callable[[int], Iterator[Tensor]], frame: int) -> Iterator[Tensor]:
        """The stream from a frame on; behind a loop's last one comes its first again, for samples beyond whole frames."""
        yield from latents(frame)
        if self.piece.loop:
            yield next(latents(self.lead))[:, :1]

    def _opening(self, latents: Callable[[int], Iterator[Tensor]]) -> Tensor:
        """What came before the piece, as the codec gives it, and behind a recording the beginning of what goes on from it."""
        return torch.cat(list(self._decoded(latents, 0, self.lead * self.codec.hop + self._heard)), dim=-1)

    def _joined(self, blocks: Iterator[Tensor], opening: Tensor, done: int) -> Iterator[Tensor]:
        """The blocks at the loudness of the recording's end, faded in over it."""
        rate, end = self.system.sample_rate, self.lead * self.codec.hop
        decoded, new = opening[:, :end], opening[:, end:]
        gains = gains_after(self.recording, new, rate)
        faded = crossfade(self.tail, decoded[:, -self.join :] * gain_from(0, 1, gains, rate))
        for block in blocks:
            old = max(0, min(self.join - done, block.shape[-1]))
            factors = gain_from(done + old - self.join, block.shape[-1] - old, gains, rate)
            yield torch.cat([faded[:, done : done + old], block[:, old:] * factors], dim=-1)
            done += block.shape[-1]

    def _closed(self, blocks: Iterator[Tensor], opening: Tensor, late: int) -> Iterator[Tensor]:
        """The blocks, their end faded into what comes before their beginning; without the first `late` samples of the fade."""
        fade = self._fade
        held = torch.zeros(self.codec.channels, 0)
        for block in blocks:
            held = torch.cat([held, block], dim=-1)
            if held.shape[-1] > fade:
                yield held[:, :-fade]
            held = held[:, -fade:]
        yield crossfade(held, opening[:, -fade:])[:, late:]

    # -- what it follows from --------------------------------------------------------------------------------------

    def boundaries(self) -> dict[str, float | int]:
        """Where windows meet, in seconds of the piece: `first`, `every`, `count`, and the `overlap` whose middle they are."""
        shared = self.grid.overlap if self.piece.method == "joint" else 0
        begin, per_second = self.grid.overlap - shared // 2 - self.lead, self.system.sample_rate / self.codec.hop
        places = [begin + index * self.grid.stride for index in range(1, self.grid.count)]
        inside = [place for place in places if 0 < place < self.piece.seconds * per_second]
        return {"first": inside[0] / per_second if inside else 0.0, "every": self.grid.stride / per_second, "count": len(inside), "overlap": shared / per_second}


class Latents:
    """The latents of a rendering as `Rendering.audio` asks for them, made as they are needed: none are kept but the first ones.

    `latents(frame)` gives `(d, any)` from a frame on. What the audio's beginning and end are made of is kept, and only
    there can be begun again.
    """

    def __init__(self, rendering: Rendering) -> None:
        self.denoiser, self.wanted = rendering.denoiser(), rendering.frames_read(0)[0]
        self.kept: list[Tensor] = []
        self.frames = 0  # that have been made

    def __call__(self, frame: int) -> Iterator[Tensor]:
        position = 0
        for piece in self.kept:
            if position + piece.shape[-1] > frame:
                yield piece[:, max(0, frame - position) :]
            position += piece.shape[-1]
        assert position == self.frames, "the beginning of a piece was read further than its codec says that it reads ahead"
        while self.denoiser.done < self.denoiser.total:
            piece = self.denoiser.advance()
            if piece is None:
                continue
            piece = piece.cpu()
            first, self.frames = self.frames, self.frames + piece.shape[-1]
            if first < self.wanted:
                self.kept.append(piece)
            if self.frames > frame:
                yield piece[:, max(0, frame - first) :]


def lead_of(system: System, piece: Piece) -> tuple[Lead, int, io.AudioInfo]:
    """The end of the recording that a piece goes on from, the samples that the recording has at the system's rate, and what it is."""
    rate, channels = system.sample_rate, system.codec.channels
    info = io.info(piece.extend)
    total = io.resampled_length(info.num_samples, info.sample_rate, rate)
    wanted = Rendering.lead_samples(system, piece, total)
    audio = io.read(piece.extend, rate, channels, start_seconds=(total - wanted) / rate)[:, -wanted:]
    return Lead(audio, rms_of_blocks(io.blocks(piece.extend, rate, channels, RECORDING_BLOCK))), total, info
