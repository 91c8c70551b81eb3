"""What scores are like, as numbers: scale, harmony, rhythm, repetition; how far sets of them lie apart; and what is copied.

The distance is Fréchet's between Gaussians (as in Heusel et al., arXiv 1706.08500, and for music Retkowski et al., arXiv 2412.07948), here of features that a
musician can name (`FEATURES`), of windows of four bars in C major or A minor, which need no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mousai.symbolic.harmony import NO_CHORD, TRIADS, chords_of, weights
from mousai.symbolic.material import NEW, REST, halves, material_of
from mousai.symbolic.phrases import GRID, Bar, bars_of, on_grid
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score
from mousai.symbolic.sources import in_home_key
from mousai.theory import QUALITIES

WINDOW = 4  # bars of what the distance looks at
HOP = 2
MOST = 4.0  # standard deviations that a feature counts: one odd rhythm is not to weigh more than all else
COMPONENTS = 20  # principal ones of the features that the distance is taken in
LAGS = (1, 2, 4, 8)  # bars
RUNS = (8, 12, 16, 24, 32)  # steps of the runs that are looked for
FEATURES = (
    *(f"share of pitch class {n}" for n in range(12)), *(f"share of onsets at {n}/12 of a quarter" for n in range(12)),
    *(f"share of lengths up to {n} quarters" for n in ("1/4", "1/2", "1", "2", "4", "more")),
    *(f"share of steps of the top line: {n}" for n in ("same", "to 2 up", "to 4 up", "to 7 up", "more up", "to 2 down", "to 4 down", "to 7 down", "more down")),
    "notes a quarter", "share of drums", "parts that play", "mean pitch", "spread of pitch", "notes that begin together", "bars alike at 1", "bars alike at 2",
)  # fmt: skip


def columns(score: Score) -> dict[str, float]:
    """Share of notes on eighths, entropy of pitch classes (bits), share of sound in the half bar's chord, share of bars that a track repeats, notes
    a bar, groove (1 - mean Hamming distance of the onsets of neighbouring bars), and `alike` at 1, 2, 4 and 8 bars.
    """
    there, material = on_grid(score), material_of(score)
    starts = np.concatenate([part.notes[:, START] for part in there.parts])
    classes = weights(there)
    shares = classes[classes > 0] / max(classes.sum(), 1e-9)
    bars = bars_of(there)
    spans = halves(bars)
    chords = chords_of(Score(there.ticks, there.parts, there.tempos, there.metres, there.keys), spans)  # of the notes, not those that are written
    inside = [weights(there, *span)[[(chord % 12 + step) % 12 for step in QUALITIES[TRIADS[chord // 12]]]].sum() for span, chord in zip(spans, chords) if chord != NO_CHORD]
    played = material.acts[material.acts != REST]
    rows = [np.isin(np.arange(bar.length), starts - bar.start) for bar in bars]
    groove = [1 - np.mean(one != other) for one, other in zip(rows, rows[1:]) if len(one) == len(other)]
    return {
        "on eighths": float(np.mean(starts % (GRID // 2) == 0)), "pitch entropy": float(-(shares * np.log2(shares)).sum()), "in chords": float(sum(inside) / max(classes.sum(), 1e-9)),
        "repeated": float(np.mean(played != NEW)) if len(played) else 0.0, "notes a bar": there.num_notes / max(len(rows), 1), "groove": float(np.mean(groove)) if groove else 0.0,
        **{f"alike at {lag}": value for lag, value in zip(LAGS, alike(there, bars))},
    }  # fmt: skip


def alike(score: Score, bars: Sequence[Bar], lags: Sequence[int] = LAGS) -> list[float]:
    """How alike bars so far apart are: the share of their notes (part, place, pitch) that both have, of all that either has; nan where there are none."""
    contents = [set[tuple[int, int, int]]() for _ in bars]
    edges = np.array([bar.start for bar in bars])
    for number, part in enumerate(score.parts):
        place = np.searchsorted(edges, part.notes[:, START], side="right") - 1
        for bar, start, pitch in zip(place.tolist(), part.notes[:, START].tolist(), part.notes[:, PITCH].tolist()):
            contents[bar].add((number, start - bars[bar].start, pitch))
    found = []
    for lag in lags:
        shared = [len(a & b) / len(a | b) for a, b in zip(contents, contents[lag:]) if a or b]
        found.append(float(np.mean(shared)) if shared else float("nan"))
    return found


# The distance between sets


def windows(score: Score) -> np.ndarray:
    """`FEATURES` `(windows, features)` of every four bars of a score in its home key, two further each time; of what has fewer, none."""
    home = in_home_key(score)[0]
    bars, found = bars_of(home), []
    for first in range(0, len(bars) - WINDOW + 1, HOP):
        some = bars[first : first + WINDOW]
        start, end = some[0].start, some[-1].start + some[-1].length
        parts = [Part(p.name, p.program, p.drums, p.notes[(p.notes[:, START] >= start) & (p.notes[:, START] < end)]) for p in home.parts]
        if any(len(part.notes) for part in parts):
            found.append(_features([part for part in parts if len(part.notes)], some))
    return np.array(found).reshape(-1, len(FEATURES))


def _features(parts: list[Part], bars: Sequence[Bar]) -> np.ndarray:
    pitched = [part for part in parts if not part.drums]
    notes = np.concatenate([part.notes for part in parts])
    tones = np.concatenate([part.notes for part in pitched]) if pitched else np.zeros((0, 4), np.int64)
    quarters = sum(bar.length for bar in bars) / GRID
    top = {int(note[START]): int(note[PITCH]) for note in tones[np.lexsort((tones[:, PITCH], tones[:, START]))]}
    steps = np.diff(list(top.values()))
    kinds = np.where(steps == 0, 0, 1 + np.searchsorted([2, 4, 7], np.abs(steps)) + 4 * (steps < 0))
    lengths = np.searchsorted(np.array([3, 6, 12, 24, 48]), notes[:, LENGTH])
    together = len(notes) - len(np.unique(notes[:, START]))
    return np.concatenate([
        _shares(tones[:, PITCH] % 12, 12, tones[:, LENGTH]), _shares(notes[:, START] % GRID, GRID), _shares(lengths, 6), _shares(kinds, 9),
        [len(notes) / quarters, 1 - len(tones) / len(notes), len(parts), tones[:, PITCH].mean() if len(tones) else 60.0, tones[:, PITCH].std() if len(tones) else 0.0, together / len(notes)],
        np.nan_to_num(alike(Score(GRID, tuple(parts)), bars, (1, 2))),
    ])  # fmt: skip


def _shares(classes: np.ndarray, count: int, weight: np.ndarray | None = None) -> np.ndarray:
    found = np.bincount(classes, weight, count).astype(float)
    return found / max(found.sum(), 1e-9)


class Space:
    """Where distances are taken: `COMPONENTS` principal components of features, each of unit variance and within `MOST` before, as in the windows `(n, features)` it is made of."""

    def __init__(self, known: np.ndarray) -> None:
        self.mean, self.scale = known.mean(0), np.maximum(known.std(0), 1e-3)
        _, _, axes = np.linalg.svd(self._normal(known), full_matrices=False)
        self.axes = axes[:COMPONENTS].T

    def distance(self, one: np.ndarray, other: np.ndarray) -> float:
        """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of two sets of windows."""
        (mean, spread), (mean_other, spread_other) = (self._gaussian(windows) for windows in (one, other))
        values, vectors = np.linalg.eigh(spread)
        root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
        cross = np.sqrt(np.linalg.eigvalsh(root @ spread_other @ root).clip(min=0)).sum()
        return float(((mean - mean_other) ** 2).sum() + np.trace(spread) + np.trace(spread_other) - 2 * cross)

    def _normal(self, windows: np.ndarray) -> np.ndarray:
        return ((windows - self.mean) / self.scale).clip(-MOST, MOST)

    def _gaussian(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = self._normal(windows) @ self.axes
        return there.mean(0), np.cov(there, rowvar=False)


# What is copied


def runs_of(score: Score) -> list[list[tuple[int, int]]]:
    """Each pitched part's top line as (interval, time to the next) steps, in ticks of the grid."""
    found = []
    for part in on_grid(score).parts:
        if not part.drums:
            top = {int(note[START]): note for note in part.notes}  # notes are in the order of pitch
            line = [top[start] for start in sorted(top)]
            found.append([(int(b[PITCH] - a[PITCH]), int(b[START] - a[START])) for a, b in zip(line, line[1:])])
    return found


