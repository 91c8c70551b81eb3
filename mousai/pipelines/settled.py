"""What a long piece leaves open, settled on a system: its sampling, its windows, and its music, drawn or heard in a recording that it goes on from."""

from __future__ import annotations

import math
from dataclasses import replace

from mousai.audio import io
from mousai.diffusion.sampling import PLAIN
from mousai.diffusion.windows import WindowGrid
from mousai.pipelines.recording import HEARD_SECONDS, music_in, with_heard
from mousai.pipelines.system import System
from mousai.pipelines.tempo import is_whole_bars
from mousai.request.checks import MIN_WINDOW_SECONDS
from mousai.request.music import Music
from mousai.request.piece import LOOP_SHARE, SHORT_LOOP_SECONDS, Piece
from mousai.types import SamplingSettings

DEFAULT_METHOD, METHOD_AFTER_RECORDING = "joint", "continuation"  # why: docs/evaluation.md, seams of rendered pieces
DEFAULT_WINDOW = 512  # latent frames, of a model that does not say what it was trained on
OVERLAP_SHARE = 0.25  # of a window


def settled_music(system: System, piece: Piece) -> Music:
    """The music of a piece: what it says, or its first section, its words, and what is drawn, or heard in the recording that it goes on from."""
    return settled_and_heard(system, piece)[0]


def settled_and_heard(system: System, piece: Piece) -> tuple[Music, Music]:
    """The music of a piece, and what of it was heard in the recording that it goes on from; nothing without one."""
    for section in piece.sections:
        system.check_music(Music(bpm=section.bpm))
    said, first = piece.music(), piece.sections[0]
    if said.bpm is None and first.bpm is not None:
        said = replace(said, bpm=first.bpm)
    music = system.settled(said, first.prompt, piece.seed, drawn=piece.extend is None, loop_seconds=piece.seconds if piece.loop else None)
    if piece.extend is None:
        return music, Music()
    heard = _heard_before(system, piece, music)
    return with_heard(music, heard), heard


def _heard_before(system: System, piece: Piece, said: Music) -> Music:
    """What the recording that a piece goes on from is in at its end, see `recording.music_in`; nothing for a model that does not hear it."""
    if not system.hears_music:
        return Music()
    begin = max(0.0, io.info(piece.extend).seconds - HEARD_SECONDS)
    return music_in(piece.extend, said, system.sample_rate, begin, listen=piece.listen is not False)


def goes_round(piece: Piece) -> bool:
    """Whether a resolved piece is a loop in one window that is longer than it."""
    return piece.loop and piece.method == "joint" and piece.window > piece.seconds


def loop_window(piece: Piece, music: Music, method: str, window: float) -> tuple[float, float]:
    """Window and overlap of a loop, in seconds, where so long a `window` could be.

    A short one is made in one window, which it fills as often as there is room and then goes round in whole bars; otherwise
    the windows are those that leave the end another one than the beginning.
    """
    overlap = min(piece.overlap or window * OVERLAP_SHARE, piece.seconds)
    fits, least = window - overlap >= piece.seconds, MIN_WINDOW_SECONDS / LOOP_SHARE
    if piece.seconds < least and method == "continuation":
        raise ValueError(f"loop: by continuation a loop lasts at least {least:g} s, this one {piece.seconds:g} s; leave the method away")
    if method == "joint" and (piece.seconds < least or piece.seconds < SHORT_LOOP_SECONDS and fits):
        passes = max(1, int((window - overlap) / piece.seconds + 1e-6)) if is_whole_bars(music, piece.seconds) else 1
        return passes * piece.seconds + overlap, overlap
    window = min(window, piece.seconds * LOOP_SHARE)
    return window, piece.overlap or window * OVERLAP_SHARE


def grid_of(system: System, piece: Piece, lead: int | None = None) -> tuple[WindowGrid, int]:
    """The windows of a resolved piece, and how many frames of the stream come before it: `lead`, or a loop's overlap, or none."""
    rate, hop, multiple = system.sample_rate, system.codec.hop, system.generator.frame_multiple
    window, overlap = (round(seconds * rate / hop / multiple) * multiple for seconds in (piece.window, piece.overlap))
    window = max(window, 2 * multiple)
    overlap = min(max(overlap, multiple), window // 2 // multiple * multiple)
    lead = (overlap if piece.loop else 0) if lead is None else lead
    length = max(1, round(piece.seconds * rate)) / hop
    frames = round(length) if piece.loop else math.ceil(length)  # a loop repeats whole frames: half a frame off, at most
    if goes_round(piece):
        passes = max(1, int((piece.window - piece.overlap) / piece.seconds + 1e-6))
        window = max(2 * overlap, math.ceil((passes * frames + overlap) / multiple) * multiple)
    return WindowGrid(frames + lead, window, overlap, multiple), lead


def resolved(system: System, piece: Piece) -> tuple[Piece, SamplingSettings]:
    """The piece with everything said that it leaves to the model, and the generator's sampling settings for it."""
    own = system.own_settings
    method = piece.method or (DEFAULT_METHOD if piece.extend is None else METHOD_AFTER_RECORDING)
    if method == "continuation":  # each step is done several times over
        plain = own.over(PLAIN)
        own = replace(own, steps=math.ceil(plain.steps / (piece.resamples or plain.resamples)), resamples=plain.resamples)
    ignored = ("eta", "fresh noise in each step is its own") if method == "continuation" else ("resamples", "its steps are done once")
    if getattr(piece, ignored[0]) is not None:
        raise ValueError(f"{ignored[0]}: has no effect where the method is {method}, {ignored[1]}; leave it away")
    own = replace(own, sampler="ddim")
    negative = next((section.negative for section in piece.sections if section.negative), None)
    settings = system.resolved(replace(piece.settings(), negative=negative), own)
    seconds = system.codec.hop / system.sample_rate
    window = piece.window or max(MIN_WINDOW_SECONDS, (system.crop_frames or DEFAULT_WINDOW) * seconds)
    music = settled_music(system, piece)
    overlap = piece.overlap or window * OVERLAP_SHARE
    if piece.loop:
        window, overlap = loop_window(piece, music, method, window)
    said = {name: value for name, value in settings.said().items() if name not in ("negative", "sampler", "eta", "resamples")}
    if len(piece.sections) > 1 and piece.level_sections is None:
        said["level_sections"] = piece.loudness is not None and piece.extend is None
    if own.negative and settings.guidance not in (None, 1.0):
        said["sections"] = tuple(replace(section, negative=section.negative or own.negative) for section in piece.sections)
    said |= {"method": method, "window": window, "overlap": overlap}
    return replace(piece, **said, **music.said()), settings
