"""From what is asked to what a composer needs: who plays, in which key, metre and tempo, how long, over which chords."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from mousai.checks import did_you_mean, short
from mousai.data.synth.compose import arrange
from mousai.data.synth.styles import STYLES
from mousai.data.synth.voices import DRUM_KEYS, VOICES
from mousai.randomness import seed_of
from mousai.request.music import has, in_words, settled
from mousai.request.score import DEFAULT_BARS, ScoreRequest, density_named, style_named
from mousai.symbolic.harmony import chord_moved
from mousai.symbolic.instruments import ALSO_CALLED, NAMES, NOT_IN_PROMPTS
from mousai.symbolic.material import DENSITIES, UNPITCHED, Material, Track, halves, material_of
from mousai.symbolic.phrases import GRID, Bar
from mousai.symbolic.practice import score_of
from mousai.symbolic.score import DRUMS, FAMILIES, PITCH, Part, Score
from mousai.theory import key_of

METRES = {"4/4": (4, 4), "3/4": (3, 4), "2/4": (2, 4), "6/8": (6, 8), "12/8": (12, 8)}
RANGES = {  # sounding pitches that an instrument has
    24: (40, 84), 25: (40, 84), 26: (40, 88), 27: (40, 88), 29: (40, 88), 30: (40, 88), 32: (28, 67), 33: (28, 67), 34: (28, 67), 35: (28, 67), 38: (28, 67), 39: (28, 67),
    40: (55, 100), 41: (48, 88), 42: (36, 76), 43: (28, 60), 46: (24, 103), 47: (36, 60), 52: (40, 81), 53: (48, 81), 56: (52, 84), 57: (40, 72), 58: (28, 60), 60: (36, 77),
    65: (49, 81), 66: (44, 76), 68: (58, 91), 70: (34, 72), 71: (50, 91), 73: (60, 96), 78: (72, 100),
}  # fmt: skip
WHOLE_RANGE = (21, 108)
AROUND = 17  # semitones on each side of where a part lies that it may go to
FAMILY_TRACKS = (  # register and density of a family where no style says them
    (10, 6), (13, 4), (10, 4), (9, 5), (6, 4), (11, 4), (10, 3), (10, 4), (11, 4), (12, 4), (12, 4), (10, 2), (10, 2), (9, 5), (12, 4), (10, 2), (21, 7),
)  # fmt: skip
METRE_WORD = re.compile(r"(?<![\d/])(?:[1-9]|1\d)/(?:2|4|8|16)(?![\d/])")
NOT_WANTED = re.compile(r"\b(?:no|without|not)\s+(?:any\s+|the\s+|a\s+)?[\w-]+")


@dataclass(frozen=True)
class Player:
    """A part to be composed: its General MIDI programme, what the prior is told of it, and the pitches that it may play."""

    name: str
    program: int
    drums: bool
    track: Track
    low: int
    high: int


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

    @property
    def up(self) -> int:
        """Semitones from the home key, C major or A minor."""
        return (self.root - (9 if self.mode == "minor" else 0) + 6) % 12 - 6

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
    music = settled(request.music(), request.prompt, request.seed)
    bpm, name = music.bpm or 70.0, music.metre or "4/4"
    metre = METRES[name]
    quarters = quarters_of(bpm, metre)
    root, mode = key_of(music.key)
    bars, style = bars_for(request, metre, quarters), style_named(request.prompt)
    players = denser(usual_players(request, style or "piano"), denser_by(request))
    return Plan(
        style, root, mode, metre, quarters, players, None if endless else bars, tuple((music.chords or "").split()), request.seed, request.guidance, request.temperature, request.spread
    )


def check_metre(request: ScoreRequest) -> None:
    """ValueError for a metre in the prompt that is not composed in."""
    named = METRE_WORD.search(request.prompt)
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
    style = style_named(request.prompt)
    material = material_of(score, style)
    metre, quarters = material.bars[-1].metre, score.tempos[-1][1] if score.tempos else 120.0
    if metre not in METRES.values() or material.bars[-1].length != 4 * GRID * metre[0] // metre[1]:
        raise ValueError(f"the score ends in {metre[0]}/{metre[1]}; what goes on does so in {', '.join(METRES)}, after a whole bar")
    new = bars_for(request, metre, quarters)
    mode = "minor" if material.minor else "major"
    root = ((9 if material.minor else 0) - material.up) % 12
    factor, players = denser_by(request), []
    for part, track in zip(material.parts, material.tracks, strict=True):
        players.append(player_going_on(part, material.up, replace(track, density=min(max(track.density + factor, 0), DENSITIES - 1))))
    plan = Plan(style, root, mode, metre, round(quarters, 3), tuple(players), len(material.bars) + new, (), request.seed, request.guidance, request.temperature, request.spread)
    return plan, material


def check_kept(request: ScoreRequest, names: Sequence[str]) -> None:
    """ValueError where a request says what a score that is there already says."""
    said = request.music().over(in_words(request.prompt)).said() | ({"instruments": request.instruments} if request.instruments else {})
    for name in names:
        if name in said:
            raise ValueError(f"{name}: what is made for a score keeps that of the score; leave it away, of the prompt too (came {short(said[name])})")


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
    return Wishes(style_named(request.prompt), chords, denser_by(request), request.seed, request.guidance)


def denser_by(request: ScoreRequest) -> int:
    """How many half octaves denser than usual a request wants it."""
    return round(2 * math.log2(request.density or density_named(request.prompt) or 1.0))


def player_going_on(part: Part, up: int, track: Track) -> Player:
    """The player of a part that was moved `up` semitones into the home key: its instrument's range, and what it has played beyond."""
    player = _player(part.name, part.program, part.drums, track)
    played = part.notes[:, PITCH] - (0 if part.drums else up)
    return replace(player, low=min(player.low, int(played.min())), high=max(player.high, int(played.max()))) if len(played) else player


