"""A piece in sections: a plan for each, which keeps what it does not say, and their scores as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mousai.request.music import Music, in_words, mode_named, mode_words, settled
from mousai.request.score import ScoreRequest
from mousai.request.score_piece import ScorePiece
from mousai.symbolic.plan import Plan, bars_for, check_metre, plan_of, quarters_of
from mousai.symbolic.players import denser, usual_players
from mousai.symbolic.score import START, Part, Score, notes_of
from mousai.theory import MODES, METRES as BEATS, key_name, key_of, key_of_chords


def plans_of(piece: ScorePiece) -> list[Plan]:
    """The plan of each section, whose `bars` are those to its end; ValueError for what cannot be played."""
    first = piece.sections[0]
    plans = [plan_of(first)]
    players = usual_players(first, plans[0].style or "piano")
    for request in piece.sections[1:]:
        plans.append(plan_after(plans[-1], request, plans[-1].bars))
    return [replace(plan, players=denser(players, request.times, request.candidates > 1)) for plan, request in zip(plans, piece.sections, strict=True)]


def plan_after(before: Plan, request: ScoreRequest, begun: int) -> Plan:
    """The plan of a section that comes after another, when `begun` bars are over."""
    check_metre(request)
    said, prompt = request.music().over(in_words(request.known_words)), request.known_words
    name = said.metre or next(name for name in BEATS if tuple(map(int, name.split("/"))) == before.metre)
    metre = tuple(map(int, name.split("/")))
    bpm = said.bpm or (settled(Music(metre=name), prompt, request.seed).bpm if request.says_pace else None)
    quarters = quarters_of(bpm, metre) if bpm else before.quarters
    modes = [mode for mode in MODES if mode_named(prompt, mode)] or [mode for mode in MODES if mode_words(prompt, mode)]
    mode = modes[0] if len(modes) == 1 else before.mode
    root, mode = key_of(said.key or (key_of_chords(said.chords.split()) if said.chords else key_name(before.root, mode)))
    bars = begun + bars_for(request, metre, quarters)
    chords = tuple((said.chords or "").split())
    return replace(before, style=request.style or before.style, root=root, mode=mode, metre=metre, quarters=quarters, bars=bars, chords=chords)


def goes_on(before: Plan, after: Plan) -> bool:
    """Whether bars of one section may come again in the next: both are in one key and metre, over no chords of their own."""
    return (before.up, before.mode, before.metre, before.chords) == (after.up, after.mode, after.metre, after.chords)


def joined(scores: Sequence[Score], lengths: Sequence[int], names: Sequence[str]) -> Score:
    """Scores of the same players one after another, each so many ticks long, with a marker at each; what stays as it was is said once."""
    notes: list[list[np.ndarray]] = [[] for _ in scores[0].parts]
    events: dict[str, list[tuple]] = {name: [] for name in ("tempos", "metres", "keys", "chords")}
    markers, start = [], 0
    for score, length, name in zip(scores, lengths, names, strict=True):
        for rows, part in zip(notes, score.parts, strict=True):
            later = part.notes.copy()
            later[:, START] += start
            rows.append(later)
        for kind, found in events.items():
            for event in getattr(score, kind):
                if not found or found[-1][1:] != event[1:]:
                    found.append((start + event[0], *event[1:]))
        markers.append((start, name))
        start += length
    parts = tuple(Part(part.name, part.program, part.drums, notes_of(np.concatenate(rows))) for part, rows in zip(scores[0].parts, notes, strict=True))
    return Score(scores[0].ticks, parts, *(tuple(events[kind]) for kind in ("tempos", "metres", "keys")), tuple(markers), tuple(events["chords"]))
