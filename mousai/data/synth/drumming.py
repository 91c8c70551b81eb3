"""Drum patterns of each music, how full they are by a bar's energy, and fills at the ends of sections."""

from __future__ import annotations

from dataclasses import dataclass

from mousai.data.synth.players import LOUDNESS, Rng, bar_text, choose, level
from mousai.data.synth.score import Bar, Score

Pattern = dict[str, str]  # drum → text of steps, as in players


@dataclass(frozen=True)
class Groove:
    """Patterns for full and for quiet bars, the kind of fill, and whether a crash opens a section."""

    full: Pattern
    thin: Pattern  # below an energy of 0.5
    fill: str = "toms"  # a key of FILLS, or ""
    crash: bool = True


FILLS: dict[str, tuple[Pattern, ...]] = {  # the last two beats of a section, eight steps
    "toms": (
        {"snare": "xoxx....", "tom_high": "....xx..", "tom_low": "......xX", "kick": "x...x..."},
        {"snare": "..oxoxxX", "kick": "x...x..."},
        {"tom_high": "x.x.....", "tom_mid": "....x.x.", "tom_low": "......xX", "snare": ".x......"},
        {"snare": "X..x..X.", "kick": ".xx.xx.x"},
        {"snare": "x.......", "tom_high": "..xx....", "tom_mid": "....xx..", "tom_low": "......xx"},
    ),
    "roll": (
        {"snare": "oooxxxXX", "kick": "x...x..."},
        {"clap": "o.o.x.xX", "kick": "x...x..."},
        {"snare": "x..x..xx", "kick": "x......."},
        {"closed": "oxoxoxox", "clap": "....x..x"},
    ),
    "breaks": (
        {"snare": "x.xx.xXX", "kick": "X...x..."},
        {"snare": "..x.oxoX", "kick": "x.x....."},
        {"snare": "xoxoxoxo", "kick": "x..x..x."},
    ),
    "soft": (
        {"snare": "..o.o.xo", "kick": "x......."},
        {"rim": "..x..x..", "kick": "x...x..."},
        {"snare": "o.oox...", "ride": "x.x.x.x."},
        {"tom_low": "....o.x.", "snare": "o.o....."},
    ),
    "march": (
        {"snare": "xoxxxoXX", "bass_drum": "x...x..."},
        {"snare": "ooooxxxX", "bass_drum": "x......."},
    ),
}


def drum(score: Score, part: str, groove: Groove, rng: Rng, silent_below: float = 0.0) -> None:
    """A groove through the piece: thin in quiet bars, a fill where a section ends, a crash where a full one begins."""
    for i, bar in enumerate(score.bars):
        if bar.energy < silent_below:
            continue
        ends = bar.last and groove.fill and score.metre.division == 2 and rng.random() < 0.85
        until = score.metre.beats - 2 if ends else score.metre.beats
        pattern = groove.full if bar.energy >= 0.5 else groove.thin
        _pattern(score, part, bar, pattern, 0.0, float(until), float(score.metre.beats))
        if ends:
            _pattern(score, part, bar, choose(rng, FILLS[groove.fill]), float(until), float(score.metre.beats), 2.0)
        if groove.crash and bar.place == 0 and bar.energy > 0.6 and i:
            score.add(part, bar.start, 2.0, "crash", 0.8)


def _pattern(score: Score, part: str, bar: Bar, pattern: Pattern, start: float, end: float, beats: float) -> None:
    """The steps of a pattern of `beats` that come between start and end of the bar."""
    for name, texts in pattern.items():
        text = bar_text(texts, bar)
        unit = beats / len(text)
        for i, letter in enumerate(text):
            at = i * unit + (start if beats < score.metre.beats else 0.0)
            if letter in LOUDNESS and start <= at + 1e-6 < end:
                score.add(part, bar.start + at, unit, name, LOUDNESS[letter] * (0.4 + 0.6 * level(bar)))


