"""What composed scores are like beside held-out ones: scale, harmony, rhythm, repetition, and how much is copied.

    python tools/bench/scores.py --model starter-symbolic --real practice_scores/manifest.jsonl --bars 32 --each 2 --out figures

For each style of the model that the real scores have, `--each` pieces are composed and as many held-out ones are taken, cut to as many bars. Columns: share of
notes on eighths, entropy of pitch classes (bits), share of pitched notes in the chords that their half bar has most of, share of bars that a track repeats from one, two, four or
eight bars before, notes a bar, groove consistency (1 - mean Hamming distance of the onsets of neighbouring bars), and the longest run of notes (steps and lengths) shared with any training
score, in notes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.pipelines.symbolic import load  # noqa: E402
from mousai.symbolic.harmony import NO_CHORD, chords_of, weights  # noqa: E402
from mousai.symbolic.material import NEW, REST, halves, material_of  # noqa: E402
from mousai.symbolic.phrases import GRID, bars_of, on_grid  # noqa: E402
from mousai.symbolic.score import PITCH, START, Part, Score  # noqa: E402
from mousai.symbolic.sources import open_scores, read_scores  # noqa: E402



def measured(score: Score) -> dict[str, float]:
    """The columns of one score, but for what it shares with others."""
    there, material = on_grid(score), material_of(score)
    starts = np.concatenate([part.notes[:, START] for part in there.parts])
    classes = weights(there)
    shares = classes[classes > 0] / max(classes.sum(), 1e-9)
    spans = halves(bars_of(there))
    bare = Score(there.ticks, there.parts, there.tempos, there.metres, there.keys)
    chords = chords_of(bare, spans)
    inside = [weights(there, *span)[[(chord % 12 + step) % 12 for step in ((0, 4, 7), (0, 3, 7), (0, 3, 6))[chord // 12]]].sum() for span, chord in zip(spans, chords) if chord != NO_CHORD]
    played = material.acts[material.acts != REST]
    rows = [np.isin(np.arange(bar.length), starts - bar.start) for bar in bars_of(there)]
    groove = [1 - np.mean(one != other) for one, other in zip(rows, rows[1:]) if len(one) == len(other)]
    return {
        "on eighths": float(np.mean(starts % (GRID // 2) == 0)), "pitch entropy": float(-(shares * np.log2(shares)).sum()), "in chords": float(sum(inside) / max(classes.sum(), 1e-9)),
        "repeated": float(np.mean(played != NEW)) if len(played) else 0.0, "notes a bar": there.num_notes / max(len(rows), 1), "groove": float(np.mean(groove)) if groove else 0.0,
    }  # fmt: skip


def runs_of(score: Score) -> list[list[tuple[int, int]]]:
    """Each pitched part's top line as (interval, length) steps."""
    found = []
    for part in on_grid(score).parts:
        if not part.drums:
            top = {int(note[START]): note for note in part.notes}  # notes are in the order of pitch
            line = [top[start] for start in sorted(top)]
            found.append([(int(b[PITCH] - a[PITCH]), int(b[START] - a[START])) for a, b in zip(line, line[1:])])
    return found


def index_of(scores: Iterable[Score]) -> set[tuple]:
    """All runs of 8, 12, 16, 24 and 32 steps."""
    known: set[tuple] = set()
    for score in scores:
        for line in runs_of(score):
            for size in (8, 12, 16, 24, 32):
                known.update(tuple(line[i : i + size]) for i in range(len(line) - size + 1))
    return known


def longest_shared(score: Score, known: set[tuple]) -> int:
    """The largest of the sizes of `index_of` of which the score has a run that is known, in notes; runs on one pitch and length do not count."""
    best = 0
    for line in runs_of(score):
        for size in (8, 12, 16, 24, 32):
            if any(run in known and len(set(run)) > 2 for i in range(len(line) - size + 1) for run in [tuple(line[i : i + size])]):
                best = max(best, size + 1)
    return best


def cut(score: Score, bars: int) -> Score:
    """The first bars of a score."""
    there = on_grid(score)
    edges = there.bars()[:bars]
    end = edges[-1][0] + edges[-1][1]
    parts = tuple(Part(part.name, part.program, part.drums, part.notes[part.notes[:, START] < end]) for part in there.parts)
    return Score(there.ticks, tuple(part for part in parts if len(part.notes)), there.tempos, there.metres, there.keys)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--real", required=True, help="a manifest of scores with styles")
    parser.add_argument("--bars", type=int, default=32)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    composer, pieces = load(options.model), open_scores(options.real)
    known = index_of(score for _, score in read_scores([piece for piece in pieces if piece.split == "train"]))
    rows: dict[str, list[dict[str, float]]] = {"composed": [], "held out": []}
    for style in dict.fromkeys(piece.metadata.get("style", "") for piece in pieces):
        if style not in composer.prior.config.styles:
            continue
        real = [piece for piece in pieces if piece.metadata.get("style") == style and piece.split == "valid"][: options.each]
        scores = {"held out": [cut(score, options.bars) for _, score in read_scores(real)]}
        scores["composed"] = [composer.compose(style.replace("_", " "), bars=options.bars, seed=seed) for seed in range(options.each)]
        for kind, some in scores.items():
            rows[kind] += [{**measured(score), "shared run": longest_shared(score, known)} for score in some]
    table = {kind: {name: round(float(np.mean([row[name] for row in found])), 3) for name in found[0]} | {"scores": len(found)} for kind, found in rows.items() if found}
    for kind, figures in table.items():
        print(f"{kind:<10}" + "  ".join(f"{name} {value:g}" for name, value in figures.items()))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "scores.json").write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