def index_of(scores: Iterable[Score]) -> set[int]:
    """All runs of `RUNS` steps, by their hashes."""
    known: set[int] = set()
    for score in scores:
        for line in runs_of(score):
            for size in RUNS:
                known.update(hash(tuple(line[i : i + size])) for i in range(len(line) - size + 1))
    return known


def longest_shared(score: Score, known: set[int]) -> int:
    """The largest of the sizes of `index_of` of which the score has a run that is known, in notes; runs of two kinds of steps or fewer do not count."""
    best = 0
    for line in runs_of(score):
        for size in RUNS:
            if any(len(set(run)) > 2 and hash(run) in known for i in range(len(line) - size + 1) for run in [tuple(line[i : i + size])]):
                best = max(best, size + 1)
    return best


# What there is to be better than


class Markov:
    """The next token by the last four, as often as it followed them; where nothing did, by the last three, and so on."""

    ORDER = 4

    def __init__(self, streams: Iterable[Sequence[int]]) -> None:
        self.counts: list[dict[tuple[int, ...], Counter[int]]] = [{} for _ in range(self.ORDER + 1)]
        for stream in streams:
            for place, token in enumerate(stream):
                for order in range(min(self.ORDER, place) + 1):
                    self.counts[order].setdefault(tuple(stream[place - order : place]), Counter())[token] += 1

    def draw(self, begin: Sequence[int], bar: int, bars: int, rng: np.random.Generator) -> list[int]:
        """Tokens after `begin` until as many bars, each begun by the token `bar`, are whole."""
        made = list(begin)
        begun = made.count(bar)
        while len(made) < 256 * bars:
            counts = next(counts for order in range(self.ORDER, -1, -1) if (counts := self.counts[order].get(tuple(made[len(made) - order :]))))
            token = int(rng.choice(list(counts), p=np.array(list(counts.values())) / counts.total()))
            begun += token == bar
            if begun > bars:
                break
            made.append(token)
        return made


