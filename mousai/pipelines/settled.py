"""What a long piece leaves open, settled on a system: its music, drawn or heard in the recording that it goes on from, and a loop's window."""

from __future__ import annotations

from dataclasses import replace

from mousai.audio import io
from mousai.pipelines.recording import HEARD_SECONDS, music_in, with_heard
from mousai.pipelines.system import System
from mousai.pipelines.tempo import is_whole_bars
from mousai.request.checks import MIN_WINDOW_SECONDS
from mousai.request.music import Music
from mousai.request.piece import LOOP_SHARE, SHORT_LOOP_SECONDS, Piece

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
