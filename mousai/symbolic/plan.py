"""From what is asked to what a composer needs: who plays, in which key, metre and tempo, how long, over which chords."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from mousai.randomness import seed_of
from mousai.request.music import in_words, settled
from mousai.request.score import DEFAULT_BARS, ScoreRequest
from mousai.symbolic.harmony import chord_moved
from mousai.symbolic.material import Material, halves, material_of
from mousai.symbolic.phrases import GRID, Bar
from mousai.symbolic.players import Player, denser, player_going_on, usual_players
from mousai.symbolic.score import Score
from mousai.theory import key_of

METRES = {"4/4": (4, 4), "3/4": (3, 4), "2/4": (2, 4), "6/8": (6, 8), "12/8": (12, 8)}
METRE_WORD = re.compile(r"(?<![\d/])(?:[1-9]|1\d)/(?:2|4|8|16)(?![\d/])")


@dataclass(frozen=True)
class Plan:
    """A piece to be composed; without `bars` it has no end. `chords` come one a bar, again and again."""

    style: str
    root: int
    mode: str
    metre: tuple[int, int]
    quarters: float  # a minute
    players: tuple[Player, ...]
    bars: int | None
    chords: tuple[str, ...]  # as they sound
    seed: int
    guidance: float
    temperature: float
    spread: float
    candidates: int = 1  # of each new phrase, where so many notes are wanted

    @property
    def up(self) -> int:
        """Semitones from the home key, C major or A minor."""
        return (self.root - (9 if self.mode == "minor" else 0) + 6) % 12 - 6

    @property
    def wanted(self) -> tuple[float, ...]:
        """How many notes a quarter each player is to play, () as they come."""
        return tuple(player.wanted for player in self.players if player.wanted is not None)

    @property
    def bar_length(self) -> int:
        return 4 * GRID * self.metre[0] // self.metre[1]

    @property
    def half(self) -> int:
        """The position at which a bar's second half begins."""
        return halves([Bar(0, self.bar_length, self.metre)])[0][1]

    @property
    def home_chords(self) -> tuple[str, ...]:
        return tuple(chord_moved(chord, -self.up) for chord in self.chords)


@dataclass(frozen=True)
class Wishes:
    """What a region is filled by: a style or "", chords as they sound, one a bar from its first on, how many half octaves denser it is."""

    style: str = ""
    chords: tuple[str, ...] = ()
    denser: int = 0
    seed: int = 0
    guidance: float = 1.0


def plan_of(request: ScoreRequest, *, endless: bool = False) -> Plan:
    """The plan of a request: what is said, what the prompt says, and what fits it, drawn from the seed; ValueError for what cannot be played."""
    check_metre(request)
    music = settled(request.music(), request.known_words, request.seed)
    bpm, name = music.bpm or 70.0, music.metre or "4/4"
    metre = METRES[name]
    quarters = quarters_of(bpm, metre)
    root, mode = key_of(music.key)
    bars, style = bars_for(request, metre, quarters), request.style
    players = denser(usual_players(request, style or "piano"), request.times, request.candidates > 1)
    return Plan(
        style, root, mode, metre, quarters, players, None if endless else bars, tuple((music.chords or "").split()), request.seed, request.guidance, request.temperature, request.spread, request.candidates
    )


def check_metre(request: ScoreRequest) -> None:
    """ValueError for a metre in the prompt that is not composed in."""
    named = METRE_WORD.search(request.known_words)
    if request.metre is None and named and named[0] not in METRES:
        raise ValueError(f"metre: expected {', '.join(METRES)}; the prompt says {named[0]}, which is not composed in: leave it away")


def quarters_of(bpm: float, metre: tuple[int, int]) -> float:
    """Quarters a minute of a tempo in beats, which of eighths are three of them."""
    return round(bpm * (1.5 if metre[1] == 8 else 1.0), 3)


def bars_for(request: ScoreRequest, metre: tuple[int, int], quarters: float) -> int:
    """How many bars are asked for, in whole ones that come nearest to the seconds."""
    if request.bars is not None or request.seconds is None:
        return request.bars or DEFAULT_BARS
    return max(1, round(request.seconds * quarters * metre[1] / (240 * metre[0])))


def plan_going_on(request: ScoreRequest, score: Score) -> tuple[Plan, Material]:
    """The plan of a request for so many bars after a score, by its players, in its key, metre and tempo; and what the prior hears of that.

    ValueError where the request says these otherwise, or the score ends in a metre that is not composed in.
    """
    check_kept(request, ("key", "metre", "bpm", "chords", "instruments"))
    style = request.style
    material = material_of(score, style)
    metre, quarters = material.bars[-1].metre, score.tempos[-1][1] if score.tempos else 120.0
    if metre not in METRES.values() or material.bars[-1].length != 4 * GRID * metre[0] // metre[1]:
        raise ValueError(f"the score ends in {metre[0]}/{metre[1]}; what goes on does so in {', '.join(METRES)}, after a whole bar")
    new = bars_for(request, metre, quarters)
    mode = "minor" if material.minor else "major"
    root = ((9 if material.minor else 0) - material.up) % 12
    going = [player_going_on(part, material.up, track) for part, track in zip(material.parts, material.tracks, strict=True)]
    players, bars = denser(going, request.times, request.candidates > 1), len(material.bars) + new
    how = (request.seed, request.guidance, request.temperature, request.spread, request.candidates)
    return Plan(style, root, mode, metre, round(quarters, 3), players, bars, (), *how), material


def check_kept(request: ScoreRequest, names: Sequence[str]) -> None:
    """ValueError where a request says what a score that is there already says."""
    said = request.music().over(in_words(request.known_words)).said() | ({"instruments": request.instruments} if request.instruments else {})
    for name in names:
        if name in said:
            raise ValueError(f"{name}: what is made for a score keeps that of the score; leave it away, of the prompt too (came {', '.join(said[name]) if isinstance(said[name], tuple) else said[name]})")


def wishes_of(request: ScoreRequest) -> Wishes:
    """What a request says of a region to be made anew; ValueError where it says what the score says."""
    check_kept(request, ("key", "metre", "bpm", "instruments"))
    for name in ("bars", "seconds"):
        if getattr(request, name) is not None:
            raise ValueError(f"{name}: what is made anew is as long as what was there; leave it away (came {getattr(request, name):g})")
    for name, usual in ((each.name, each.default) for each in fields(request) if each.name in ("temperature", "spread")):
        if getattr(request, name) != usual:
            raise ValueError(f"{name}: does nothing to what is made anew in a score; leave it away (came {getattr(request, name):g})")
    chords = tuple((request.chords or "").split())
    return Wishes(request.style, chords, round(2 * math.log2(request.times)), request.seed, request.guidance)


def draw_seed(plan: Plan, *place: int | str) -> int:
    """A seed of 32 bits for one place of a piece: what is drawn there follows from it alone."""
    return seed_of("score", plan.seed, *place) % 2**32


def chance(plan: Plan, *place: int | str) -> float:
    return random.Random(seed_of("chance", plan.seed, *place)).random()
