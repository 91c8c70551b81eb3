"""Who plays: the instruments that are said, an ensemble of the style, or both; and what each of them may play."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mousai.checks import did_you_mean, short
from mousai.data.synth.compose import arrange
from mousai.data.synth.styles import STYLES
from mousai.data.synth.voices import DRUM_KEYS
from mousai.randomness import seed_of
from mousai.request.instruments import FAMILIES, IN_PROMPTS, NOT_WANTED, programs
from mousai.request.music import has
from mousai.request.score import ScoreRequest
from mousai.request.vocabulary import INSTRUMENTS
from mousai.symbolic.material import DENSITIES, MOST_TRACKS, UNPITCHED, Track, material_of, notes_of_density
from mousai.symbolic.practice import score_of
from mousai.symbolic.score import DRUMS, PITCH, Part

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
TAKEN = tuple(FAMILIES.index(name) for name in ("piano", "organ", "guitar", "bass", "synth lead", "synth pad"))  # of whose instruments one stands for another
LEAD = "lead"  # who has the tune in an arranger's ensemble
VOICES_OF = {0: 4, 2: 4, 3: 3, 4: 0, 5: 0, 6: 3, 7: 0, 8: 0, 9: 0, 10: 0, 11: 3}  # polyphony of a family that is known, where no style says it
ALONE = {46: Track(5, 9, 6, 3), 52: Track(6, 10, 3, 0), 53: Track(6, 11, 3, 0), 61: Track(7, 10, 4, 3), 62: Track(7, 10, 4, 3)}  # of instruments that play otherwise than their family
NOT_WANTED_1 = re.compile(r"\b(?:no|without|not)\s+(?:any\s+|the\s+|a\s+)?[\w-]+")  # as it was read first
KINDS: dict[str, Sequence[int]] = {  # programmes that words mean beside their own where they are not wanted
    **{name.lower(): range(8 * family, 8 * family + 8) for family, name in enumerate(FAMILIES)}, "piano": range(6), "organ": range(16, 21), "keys": (*range(8), *range(16, 21)),
    **dict.fromkeys(("electric piano", "rhodes"), (4, 5)), "acoustic guitar": (24, 25), "electric guitar": range(26, 31), "electric bass": (33, 34), "bass guitar": range(33, 38), "slap bass": (36, 37), "synth bass": (38, 39),
    "violins": (40,), "cellos": (42,), "strings": (*range(40, 46), *range(48, 52)), "string ensemble": range(48, 52), "synth strings": (50, 51), **dict.fromkeys(("choir", "voice", "singer", "vocals"), range(52, 55)),
    **dict.fromkeys(("sax", "saxophone"), range(64, 68)), **dict.fromkeys(("synth", "synthesizer"), (38, 39, 50, 51, 54, 62, 63, *range(80, 96))), "pad": range(88, 96),
}  # fmt: skip


@dataclass(frozen=True)
class Player:
    """A part to be composed: its General MIDI programme, what the prior is told of it, and the pitches that it may play."""

    name: str
    program: int
    drums: bool
    track: Track
    low: int
    high: int
    wanted: float | None = None  # notes a quarter that it is to play where it plays, None = as it comes


def player_going_on(part: Part, up: int, track: Track) -> Player:
    """The player of a part that was moved `up` semitones into the home key: its instrument's range, and what it has played beyond."""
    player = _player(part.name, part.program, part.drums, track)
    played = part.notes[:, PITCH] - (0 if part.drums else up)
    return replace(player, low=min(player.low, int(played.min())), high=max(player.high, int(played.max()))) if len(played) else player


def usual_players(request: ScoreRequest, style: str) -> tuple[Player, ...]:
    """Who plays: the instruments that are said, or named in the prompt; where it names a style its ensemble, as its arranger has it for this seed, and they among it."""
    said = request.instruments or tuple(dict.fromkeys(named_in(request)))
    if request.reading > 1 and len(said) > MOST_TRACKS:
        raise ValueError(f"instruments: at most {MOST_TRACKS} play together, the prompt names {len(said)}: {', '.join(said)}")
    usual = ensemble(style, request.seed)
    if request.instruments or (said and request.style == ""):
        usual = tuple(player_of(word, usual, request.reading > 1) for word in said)
    elif request.reading > 1:
        usual = with_named(without_named(usual, tuple(not_wanted_in(request).values())), said)
    return tuple(sorted(usual, key=lambda player: (not player.drums, player.track.register)))  # as the prior has learned it


def with_named(usual: Sequence[Player], said: Sequence[str]) -> tuple[Player, ...]:
    """An ensemble in which these instruments play too: who has one already, takes another of its kind or has the tune takes it, else somebody joins; at most eight in all."""
    found, taken = list(usual), set()
    for word in said:
        player = player_of(word, usual)
        free = [i for i, each in enumerate(found) if i not in taken]
        same = [i for i in free if (found[i].drums, player.drums) == (True, True) or (found[i].drums, found[i].program) == (player.drums, player.program)]
        kind = [i for i in free if found[i].track.family == player.track.family in TAKEN and not player.drums]
        lead = [i for i in free if found[i].name == LEAD and not player.drums]
        if place := (same or kind or lead)[:1]:
            taken.add(place[0])
            found[place[0]] = found[place[0]] if same else player
        else:
            taken.add(len(found))
            found.append(player)
    kept = [*sorted(taken), *(i for i in range(len(found)) if i not in taken)][:MOST_TRACKS]
    return tuple(found[i] for i in sorted(kept))


