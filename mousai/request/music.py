"""Tempo, key, metre and chords: as they are asked for, as a prompt's words say them, and drawn where nobody says them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mousai.checks import check_number, checked_text, short
from mousai.data.synth.styles import STYLES, Style
from mousai.theory import METRES, MODES, chord_tones, key_name, key_of, key_of_chords

ANY_STYLE = Style("", (), (72, 140), 0.5, {}, (), "")  # what is drawn where the words name no style
PACES = {  # beats a minute that a word allows, as captions have it (data/captions.py)
    "slow": (40, 79), "unhurried": (40, 79), "medium tempo": (80, 119), "mid-tempo": (80, 119), "moderate": (80, 119),
    "fast": (120, 190), "up-tempo": (120, 190), "uptempo": (120, 190), "quick": (120, 190),
}  # fmt: skip
DANCES = {"waltz": "3/4", "minuet": "3/4", "mazurka": "3/4", "jig": "6/8", "tarantella": "6/8", "siciliana": "6/8", "barcarolle": "6/8"}
NO_BEAT = ("rubato", "free time", "no beat", "without a beat", "drone")  # then no tempo is drawn

_BPM = re.compile(r"\b(\d{2,3}(?:\.\d+)?)\s*-?(?:bpm|beats? (?:per|a) minute)\b", re.IGNORECASE)
_SIGN = r"(?:#|♯|b|♭|[ -]sharp|[ -]flat)"
_KEYS = (
    re.compile(rf"\b(?!(?-i:a) (?:major|minor) (?:key|mode|scale)\b)([A-G]{_SIGN}?[ -]?(?:major|minor|maj|min))\b", re.IGNORECASE),
    re.compile(rf"\b(?:in|key of) ([A-G]{_SIGN}?m?)(?=$|[\s,.;])(?! [a-z])"),
    re.compile(r"(?<![\w#])([A-G][#♯b♭]m)\b"),
)
_METRE = re.compile(r"(?<![\d/])(" + "|".join(METRES) + r")(?![\d/])")


def asked(help: str, *flags: str) -> Any:
    """A field of `Music`: what it is in the words of the command line, and its short flags."""
    return field(default=None, metadata={"help": help, "flags": flags, "show": ""})


@dataclass(frozen=True, kw_only=True)
class Music:
    """What a piece is in musically; None is not said. ValueError in one line for what cannot be."""

    bpm: float | None = asked("Tempo in beats a minute; of 6/8 and 12/8 a beat is a dotted quarter.")
    key: str | None = asked('Such as "F# minor", "Bb major", "Am".')
    metre: str | None = asked(f"{', '.join(METRES)}.")
    chords: str | None = asked('One a bar, again and again: "Am F C G".')
    downbeat: float | None = asked("Seconds at which a bar begins, of a recording if there is one; 0 unless given.")

    def __post_init__(self) -> None:
        for name, check in MUSIC_CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))

    def music(self) -> Music:
        """These fields alone, of what has more."""
        return Music(**{each.name: getattr(self, each.name) for each in fields(Music)})

    def said(self) -> dict[str, Any]:
        """The fields that are not None."""
        return {each.name: value for each in fields(Music) if (value := getattr(self, each.name)) is not None}

    def over(self, other: Music) -> Music:
        """This, and what it does not say from `other`."""
        return replace(other.music(), **Music.said(self))


def _bpm(name: str, value: Any) -> float | None:
    check_number(name, value, 20, 400)
    return None if value is None else float(value)


def _key(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text, came {short(value)}")
    try:
        return key_name(*key_of(value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _metre(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or value not in METRES):  # of which none is another misspelt
        raise ValueError(f"{name}: expected {', '.join(METRES)}; came {short(value)}")
    return value


def _chords(name: str, value: Any) -> str | None:
    if value is None:
        return None
    symbols = re.split(r"[\s,|]+", checked_text(value, name, such_as='name them, one a bar, for example "Am F C G"').strip(" |,"))
    for symbol in symbols:
        try:
            chord_tones(symbol)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return " ".join(symbols)


def _downbeat(name: str, value: Any) -> float | None:
    check_number(name, value, 0, 86400, unit=" s")
    return None if value is None else float(value)


MUSIC_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {"bpm": _bpm, "key": _key, "metre": _metre, "chords": _chords, "downbeat": _downbeat}


def in_few_words(said: Mapping[str, Any]) -> str:
    """Key, metre and tempo as far as they are said, as in "F minor, 3/4, 66 bpm"."""
    return ", ".join(f"{said[name]:g} bpm" if name == "bpm" else said[name] for name in ("key", "metre", "bpm") if said.get(name) is not None)


def in_words(text: str) -> Music:
    """What a text says outright: "132 bpm", "in F# minor", "3/4", "waltz"; what cannot be is not said."""
    bpm = next((float(found) for found in _BPM.findall(text) if 20 <= float(found) <= 400), None)
    key = next((match[1] for pattern in _KEYS if (match := pattern.search(text))), None)
    metre = _METRE.search(text)
    dance = next((metre for word, metre in DANCES.items() if has(text, word)), None)
    return Music(bpm=bpm, key=key, metre=metre[1] if metre else dance)


def settled(said: Music, prompt: str, seed: int, loop_seconds: float | None = None) -> Music:
    """What is said, else what the prompt says, else what fits its words, drawn from the seed; chords are not drawn.

    Each is drawn by itself: what is said of one changes nothing of another. No tempo and metre is drawn for words such as
    "rubato". Where chords are said the key is that of their tones. A loop of `loop_seconds` gets the nearest tempo to the drawn one at
    which it is whole bars.
    """
    from mousai.randomness import seed_of  # imports torch

    style, known = style_of(prompt), said.over(in_words(prompt))
    beatless = any(has(prompt, word) for word in NO_BEAT)
    draw = {name: random.Random(seed_of("music", seed, name)) for name in ("bpm", "key", "mode", "metre")}
    low, high = tempos(style, prompt)
    modes = [mode for mode in MODES if mode_named(prompt, mode)] or [mode for mode in MODES if mode_words(prompt, mode)]
    mode = modes[0] if len(modes) == 1 else "minor" if draw["mode"].random() < style.minor else "major"
    drawn = Music(
        bpm=None if beatless else draw["bpm"].randint(low, high),
        key=key_of_chords(known.chords.split()) if known.chords else key_name(draw["key"].randrange(12), mode),
        metre=None if beatless else draw["metre"].choice(style.metres),
    )
    music = known.over(drawn)
    if loop_seconds is not None and known.bpm is None and not beatless:
        beats = METRES[music.metre]
        bars = max(1, round(music.bpm * loop_seconds / 60 / beats))
        music = replace(music, bpm=round(60 * beats * bars / loop_seconds, 9))
    return music


def in_bars(bars: int, prompt: str, said: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """The seconds that so many bars of a piece last, and its tempo and metre, settled from what is `said` of it; ValueError if it has no beat."""
    check_number("bars", bars, 1, 10**6, whole=True)
    music = settled(Music(**{name: said.get(name) for name in MUSIC_CHECKS}), prompt, said.get("seed", 0))
    if music.bpm is None:
        raise ValueError("bars: the prompt says that there is no beat; give a bpm, or seconds")
    return bars * METRES[music.metre or "4/4"] * 60 / music.bpm, {"bpm": music.bpm, "metre": music.metre or "4/4"}


def style_of(prompt: str) -> Style:
    """The style that the longest of a prompt's words names; where it names several, the first of them."""
    named: dict[str, Style] = {}
    for style in STYLES.values():
        for words in (style.name.replace("_", " "), *style.phrases, *style.genre):
            named.setdefault(words, style)
    found = [words for words in named if has(prompt, words)]
    return named[max(found, key=len)] if found else ANY_STYLE


def tempos(style: Style, prompt: str) -> tuple[int, int]:
    """Lowest and highest tempo of a style at the pace that a prompt names; where they have none in common, of that pace."""
    low, high = style.bpm
    for word, (slowest, fastest) in PACES.items():
        if has(prompt, word):
            return (max(low, slowest), min(high, fastest)) if max(low, slowest) <= min(high, fastest) else (slowest, fastest)
    return low, high


def mode_named(prompt: str, mode: str) -> bool:
    """Whether a prompt says the mode, as in "a minor key" or "in minor"."""
    return any(has(prompt, words) for words in (f"{mode} key", f"{mode} mode", f"{mode} scale", f"in {mode}"))


def mode_words(prompt: str, mode: str) -> bool:
    """Whether a prompt has a mood that belongs to this mode alone."""
    other = "major" if mode == "minor" else "minor"
    own, others = ({word for style in STYLES.values() for word in style.moods.get(each, ())} for each in (mode, other))
    return any(has(prompt, word) for word in own - others)


def has(text: str, words: str) -> bool:
    """Whether a text has these words, as whole ones, in any case."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None