def usual_players(request: ScoreRequest, style: str) -> tuple[Player, ...]:
    """Who plays: the instruments that are said, or named in the prompt, else an ensemble of the style, as its arranger has it for this seed."""
    said = request.instruments or tuple(dict.fromkeys(instruments_in(request.prompt)))
    usual = ensemble(style, request.seed)
    if request.instruments or (said and style_named(request.prompt) == ""):
        usual = tuple(player_of(word, usual, number) for number, word in enumerate(said))
    return tuple(sorted(usual, key=lambda player: (not player.drums, player.track.register)))  # as the prior has learned it


def denser(players: Sequence[Player], half_octaves: int) -> tuple[Player, ...]:
    """Players who play more, or less."""
    return tuple(replace(player, track=replace(player.track, density=min(max(player.track.density + half_octaves, 0), DENSITIES - 1))) for player in players)


def ensemble(style: str, seed: int) -> tuple[Player, ...]:
    """Players of a style: of the practice set's as it is arranged for a seed, of songs a voice and a piano's two hands."""
    if style == "lieder":
        made = (("voice", 52, 11, 3), ("piano, right hand", 0, 10, 5), ("piano, left hand", 0, 7, 4))
        return tuple(_player(name, program, False, Track(program // 8, register, density)) for name, program, register, density in made)
    import numpy as np

    rng = np.random.default_rng([seed_of("ensemble", style, seed)])
    material = material_of(score_of(arrange(STYLES[style], 30.0, rng)))
    return tuple(_player(part.name, part.program, part.drums, track) for part, track in zip(material.parts, material.tracks, strict=True))


def _player(name: str, program: int, drums: bool, track: Track) -> Player:
    if drums:
        return Player(name, program, True, track, min(DRUM_KEYS.values()), max(DRUM_KEYS.values()))
    lowest, highest = RANGES.get(program, WHOLE_RANGE)
    middle = 6 * track.register + 3
    reach = AROUND + (12 if track.family in (0, 2) else 0)  # keyboards have two hands
    low, high = max(lowest, middle - reach), min(highest, middle + reach)
    return Player(name, program, False, track, min(low, highest - 12), max(high, lowest + 12))


def player_of(word: str, usual: Sequence[Player], number: int) -> Player:
    """The player of an instrument's name, as the style has it where it has one of its family; ValueError for none that is known."""
    if word in ("drums", "drum kit", "percussion", "drum machine"):
        found = next((player for player in usual if player.drums), None)
        return found or _player("drums", 0, True, Track(DRUMS, UNPITCHED, FAMILY_TRACKS[DRUMS][1]))
    program = programs().get(word, programs().get(word.removesuffix("s")))
    if program is None:
        raise ValueError(f"instruments: expected names such as piano, cello, flute, drums; came {short(word)}{did_you_mean(word, programs())}")
    family = program // 8
    alike = next((player.track for player in usual if player.track.family == family), None)
    lowest, highest = RANGES.get(program, WHOLE_RANGE)
    register, density = FAMILY_TRACKS[family]
    middle = (lowest + highest) // 12 if program in RANGES else register
    return _player(word, program, False, alike or Track(family, min(middle, UNPITCHED - 1), density))


def programs() -> dict[str, int]:
    """General MIDI's programmes by the words that name them."""
    named = {name: number for number, name in enumerate(NAMES)} | {name.lower(): 8 * family for family, name in enumerate(FAMILIES)}
    for voice_name, voice in VOICES.items():
        melodic = [preset for bank, preset in voice.programs if bank != 128]
        if melodic:
            named.setdefault(voice.words.lower() or voice_name, melodic[0])
            named.setdefault(voice_name, melodic[0])
    return named | ALSO_CALLED


def instruments_in(prompt: str) -> dict[str, str]:
    """The instruments that a prompt names, by the words that do; longer names first, so that "bass guitar" is no "bass".

    What it says is not to be there ("no drums", "without piano") is not.
    """
    found: dict[str, str] = {}
    left = NOT_WANTED.sub(" ", prompt.lower())
    for word in sorted([*(name for name in programs() if name not in NOT_IN_PROMPTS), "drums", "percussion"], key=len, reverse=True):
        if has(left, word) or has(left, f"{word}s"):
            found[f"{word}s" if has(left, f"{word}s") else word] = word
            left = left.replace(word, " ")
    return found


def draw_seed(plan: Plan, *place: int | str) -> int:
    """A seed of 32 bits for one place of a piece: what is drawn there follows from it alone."""
    return seed_of("score", plan.seed, *place) % 2**32


def chance(plan: Plan, *place: int | str) -> float:
    return random.Random(seed_of("chance", plan.seed, *place)).random()
