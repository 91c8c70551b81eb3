"""What can be asked of a composer of scores, checked before any model is read; and which of a prompt's words say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mousai.checks import check_number, checked_text, short
from mousai.data.synth.styles import STYLES
from mousai.request.clip import SEEDS
from mousai.request.instruments import NOT_WANTED
from mousai.request.music import DANCES, PACES, Music, has, in_words, mode_named, mode_words, style_of
from mousai.request.vocabulary import READING, in_known_words
from mousai.theory import MODES

DEFAULT_BARS = 32
MOST_BARS = 1_000_000
SONG_WORDS = ("art song", "lieder", "lied", "romantic song", "song for voice and piano", "voice and piano")
DENSITY_WORDS = {"sparse": 0.5, "minimal": 0.5, "simple": 0.7, "busy": 1.6, "dense": 1.6, "intricate": 1.6, "virtuosic": 2.0}
EMPTY_WORDS = set("a an the in at with and of for to on by is it as music piece tune key time tempo bpm beats per minute some very no without or nor any".split())
_SAID = {  # what request/music.py reads out of numbers and letters
    "bpm": re.compile(r"\b\d{2,3}(?:\.\d+)?\s*-?(?:bpm|beats? (?:per|a) minute)\b", re.IGNORECASE),
    "key": re.compile(
        r"\b[A-G](?:#|♯|b|♭|[ -]sharp|[ -]flat)?[ -]?(?:major|minor|maj|min)\b|\b(?:in|key of) [A-G][#♯b♭]?m?(?: (?:major|minor))?(?=$|[\s,.;])", re.IGNORECASE
    ),
    "metre": re.compile(r"(?<![\d/])\d{1,2}/\d{1,2}(?![\d/])"),
}


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Music):
    """A score for a prompt; None is not said. ValueError in one line for whatever cannot be.

    It has so many `bars`, or as many whole ones as come nearest to `seconds`; 32 unless said. `instruments` are names such as "piano", "cello", "drums".
    `density` is how much is played beside what is usual for the style, 1 = as much. Tempo, key, metre and chords are said in the fields of `Music`.
    """

    prompt: str
    bars: int | None = None
    seconds: float | None = None
    seed: int = 0
    instruments: tuple[str, ...] = ()
    density: float | None = None
    guidance: float = 1.5  # how closely what was asked for is followed; 1 = no guidance
    temperature: float = 0.9  # of chords and of what is repeated; 0 = the likeliest
    spread: float = 0.6  # of the noise that new phrases are drawn from; 1 = as in training, less is more like what is usual
    candidates: int = 8  # of each new phrase where a density is asked for, of which the nearest to it is kept; 1 = density is told alone
    reading: int = READING  # how words are read

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", checked_text(self.prompt, "prompt", may_be_empty=True))
        check_number("bars", self.bars, 1, MOST_BARS, whole=True)
        check_number("seconds", self.seconds, 1, 86400, unit=" s")
        if self.bars is not None and self.seconds is not None:
            raise ValueError("bars and seconds: both say how long it is; give one")
        check_number("seed", self.seed, 0, SEEDS - 1, whole=True)
        check_number("density", self.density, 0.25, 4)
        check_number("guidance", self.guidance, 0, 10)
        check_number("temperature", self.temperature, 0, 2)
        check_number("spread", self.spread, 0, 2)
        check_number("candidates", self.candidates, 1, 64, whole=True)
        check_number("reading", self.reading, 1, READING, whole=True)
        names = (self.instruments,) if isinstance(self.instruments, str) else self.instruments
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise ValueError(f'instruments: expected names, such as "cello, piano", or a list of them; came {short(names)}')
        object.__setattr__(self, "instruments", tuple(checked_text(each, "instruments", such_as='name who plays, for example "cello, piano"').lower() for name in names for each in name.split(",")))
        if len(self.instruments) > 8:
            raise ValueError(f"instruments: at most 8 play together, came {len(self.instruments)}")
        Music.__post_init__(self)
        if self.downbeat is not None:
            raise ValueError("downbeat: a score begins with a bar; leave it away")

    @property
    def known_words(self) -> str:
        """The prompt in words that controls know."""
        return in_known_words(self.prompt)[0] if self.reading > 1 else self.prompt

    @property
    def wanted_words(self) -> str:
        """These without what they say is not to be there."""
        return NOT_WANTED.sub(" ", self.known_words) if self.reading > 1 else self.known_words

    @property
    def says_pace(self) -> bool:
        """Whether the prompt says how fast it goes, in other words than of a mood."""
        text = in_known_words(self.prompt, implied=False)[0] if self.reading > 1 else self.prompt
        return any(has(text, pace) for pace in PACES)

    @property
    def style(self) -> str:
        """The style that the prompt names, "" for none."""
        return style_named(self.wanted_words, self.reading > 1)

    @property
    def times(self) -> float:
        """How much is played beside what is usual."""
        return self.density or density_named(self.known_words) or 1.0

    def to_dict(self) -> dict[str, Any]:
        """The request as files carry it; `ScoreRequest(**…)` is the same again."""
        names = ("prompt", "bars", "seconds", "seed", "density", "guidance", "temperature", "spread", *(("candidates",) if self.times != 1 else ()), "reading")
        own = {name: getattr(self, name) for name in names}
        said = own | {"instruments": list(self.instruments)} | self.said()
        return {name: value for name, value in said.items() if value not in (None, [])}


@dataclass(frozen=True)
class Infill:
    """Which part of a score is to be made anew: bars from the first to the last, counted from 1, None = all, and tracks by number or name, one or between commas, () = all."""

    bars: tuple[int, int] | None = None
    tracks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        bars = self.bars
        if bars is not None and not (len(bars) == 2 and all(type(bar) is int for bar in bars) and 1 <= bars[0] <= bars[1]):
            raise ValueError(f"bars: expected the first and the last of a score's bars, counted from 1, such as 9-16; came {'-'.join(map(str, bars)) if isinstance(bars, (list, tuple)) else short(bars)}")
        tracks = (self.tracks,) if isinstance(self.tracks, (str, int)) else self.tracks
        names = tuple(str(each).strip().lower() for each in tracks if str(each).strip(" ,"))  # with commas, as a part's name may have
        if tracks and not names:
            raise ValueError('tracks: names none; expected numbers or names such as "2, drums"')
        object.__setattr__(self, "bars", None if bars is None else tuple(bars))
        object.__setattr__(self, "tracks", names)
        if self.bars is None and not self.tracks:
            raise ValueError("what is to be made anew? say bars, such as 9-16, or tracks, or both")

    def to_dict(self) -> dict[str, Any]:
        """As files carry it; `Infill(**…)` is the same again."""
        return {"bars": None if self.bars is None else list(self.bars), "tracks": list(self.tracks)}


def bars_said(text: str) -> int | tuple[int, int]:
    """How many bars "16" means, or which "9-16"."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*(?:[-–]\s*(\d{1,9})\s*)?", text)
    if found is None:
        raise ValueError(f"bars: expected a whole number, or of --infill those from a first to a last such as 9-16; came {short(text)}")
    return int(found[1]) if found[2] is None else (int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Words:
    """What a prompt's words became, and which became nothing; `by` has the words that say each."""

    heard: dict[str, Any]
    unheard: tuple[str, ...]
    by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def without(self, named: Mapping[str, str]) -> Words:
        """The same where instruments are left out that are said not to be wanted, by the words that say them."""
        unheard = tuple(word for word in self.unheard if word.lower() not in " ".join(named).split())
        return Words({**self.heard, "without": list(named.values())}, unheard, {**self.by, "without": tuple(named)})

    def in_words_said(self, stands_for: Mapping[str, tuple[str, ...]]) -> Words:
        """The same by the words that were said, where those that are known stand for them."""

        def said(words: Iterable[str]) -> tuple[str, ...]:
            return tuple(dict.fromkeys(own for word in words for own in stands_for.get(word, (word,))))

        by = {name: said(words) for name, words in self.by.items()}
        return Words(self.heard, tuple(word for word in said(self.unheard) if not any(word in words for words in by.values())), by)

    def alone(self, *names: str) -> Words:
        """These words where nothing but `names` of what was heard is of use."""
        idle = [word for name in self.heard if name not in names for word in self.by.get(name, ())]
        used = {word for name in names for word in self.by.get(name, ())}
        unheard = dict.fromkeys((*self.unheard, *(word for word in idle if word not in used)))
        return Words({name: value for name, value in self.heard.items() if name in names}, tuple(unheard), self.by)

    def with_options(self, said: Mapping[str, Any]) -> Words:
        """With what options say; words that say the same otherwise are not heard."""
        against = [name for name, value in self.heard.items() if name in said and value != said[name] and value != list(said[name] if name == "instruments" else ())]
        against += [name for name, option in (("mode", "key"), ("mode", "chords"), ("tempo", "bpm")) if option in said and name in self.heard]
        rest = self.alone(*(name for name in self.heard if name not in against))
        return Words({**rest.heard, **{name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}}, rest.unheard, self.by)


def style_named(prompt: str, instruments_last: bool = False) -> str:
    """The style that a prompt's words name, "lieder" for songs with piano; "" for none. With `instruments_last` "piano" and "strings" name one where nothing else does."""
    if instruments_last and (named := style_named(re.sub(r"(?<!\w)(?:piano|strings)(?!\w)", " ", prompt, flags=re.IGNORECASE))):
        return named
    return "lieder" if any(has(prompt, words) for words in SONG_WORDS) else style_of(prompt).name


def density_named(prompt: str) -> float | None:
    return next((factor for word, factor in DENSITY_WORDS.items() if has(prompt, word)), None)


def words_in(prompt: str, known: Iterable[str]) -> tuple[str, ...]:
    """Those of `known` that a prompt has."""
    return tuple(dict.fromkeys(words for words in known if has(prompt, words)))


def words_of(prompt: str, instruments: dict[str, str], style: str | None = None) -> Words:
    """Which words of a prompt say what; `instruments` are those that it names, by the words that do, `style` what it is read as where that is said."""
    heard: dict[str, Any] = {name: value for name, value in in_words(prompt).said().items()}
    by = {name: tuple(match[0].strip() for match in pattern.finditer(prompt)) for name, pattern in _SAID.items() if name in heard}
    left = prompt
    for name in by:
        left = _SAID[name].sub(" ", left)
    if "metre" in heard:
        by["metre"] += words_in(prompt, DANCES)
    modes = [mode for mode in MODES if mode_named(prompt, mode)] or [mode for mode in MODES if mode_words(prompt, mode)]
    if style := style_named(prompt) if style is None else style:
        named = [(each.name.replace("_", " "), *each.phrases, *each.genre) for each in STYLES.values() if each.name == style]
        moods = [set(STYLES[style].moods[mode]) for mode in MODES] if named else [set()]
        usable = set.union(*moods) if len(modes) < 2 else set.intersection(*moods)  # of two modes that are said none is
        heard["style"], by["style"] = style, words_in(prompt, (*named[0], *sorted(usable)) if named else SONG_WORDS)
    if factor := density_named(prompt):
        heard["density"], by["density"] = factor, words_in(prompt, DENSITY_WORDS)
    if instruments:
        heard["instruments"], by["instruments"] = list(instruments.values()), tuple(instruments)
    pace = next((word for word in PACES if has(prompt, word)), None)
    if pace and "bpm" not in heard:
        heard["tempo"], by["tempo"] = pace, (pace,)
    if len(modes) == 1:
        heard["mode"] = modes[0]
    mode = heard.get("mode") or heard.get("key", "").rpartition(" ")[2]
    by["mode"] = words_in(prompt, [*(word for each in STYLES.values() for word in each.moods.get(mode, ())), *(f"{mode} {what}" for what in ("key", "mode", "scale")), f"in {mode}"])
    known = [*SONG_WORDS, *DENSITY_WORDS, *DANCES, *PACES, *instruments, *by.get("style", ()), *by["mode"]]
    for words in sorted(known, key=len, reverse=True):
        left = re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", " ", left, flags=re.IGNORECASE)
    unheard = [word for word in re.findall(r"[^\W_][\w'#♯♭/-]*", left) if word.lower() not in EMPTY_WORDS and word.lower() not in ("major", "minor")]
    return Words(heard, tuple(dict.fromkeys(unheard)), by)
