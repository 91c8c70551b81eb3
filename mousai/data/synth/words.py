"""What the manifest says of a piece: its fields, and a caption that says some of them in changing words."""

from __future__ import annotations

import numpy as np

from mousai.data.captions import tempo_word
from mousai.data.synth.score import Score
from mousai.data.synth.styles import Style
from mousai.data.synth.theory import FLAT_NAMES, SHARP_NAMES
from mousai.data.synth.voices import VOICES
from mousai.theory import key_name

TEMPO_WORDS = {
    "slow": ("slow", "slow tempo", "unhurried", "at a slow pace"),
    "medium tempo": ("medium tempo", "mid-tempo", "moderate tempo"),
    "fast": ("fast", "up-tempo", "quick", "at a fast pace"),
}
SAYS = {"tempo": 0.8, "key": 0.6, "mood": 0.8, "instruments": 0.45, "metre": 0.5}  # how often a caption does
SAYS_FOUR_FOUR = 0.05


def describe(style: Style, score: Score, seconds: float, rng: np.random.Generator) -> dict:
    """The fields of a piece's line in the manifest; times are seconds of the clip.

    first_beat is the first beat of any number, downbeats are the bars'; beats are 60 / bpm apart. sections and chords
    are lists [start, name], a section in another key has it as a third item.
    parts names the stems.
    """
    moods = list(style.moods[score.mode])
    instruments = list(dict.fromkeys(VOICES[voice].words for voice in score.voices.values() if VOICES[voice].words))
    return {
        "style": style.name,
        "genre": list(style.genre),
        "mood": moods,
        "instruments": instruments,
        "bpm": round(score.bpm),
        "pace": tempo_word(score.bpm),
        "key": key_name(score.root, score.mode),
        "metre": score.metre.name,
        "caption": caption(style, score, moods, instruments, rng),
        "swing": round(score.swing, 3),
        "first_beat": score.first_beat(),
        "downbeats": score.downbeats(seconds),
        "sections": score.sections(seconds),
        "chords": score.chords(seconds),
        "parts": list(score.parts),
    }


def caption(style: Style, score: Score, moods: list[str], instruments: list[str], rng: np.random.Generator) -> str:
    """A sentence or a list of tags: always the style, and each of the rest now and then."""
    says = {field: rng.random() < share for field, share in SAYS.items()}
    phrase = _one(style.phrases, rng)
    mood = _one(moods, rng) if says["mood"] else ""
    tempo = _tempo(score.bpm, rng) if says["tempo"] else ""
    key = _key(score, rng) if says["key"] else ""
    metre = _metre(score, rng) if says["metre"] else ""
    played = _played(phrase, instruments, rng) if says["instruments"] else ""
    if rng.random() < 0.5:
        tags = [text for text in (f"{mood} {phrase}".strip(), tempo, key.removeprefix("in "), metre, played.removeprefix("with ")) if text]
        first, rest = tags[0], tags[1:]
        rng.shuffle(rest)
        return ", ".join([first, *rest] if rng.random() < 0.7 else [*rest, first])
    before = tempo if tempo in ("slow", "fast", "quick", "up-tempo", "mid-tempo", "unhurried") else ""
    after = "" if before else tempo if tempo.startswith("at ") else f"at {tempo}" if tempo else ""
    text = " ".join(part for part in (before, mood, phrase, played, key, after) if part)
    return f"{text}, {metre}" if metre else text


def _one(options, rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _tempo(bpm: float, rng: np.random.Generator) -> str:
    """In numbers three times of five, else in words."""
    number = f"{bpm:.0f}"
    if rng.random() < 0.6:
        return _one((f"{number} bpm", f"{number} BPM", f"{number} bpm", f"{number} beats per minute"), rng)
    return _one(TEMPO_WORDS[tempo_word(bpm)], rng)


def _key(score: Score, rng: np.random.Generator) -> str:
    name = key_name(score.root, score.mode)
    other = FLAT_NAMES[score.root] if name[1] == "#" else SHARP_NAMES[score.root]
    return _one((f"in {name}", f"in {name}", f"in {name}", f"in {other} {score.mode}", f"in a {score.mode} key"), rng)


def _metre(score: Score, rng: np.random.Generator) -> str:
    if score.metre.name == "4/4":
        return _one(("4/4", "in four"), rng) if rng.random() < SAYS_FOUR_FOUR / SAYS["metre"] else ""
    return _one({"3/4": ("3/4", "in 3/4", "waltz time", "in three"), "6/8": ("6/8", "in 6/8 time"), "12/8": ("12/8", "12/8 shuffle")}[score.metre.name], rng)


def _played(phrase: str, instruments: list[str], rng: np.random.Generator) -> str:
    """Up to three instruments that the phrase does not name."""
    others = [name for name in instruments if name.split()[0] not in phrase]
    chosen = [others[i] for i in rng.permutation(len(others))[: int(rng.integers(1, 4))]]
    if not chosen:
        return ""
    return "with " + (" and ".join([", ".join(chosen[:-1]), chosen[-1]]) if len(chosen) > 1 else chosen[0])
