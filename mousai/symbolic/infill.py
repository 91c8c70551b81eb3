"""Infilling: a region of a score made anew by the prior of the grid, to fit what stays.

A window of bars around the region is heard in the key that holds there; a region that is longer than half a window is filled from its beginning on, a half after
another, each of which hears what was filled before. What always holds is held while notes are drawn, as in composer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from mousai.symbolic.excerpt import Region, excerpt, put_in, without
from mousai.symbolic.grid import GridPrior
from mousai.symbolic.grid_data import places, told_cells
from mousai.symbolic.harmony import NO_CHORD, chord_class, chord_moved, chord_symbol, chords_of, key_of_score, moved
from mousai.symbolic.limits import allowing, pitches
from mousai.symbolic.material import DENSITIES, MOST_TRACKS, Track, halves, metre_class, tempo_class, tracks_of
from mousai.symbolic.phrase_data import Phrase, padded
from mousai.symbolic.phrase_vae import PhraseVAE
from mousai.symbolic.phrases import GRID, LONGEST_BAR, Bar, gridded, notes_in, on_grid
from mousai.symbolic.plan import Wishes
from mousai.symbolic.players import Player, player_going_on
from mousai.symbolic.prior_data import NEAR_END
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score
from mousai.theory import chord_tones
from mousai.types import SamplingSettings


@dataclass(frozen=True)
class Heard:
    """A window of a score in the home key: bars, who plays, and what stays in each cell."""

    bars: tuple[Bar, ...]
    chords: np.ndarray  # (bars, 2) classes
    given: tuple[tuple[int, ...], ...]  # of each bar the pitch classes of the chord that is asked for
    phrases: tuple[tuple[np.ndarray, ...], ...]  # [bar][track]
    parts: tuple[int, ...]  # which of the score's each track is
    players: tuple[Player, ...]
    open: np.ndarray  # (bars, tracks): what is to be made
    mode: str
    up: int  # semitones that it was moved into the home key
    quarters: float  # a minute


def infilled(vae: PhraseVAE, prior: GridPrior, score: Score, region: Region, wishes: Wishes, progress: Callable[[int, int], None] | None = None) -> Score:
    """A score with a region made anew; every note outside of it stays, and nothing new sounds on beyond it. ValueError for too many tracks at once."""
    if len(region.parts) > MOST_TRACKS:
        raise ValueError(f"tracks: at most {MOST_TRACKS} are made at once, came {len(region.parts)}; name some of them")
    bars, width = bars_heard(score), max(2, prior.config.cells // min(len(score.parts), MOST_TRACKS))
    done, whole = without(score, region), whole_parts(score)
    open_bars = [number for number, (start, _, _) in enumerate(bars) if region.start <= start < region.end]
    all_first, all_last = open_bars[0], open_bars[-1] + 1
    for first in range(all_first, all_last, width // 2):
        last = min(first + width // 2, all_last)
        begin = max(0, min(first - (width - (last - first)) // 2, len(bars) - width))
        end = min(begin + width, len(bars))
        left = replace(region, start=bars[first][0])
        chords = tuple(wishes.chords[(of - region.first) % len(wishes.chords)] for _, _, of in bars[first : min(end, all_last)]) if wishes.chords else ()
        heard = hear(done, score, left, (bars[begin][0], sum(bars[end - 1][:2])), replace(wishes, chords=chords), whole)
        made = fill(vae, prior, heard, wishes, (begin, len(bars)), wishes.seed + first - all_first)
        done = put_back(done, heard, made, bars[begin][0], (bars[first][0], sum(bars[last - 1][:2])))
        if progress:
            progress(last - all_first, all_last - all_first)
    return replace(done, chords=with_chords(score, region, wishes.chords)) if wishes.chords else done


def bars_heard(score: Score) -> list[tuple[int, int, int]]:
    """(start, length, number of the score's bar) of each bar as the prior hears it: a longer one than the grid's is several."""
    longest = LONGEST_BAR * score.ticks // GRID
    return [(tick, min(longest, start + length - tick), number) for number, (start, length) in enumerate(score.bars()) for tick in range(start, start + length, longest)]


def whole_parts(score: Score) -> Callable[[int], Sequence[tuple[Track, Part]]]:
    """What each part of a score plays in all of it, moved by so many semitones; found once for each key."""
    there = on_grid(score)

    @cache
    def parts(up: int) -> Sequence[tuple[Track, Part]]:
        grid = gridded(moved(there, up))
        return tuple(zip(tracks_of(grid, range(len(grid.parts))), grid.parts, strict=True))

    return parts


def hear(done: Score, old: Score, region: Region, window: tuple[int, int], wishes: Wishes, whole: Callable[[int], Sequence[tuple[Track, Part]]]) -> Heard:
    """A window of ticks of a score of which a region is open; what was in it says the key, and the chords where nothing else sounds. Chords are one a bar of the window that is open."""
    before = excerpt(old, *window, range(len(old.parts)))
    root, mode = key_of_score(before)
    up = ((9 if mode == "minor" else 0) - root + 6) % 12 - 6
    there, were = (moved(on_grid(excerpt(score, *window, range(len(score.parts)))), up) for score in (done, old))
    first, last, end = (round((tick - window[0]) * GRID / done.ticks) for tick in (region.start, region.end, window[1]))
    bars = gridded(there, end).bars
    inside = np.array([first <= bar.start < last for bar in bars])
    chords, instead = (chords_of(score, halves(bars)).reshape(-1, 2) for score in (there, were))
    chords, given = np.where(chords == NO_CHORD, instead, chords), [()] * len(bars)
    for number, row in enumerate(np.flatnonzero(inside).tolist() if wishes.chords else ()):
        symbol = chord_moved(wishes.chords[number % len(wishes.chords)], up)
        chords[row], given[row] = chord_class(symbol), tuple(chord_tones(symbol))
    others = sorted((i for i, part in enumerate(old.parts) if i not in region.parts and len(part.notes)), key=lambda i: -len(there.parts[i].notes))
    parts, always = sorted((*region.parts, *others[: MOST_TRACKS - len(region.parts)])), whole(up)
    grids = [gridded(replace(score, parts=tuple(score.parts[i] for i in parts)), end) for score in (there, were)]
    ways = (*(zip(tracks_of(grid, range(len(parts))), grid.parts, strict=True) for grid in grids), [always[i] for i in parts])
    tracks = [next(found for found, part in each if len(part.notes)) for each in zip(*ways, strict=True)]
    order = sorted(range(len(parts)), key=lambda i: (not there.parts[parts[i]].drums, tracks[i].register, i))  # as the prior has learned it
    players = []
    for i in order:
        denser = wishes.denser if parts[i] in region.parts else 0
        track = replace(tracks[i], density=min(max(tracks[i].density + denser, 0), DENSITIES - 1))
        players.append(player_going_on(always[parts[i]][1], up, track))
    mine = np.array([parts[i] in region.parts for i in order])
    phrases = tuple(tuple(row[i] for i in order) for row in grids[0].phrases)
    quarters = before.tempos[0][1] if before.tempos else 120.0
    return Heard(bars, chords, tuple(given), phrases, tuple(parts[i] for i in order), tuple(players), inside[:, None] & mine, mode, up, quarters)


def fill(vae: PhraseVAE, prior: GridPrior, heard: Heard, wishes: Wishes, place: tuple[int, int], seed: int) -> dict[tuple[int, int], np.ndarray]:
    """The phrases of the open cells (bar, track) of a window; `place` is the number of its first bar, and how many there are in all."""
    count, width, styles = len(heard.bars), len(heard.players), prior.config.styles
    lengths = torch.tensor([bar.length for bar in heard.bars])
    stays = [(phrase, player.drums, bar.length) for bar, row in zip(heard.bars, heard.phrases, strict=True) for phrase, player in zip(row, heard.players, strict=True)]
    keep = torch.from_numpy(~heard.open).flatten()
    cells = prior.cells(known_latents(vae, stays)[None])
    bars = torch.stack([torch.tensor([metre_class(bar.metre) for bar in heard.bars]), lengths, *torch.from_numpy(heard.chords).T], dim=1)
    tracks = torch.tensor([(player.track.family, player.track.register, player.track.density) for player in heard.players])
    near = (place[1] - 1 - torch.arange(place[0], place[0] + count)).clamp(0, NEAR_END)
    style = styles.index(wishes.style) if wishes.style in styles else prior.unsaid["style"]
    told = told_cells(bars, tracks, near, place[0], style, int(heard.mode == "minor"), tempo_class(heard.quarters))
    told = {name: value[None] for name, value in {**told, **places(count, width), "real": torch.ones_like(keep), "keep": keep}.items()}
    settings = SamplingSettings(guidance=wishes.guidance)
    drawn = prior.sample(prior.condition(told, cells), count * width, seeds=[seed], settings=settings, init=cells, keep=keep[None, None])
    latents, sure = (each[0] for each in prior.latents(drawn))
    plays = somebody(heard, sure.view(count, width))
    rows = torch.nonzero(plays)
    if not len(rows):
        return {}
    masks = torch.stack([pitches(heard.players[track], heard.chords[bar].tolist(), heard.given[bar], heard.mode, -heard.up) for bar, track in rows.tolist()])
    middles = torch.tensor([end - start for start, end in halves(heard.bars)[::2]])
    drums = torch.tensor([int(player.drums) for player in heard.players])
    decoded = vae.decode(latents.view(count, width, -1)[plays], drums[rows[:, 1]], lengths[rows[:, 0]], allowed=allowing(masks, middles[rows[:, 0]]))
    return {(bar, track): phrase.numpy() for (bar, track), phrase in zip(rows.tolist(), decoded, strict=True)}


def known_latents(vae: PhraseVAE, phrases: list[Phrase]) -> Tensor:
    """The latents `(cells, latent)` of phrases, 0 of rests."""
    played = torch.tensor([len(phrase) > 0 for phrase, _, _ in phrases])
    return vae.encode(padded(phrases)) * played[:, None]


def somebody(heard: Heard, sure: Tensor) -> Tensor:
    """Which open cells play `(bars, tracks)`: those that are sure to, and in a bar without any other the surest."""
    opened = torch.from_numpy(heard.open)
    plays = (sure > 0) & opened
    for bar, row in enumerate(heard.phrases):
        if opened[bar].any() and not plays[bar].any() and not any(len(phrase) for phrase in row):
            plays[bar, sure[bar].masked_fill(~opened[bar], -torch.inf).argmax()] = True
    return plays


def put_back(done: Score, heard: Heard, made: dict[tuple[int, int], np.ndarray], start: int, span: tuple[int, int]) -> Score:
    """A score with the phrases of a window that begins at a tick, as far as they begin within a span of ticks; they end there."""
    parts = list(done.parts)
    for track, (number, player) in enumerate(zip(heard.parts, heard.players, strict=True)):
        rows = [notes_in(phrase, heard.bars[bar].start) for (bar, of), phrase in sorted(made.items(), key=lambda each: each[0]) if of == track]
        if not rows:
            continue
        notes = np.concatenate(rows)
        ends = start + (2 * (notes[:, START] + notes[:, LENGTH]) * done.ticks + GRID) // (2 * GRID)
        notes[:, START] = start + (2 * notes[:, START] * done.ticks + GRID) // (2 * GRID)
        notes[:, LENGTH] = np.maximum(ends - notes[:, START], 1)
        notes[:, PITCH] -= 0 if player.drums else heard.up
        inside = (notes[:, START] >= span[0]) & (notes[:, START] < span[1])
        parts[number] = put_in(parts[number], notes[inside], span[1])
    return replace(done, parts=tuple(parts))


def with_chords(score: Score, region: Region, symbols: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """A score's chord track with these chords, one a bar, in a region; where it has none, with what is heard in each bar outside of it."""
    bars = score.bars()
    new = tuple((start, symbols[number % len(symbols)]) for number, (start, _) in enumerate(bars[region.first : region.last]))
    heard = chords_of(score, [(start, start + length) for start, length in bars])
    there = score.chords or tuple((start, chord_symbol(int(chord))) for (start, _), chord in zip(bars, heard, strict=True))
    there = ((0, there[0][1]), *there) if there[0][0] > 0 else there  # as the first of a track holds from the beginning on
    holding = [symbol for tick, symbol in there if tick <= region.end][-1:]
    outside = [each for each in there if not region.start <= each[0] <= region.end]
    return tuple(sorted((*outside, *new, *((region.end, symbol) for symbol in holding if region.end < score.end))))