def without_named(usual: Sequence[Player], not_wanted: Sequence[str]) -> tuple[Player, ...]:
    """An ensemble in which nobody plays these instruments, unless nobody would be left."""
    return tuple(each for each in usual if not any(plays(each, word) for word in not_wanted)) or tuple(usual)


def plays(player: Player, word: str) -> bool:
    """Whether a player is called by an instrument's name, has its programme, or plays one of its kind."""
    if player.drums or word in ("drums", "percussion"):
        return player.drums and word in ("drums", "percussion")
    return player.name.removesuffix("s") == word.removesuffix("s") or player.program in KINDS.get(word, (programs()[word],))


def denser(players: Sequence[Player], factor: float, counted: bool = False) -> tuple[Player, ...]:
    """Players who play so many times more: told so in half octaves and, where it is `counted`, with so many notes wanted of each."""
    steps = round(2 * math.log2(factor))
    told = (min(max(player.track.density + steps, 0), DENSITIES - 1) for player in players)
    wanted = [factor * notes_of_density(player.track.density) if counted and factor != 1 else None for player in players]
    return tuple(replace(player, track=replace(player.track, density=density), wanted=notes) for player, density, notes in zip(players, told, wanted, strict=True))


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


def player_of(word: str, usual: Sequence[Player], in_voices: bool = True) -> Player:
    """The player of an instrument's name, as the style has it where it has one of its family, else `in_voices` as are usual for it; ValueError for none that is known.

    Before there were `in_voices` everyday words for instruments were none.
    """
    said, known = word, programs()
    if in_voices and not any(form in known for form in (word, word.removesuffix("s"))):
        word = INSTRUMENTS.get(word) or INSTRUMENTS.get(word.removesuffix("s"), word)
    if word in ("drums", "percussion"):
        found = next((player for player in usual if player.drums), None)
        return found or _player("drums", 0, True, Track(DRUMS, UNPITCHED, FAMILY_TRACKS[DRUMS][1]))
    program = known.get(word, known.get(word.removesuffix("s")))
    if program is None:
        hint = did_you_mean(said, (*known, *INSTRUMENTS)) or ": General MIDI has strings, woodwinds, brass, keyboards, guitars, basses, voices, synth leads and pads, and drums, by their usual names"
        raise ValueError(f"instruments: expected names such as piano, cello, tenor sax, drums; {short(said)} is none{hint}")
    family = program // 8
    alike = next((player.track for player in usual if player.track.family == family), None)
    lowest, highest = RANGES.get(program, WHOLE_RANGE)
    register, density = FAMILY_TRACKS[family]
    middle = (lowest + highest) // 12 if program in RANGES else register
    own = Track(family, min(middle, UNPITCHED - 1), density)
    if in_voices:
        own = ALONE.get(program) or replace(own, polyphony=VOICES_OF.get(family, own.polyphony))
    return _player(word, program, False, alike or own)


def instruments_in(prompt: str) -> dict[str, str]:
    """The instruments that a prompt names, by the words that do; longer names first, so that "bass guitar" is no "bass".

    What it says is not to be there ("no drums", "without piano") is not, one word of each.
    """
    return _named_in(NOT_WANTED_1.sub(" ", prompt.lower()))


def named_in(request: ScoreRequest) -> dict[str, str]:
    """The instruments that a request's prompt names, by the words that do, beside those that are part of what its style is called."""
    if request.reading == 1:
        return instruments_in(request.prompt)
    left, style = request.wanted_words, STYLES.get(request.style)
    if style is not None:
        for words in sorted({style.name.replace("_", " "), *style.phrases, *style.genre} - {"piano", "strings"}, key=len, reverse=True):
            left = re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", " ", left, flags=re.IGNORECASE)
    return _named_in(left.lower())


def not_wanted_in(request: ScoreRequest) -> dict[str, str]:
    """The instruments that a request's prompt does not want, by the words that say them."""
    return _named_in(", ".join(found[0] for found in NOT_WANTED.finditer(request.known_words.lower()))) if request.reading > 1 else {}


def left_out(request: ScoreRequest) -> dict[str, str]:
    """The instruments that a request's prompt does not want and nobody plays."""
    unwanted = not_wanted_in(request)
    players = usual_players(request, request.style or "piano") if unwanted else ()
    return {words: name for words, name in unwanted.items() if not any(plays(player, name) for player in players)}


def _named_in(left: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in sorted(IN_PROMPTS, key=len, reverse=True):
        if has(left, word) or has(left, f"{word}s"):
            found[f"{word}s" if has(left, f"{word}s") else word] = word
            left = left.replace(word, " ")
    return found
