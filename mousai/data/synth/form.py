"""The form of a piece: which sections come, how many bars each has, what chords they hold and how full they are."""

from __future__ import annotations

import numpy as np

from mousai.data.synth.harmony import PROGRESSIONS
from mousai.data.synth.score import Bar, Metre, Span
from mousai.data.synth.theory import Chord, roman

FORMS = {
    "song": ("intro", "verse", "chorus", "verse", "chorus", "bridge", "chorus", "outro"),
    "dance": ("intro", "build", "drop", "breakdown", "build", "drop", "outro"),
    "beat": ("intro", "verse", "chorus", "verse", "bridge", "chorus"),
    "theme": ("theme", "theme", "contrast", "theme", "contrast", "theme", "coda"),
    "jazz": ("theme", "solo", "solo", "theme"),
    "drift": ("opening", "swell", "calm", "swell", "calm"),
}
ENERGY = {
    "intro": 0.4, "verse": 0.6, "chorus": 0.95, "bridge": 0.5, "outro": 0.4, "build": 0.65, "drop": 1.0, "breakdown": 0.3,
    "theme": 0.65, "contrast": 0.85, "coda": 0.5, "solo": 0.85, "opening": 0.4, "swell": 0.9, "calm": 0.5,
}  # fmt: skip
CHANGES_KEY = 0.12  # how often a second chorus is a step higher


def build(
    num_bars: int, form: str, family: str, root: int, mode: str, metre: Metre, rng: np.random.Generator
) -> list[Bar]:
    """At least `num_bars` bars of sections that follow one another as in the form.

    Sections of one name share their chords. A section has 2, 4 or 8 bars, so that a short clip seldom is all one.
    """
    length = _section_bars(num_bars, rng)
    progressions: dict[str, list[list[Chord]]] = {}
    bars: list[Bar] = []
    shift = 0
    for name in _order(FORMS[form], -(-num_bars // length), rng):
        if name == "chorus" and "chorus" in progressions and not shift and rng.random() < CHANGES_KEY:
            shift = int(rng.integers(1, 3))
        if name not in progressions:
            progressions[name] = _section_chords(family, mode, root, rng, list(progressions.values()))
        bars += _section(name, length, progressions[name], shift, len(bars), metre)
    return bars


def _order(form: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    """`count` sections in a row of a form, from any place; of a long piece all, its middle as often as needed."""
    if count <= len(form):
        at = int(rng.integers(len(form) - count + 1))
        return list(form[at : at + count])
    middle = (form[1:-1] * (count // len(form[1:-1]) + 1))[: count - 2]
    return [form[0], *middle, form[-1]]


def _section_bars(num_bars: int, rng: np.random.Generator) -> int:
    if num_bars <= 4:
        return int(rng.choice([2, 4]))
    if num_bars <= 12:
        return 4
    return int(rng.choice([4, 8]))


def _section_chords(
    family: str, mode: str, root: int, rng: np.random.Generator, taken: list[list[list[Chord]]]
) -> list[list[Chord]]:
    """A progression that no other section has, where there is one: the chords of each of its bars."""
    texts = PROGRESSIONS[family][mode]
    for i in rng.permutation(len(texts)):
        bars = [[roman(numeral, root) for numeral in bar.split()] for bar in texts[i].split("|")]
        if bars not in taken:
            break
    return bars


def _section(name: str, length: int, chords: list[list[Chord]], shift: int, first: int, metre: Metre) -> list[Bar]:
    bars = []
    for place in range(length):
        start = float((first + place) * metre.beats)
        spans = _spans([chord.moved(shift) for chord in chords[place % len(chords)]], start, metre)
        rise = 0.25 * place / length if name in ("build", "swell") else 0.0
        energy = min(ENERGY[name] + rise, 1.0)
        bars.append(Bar(start, name, place, place == length - 1, energy, shift, spans))
    return bars


def _spans(chords: list[Chord], start: float, metre: Metre) -> tuple[Span, ...]:
    """One chord fills the bar; of two, the first has the larger half."""
    if len(chords) == 1:
        return (Span(start, float(metre.beats), chords[0]),)
    first = float((metre.beats + 1) // 2)
    return Span(start, first, chords[0]), Span(start + first, metre.beats - first, chords[1])