def shuffled(score: Score, rng: np.random.Generator) -> Score:
    """The same bars in another order; only bars of the first one's length are left."""
    there = on_grid(score)
    bars = [bar for bar in bars_of(there) if bar.length == bars_of(there)[0].length]
    order = rng.permutation(len(bars))
    parts = []
    for part in there.parts:
        rows = [part.notes[(part.notes[:, START] >= bars[i].start) & (part.notes[:, START] < bars[i].start + bars[i].length)] - [bars[i].start - bars[0].start - place * bars[0].length, 0, 0, 0] for place, i in enumerate(order)]
        parts.append(Part(part.name, part.program, part.drums, np.concatenate(rows)))
    return Score(there.ticks, tuple(part for part in parts if len(part.notes)), there.tempos[:1], there.metres[:1], there.keys[:1])


def cut(score: Score, bars: int) -> Score:
    """The first bars of a score, without parts that rest in them."""
    there = on_grid(score)
    edges = there.bars()[:bars]
    end = edges[-1][0] + edges[-1][1]
    parts = tuple(Part(part.name, part.program, part.drums, part.notes[part.notes[:, START] < end]) for part in there.parts)
    return Score(there.ticks, tuple(part for part in parts if len(part.notes)), there.tempos, there.metres, there.keys)