ROCK = (
    Groove({"kick": "X.......X.x.....", "snare": "....X.......X...", "closed": "x.o.x.o.x.o.x.o."},
           {"kick": "X.......x.......", "closed": "x...x...x...x...", "rim": "............x..."}),
    Groove({"kick": "X.....x.X.....x.", "snare": "....X.......X...", "open": "x...x...x...x..."},
           {"kick": "X.......x.......", "tom_low": "x.x.x.x.x.x.x.x."}),
    Groove({"kick": "X..x..x...x.....", "snare": "....X..o.o..X...", "ride": "x.x.x.x.x.x.x.x."},
           {"kick": "X.........x.....", "snare": "............x...", "closed": "x.x.x.x.x.x.x.x."}),
    Groove({"kick": "X.x.....X.x.....", "snare": "....X.......X..o", "closed": "x.x.x.x.x.x.x.x."},
           {"closed": "x...x...x...x...", "kick": "X..............."}),
)  # fmt: skip
METAL = (
    Groove({"kick": "xxxxxxxxxxxxxxxx", "snare": "....X.......X...", "china": "x...x...x...x..."},
           {"kick": "x.......x.......", "snare": "........X.......", "ride_bell": "x...x...x...x..."}),
    Groove({"kick": "x.x.x.x.x.x.x.x.", "snare": ".x.x.x.x.x.x.x.x", "ride": "x.x.x.x.x.x.x.x."},
           {"kick": "X..x..x...x.....", "snare": "........X.......", "china": "x...x...x...x..."}),
    Groove({"kick": "X.xx..xxX.xx..xx", "snare": "....X.......X...", "open": "x...x...x...x..."},
           {"kick": "X.x.....X.x.....", "snare": "........X.......", "crash": "x......."}),
    Groove({"kick": "x.xxx.xxx.xxx.xx", "snare": "..x...x...x...x.", "closed": "x...x...x...x..."},
           {"kick": "X.......X.......", "tom_low": "x..x..x.x..x..x."}),
)  # fmt: skip
HIP_HOP = (
    Groove({"kick": "X......x..x.....", "snare": "....X.......X...", "closed": "x.x.x.x.x.x.x.xo"},
           {"closed": "x...x...x...x...", "snare": "....x.......x..."}, "soft", False),
    Groove({"kick": "X.x.......x..x..", "snare": "....X..o....X...", "closed": "x.xox.x.x.xox.x."},
           {"kick": "X.........x.....", "rim": "....x.......x..."}, "soft", False),
    Groove({"kick": "X..x......X.....", "rim": "....X.......X..o", "closed": "x.x.x.x.x.x.x.x.", "shaker": "..o...o...o...o."},
           {"shaker": "o.o.o.o.o.o.o.o.", "kick": "X......."}, "soft", False),
)  # fmt: skip
HOUSE = (
    Groove({"kick": "X...X...X...X...", "clap": "....x.......x...", "open": "..x...x...x...x.", "closed": "o.ooo.ooo.ooo.oo"},
           {"closed": "x.x.x.x.x.x.x.x.", "clap": "....x.......x..."}, "roll", True),
    Groove({"kick": "X...X...X...X...", "snare": "....x.......x..o", "open": "..x...x...x...x.", "shaker": "xoxoxoxoxoxoxoxo"},
           {"kick": "X...X...X...X...", "shaker": "xoxoxoxoxoxoxoxo"}, "roll", True),
    Groove({"kick": "X...X...X...X...", "clap": "....x.......x...", "closed": "..x...x...x...x.", "conga_high": "...x..x....x..x.", "conga_low": "......x.......xx"},
           {"conga_high": "...x..x....x..x.", "closed": "..x...x...x...x.", "kick": "X...X...X...X..."}, "roll", True),
)  # fmt: skip
TECHNO = (
    Groove({"kick": "X...X...X...X...", "clap": "....x.......x...", "open": "..x...x...x...x.", "closed": "xoxoxoxoxoxoxoxo"},
           {"kick": "X...X...X...X...", "closed": "..x...x...x...x."}, "roll", True),
    Groove({"kick": "X...X...X...X...", "open": "..x...x...x...x.", "rim": "...x..x....x..x.", "closed": "xoooxoooxoooxooo"},
           {"open": "..x...x...x...x.", "rim": "...x..x....x..x."}, "roll", True),
    Groove({"kick": "X...X...X...X..x", "closed": "..x...x...x...x.", "tom_low": "..o..o....o..o..", "clap": "............x..."},
           {"kick": "X...X...X...X...", "tom_low": "..o..o....o..o.."}, "roll", True),
)  # fmt: skip
DRUM_AND_BASS = (
    Groove({"kick": "X.........x.....", "snare": "....X..o.o..X..o", "closed": "x.x.x.x.x.x.x.x."},
           {"closed": "x.x.x.x.x.x.x.x.", "kick": "X..............."}, "breaks", True),
    Groove({"kick": "X.x.......x.....", "snare": "....X..o.o.oX...", "ride": "x.x.x.x.x.x.x.x.", "closed": ".o.o.o.o.o.o.o.o"},
           {"ride": "x...x...x...x...", "snare": "............x..."}, "breaks", True),
    Groove({"kick": "X.x...x...x.....", "snare": "....X..x.x....X.", "closed": "x.x.x.x.x.x.x.x.", "shaker": "xoxoxoxoxoxoxoxo"},
           {"shaker": "xoxoxoxoxoxoxoxo", "kick": "X.........x....."}, "breaks", True),
)  # fmt: skip
SWING = (  # the off-beat eighths are swung by the score
    Groove({"ride": "x.xxx.xx", "pedal": "..x...x.", "snare": ".....o..", "kick": "o..."},
           {"ride": "x.xxx.xx", "pedal": "..x...x."}, "soft", False),
    Groove({"ride": "X.xxX.xx", "pedal": "..x...x.", "snare": "...o...o", "kick": "o...o..."},
           {"closed": "x.xxx.xx", "pedal": "..x...x."}, "soft", False),
    Groove({"snare": "o.ooo.oo", "pedal": "..x...x.", "ride": "x...x...", "kick": "o...o..."},
           {"snare": "o...o...", "pedal": "..x...x."}, "soft", False),
)  # fmt: skip
JAZZ_WALTZ = (
    Groove({"ride": "x.x.xx", "pedal": "..x...", "kick": "o.....", "snare": ".....o"}, {"ride": "x.x.x.", "pedal": "..x..."}, "", False),
)
BOSSA = (
    Groove({"kick": "x..xx..x", "rim": "x..x..x.|..x.x...", "closed": "xoxoxoxo"}, {"rim": "x..x..x.|..x.x...", "shaker": "xoxoxoxo"}, "soft", False),
    Groove({"kick": "x..xx..x", "rim": "..x.x...|x..x..x.", "shaker": "xoxoxoxo"}, {"kick": "x..xx..x", "shaker": "xoxoxoxo"}, "soft", False),
    Groove({"kick": "x..xx..x", "rim": "x..x..x.|..x..x..", "ride": "xoxoxoxo", "pedal": "..x...x."}, {"closed": "xoxoxoxo", "kick": "x..xx..x"}, "soft", False),
)
SOUL = (
    Groove({"kick": "X..x......x.....", "snare": "....X..o.o..X..o", "closed": "x.x.x.x.x.x.x.x."},
           {"kick": "X.........x.....", "rim": "....x.......x...", "closed": "x.x.x.x.x.x.x.x."}),
    Groove({"kick": "X......xX.x.....", "snare": "....X.......X...", "closed": "x.xox.xox.xox.xo", "tambourine": "....x.......x..."},
           {"kick": "X.......x.......", "rim": "....x.......x...", "shaker": "x.x.x.x.x.x.x.x."}),
)  # fmt: skip
SLOW_TWELVE = (
    Groove({"kick": "X....xX.....", "snare": "...X.....X..", "closed": "xxxxxxxxxxxx"}, {"kick": "X.....x.....", "rim": "...x.....x..", "closed": "xxxxxxxxxxxx"}, "", True),
)
MARCH = (
    Groove({"bass_drum": "X...x...X...x...", "cymbals": "....x.......x...", "snare": "x.oox.oox.ooxoxo"},
           {"bass_drum": "X.......x.......", "snare": "o...o.ooo...o.oo"}, "march", True),
    Groove({"bass_drum": "X.......X.......", "snare": "x..ox.oox..ox.xx"}, {"bass_drum": "X.......X......."}, "march", True),
)  # fmt: skip
WALTZ_MARCH = (Groove({"bass_drum": "X.....", "snare": "..x.x."}, {"bass_drum": "X....."}, "", False),)
CHIP = (
    Groove({"low": "x...x...x...x...", "noise": "....X.......X...", "high": "..o...o...o...o."}, {"low": "x.......x.......", "high": "..o...o...o...o."}, "", False),
    Groove({"low": "x.....x.x.......", "noise": "....X.......X..x", "high": "o.o.o.o.o.o.o.o."}, {"high": "o...o...o...o..."}, "", False),
    Groove({"low": "x..x..x.x..x..x.", "noise": "....X.......X...", "high": "oooooooooooooooo"}, {"low": "x.......x......."}, "", False),
)  # fmt: skip
