"""How well infilling fits held-out scores, beside copying the bar before, and the same bars of another piece.

    python tools/bench/infill.py --model starter-symbolic --real practice_scores/manifest.jsonl --scores 40 --bars 4 --out figures

Of each held-out score one pitched track is taken out for so many bars in the middle. Columns: overlap of pitch classes with what was there, bar by bar; share of pitched sound in
the chords that the other tracks have; onsets at the positions where there were some (F1); pitch and position together (F1); semitones by which the mean pitch jumps at the region's two
bounds; notes beside what was there. The chord track, where a score has one, is not heard.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.pipelines.symbolic import load  # noqa: E402
from mousai.request.score import Infill  # noqa: E402
from mousai.symbolic.excerpt import Region, region_of, without  # noqa: E402
from mousai.symbolic.harmony import NO_CHORD, chords_of, key_of_score, moved, weights  # noqa: E402
from mousai.symbolic.material import halves  # noqa: E402
from mousai.symbolic.phrases import bars_of, on_grid  # noqa: E402
from mousai.symbolic.score import PITCH, START, Part, Score, notes_of  # noqa: E402
from mousai.symbolic.sources import open_scores, read_scores  # noqa: E402

TRIADS = ((0, 4, 7), (0, 3, 7), (0, 3, 6))


def region_in(score: Score, bars: int) -> Region | None:
    """So many bars in the middle of a pitched track that plays in all of them and in those beside; of several the one that plays most."""
    there = score.bars()
    first = len(there) // 2 - bars // 2
    if first < 2 or first + bars + 2 > len(there):
        return None
    spans = there[first - 1 : first + bars + 1]
    for number in sorted(range(len(score.parts)), key=lambda i: -len(score.parts[i].notes)):
        starts = score.parts[number].notes[:, START]
        if not score.parts[number].drums and len(score.parts) > 1 and all(((starts >= start) & (starts < start + length)).any() for start, length in spans):
            return region_of(score, Infill((first + 1, first + bars), (str(number + 1),)))
    return None


def inside(part: Part, start: int, end: int) -> np.ndarray:
    return part.notes[(part.notes[:, START] >= start) & (part.notes[:, START] < end)]


def copied(score: Score, region: Region) -> Score:
    """The bar before the region in each of its bars."""
    (start, length), part = score.bars()[region.first - 1], score.parts[region.parts[0]]
    rows = [inside(part, start, start + length) + np.array([bar - start, 0, 0, 0]) for bar, _ in score.bars()[region.first : region.last]]
    return put(score, region, np.concatenate(rows))


def foreign(score: Score, region: Region, other: Score, other_region: Region) -> Score:
    """What another piece has there, in this one's key."""
    (root, _), (mine, _) = key_of_score(other), key_of_score(score)
    scaled = on_grid(moved(other, (mine - root + 6) % 12 - 6))
    start = round(other_region.start * scaled.ticks / other.ticks)
    rows = inside(scaled.parts[other_region.parts[0]], start, round(other_region.end * scaled.ticks / other.ticks)) + np.array([region.start - start, 0, 0, 0])
    return put(score, region, rows[rows[:, START] < region.end])


def put(score: Score, region: Region, rows: np.ndarray) -> Score:
    parts = list(without(score, region).parts)
    parts[region.parts[0]] = replace(parts[region.parts[0]], notes=notes_of(np.concatenate([parts[region.parts[0]].notes, rows])))
    return replace(score, parts=tuple(parts))


def f1(one: set, other: set) -> float:
    return 2 * len(one & other) / max(len(one) + len(other), 1)


def measured(true: Score, made: Score, region: Region) -> dict[str, float]:
    was, now = (inside(score.parts[region.parts[0]], region.start, region.end) for score in (true, made))
    alone = [replace(score, parts=(replace(score.parts[region.parts[0]], notes=notes),)) for score, notes in ((true, was), (made, now))]
    overlap = []
    for bar in bars_of(true)[region.first : region.last]:
        shares = [weights(score, bar.start, bar.start + bar.length) for score in alone]
        if shares[0].sum():
            overlap.append(np.minimum(*(share / max(share.sum(), 1e-9) for share in shares)).sum())
    spans = halves(bars_of(true)[region.first : region.last])
    fits = total = 0.0
    for span, chord in zip(spans, chords_of(without(true, region), spans).tolist(), strict=True):
        sound = weights(alone[1], *span)
        if chord != NO_CHORD:
            fits, total = fits + sound[[(chord % 12 + step) % 12 for step in TRIADS[chord // 12]]].sum(), total + sound.sum()
    part, own = true.parts[region.parts[0]], true.bars()
    before, after = inside(part, own[region.first - 1][0], region.start), inside(part, region.end, region.end + own[region.last][1])
    bounds = [(before, inside(made.parts[region.parts[0]], region.start, sum(own[region.first]))), (inside(made.parts[region.parts[0]], own[region.last - 1][0], region.end), after)]
    jumps = [abs(a[:, PITCH].mean() - b[:, PITCH].mean()) for a, b in bounds if len(a) and len(b)]
    return {
        "pitch classes": float(np.mean(overlap)), "in chords": fits / total if total else np.nan, "onsets": f1(set(was[:, START].tolist()), set(now[:, START].tolist())),
        "notes": f1(set(map(tuple, was[:, [START, PITCH]].tolist())), set(map(tuple, now[:, [START, PITCH]].tolist()))), "jump": float(np.mean(jumps)) if jumps else np.nan,
        "as many": len(now) / len(was),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--real", required=True, help="a folder or manifest of scores")
    parser.add_argument("--scores", type=int, default=40)
    parser.add_argument("--bars", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    composer, found = load(options.model), []
    for piece, score in read_scores([piece for piece in open_scores(options.real) if piece.split == "valid"]):
        bare = on_grid(replace(score, chords=()))
        if region := region_in(bare, options.bars):
            found.append((piece.metadata.get("style", ""), bare, region))
        if len(found) == options.scores:
            break
    rows: dict[str, list[dict[str, float]]] = {"infilled": [], "bar before": [], "another piece": [], "what was there": []}
    for number, (style, score, region) in enumerate(found):
        other = found[(number + 1) % len(found)]
        made = composer.infill(score, (region.first + 1, region.last), str(region.parts[0] + 1), style.replace("_", " "), seed=number, guidance=options.guidance)
        scores = {"infilled": made, "bar before": copied(score, region), "another piece": foreign(score, region, other[1], other[2]), "what was there": score}
        for kind, each in scores.items():
            rows[kind].append(measured(score, each, region))
    table = {kind: {name: round(float(np.nanmean([row[name] for row in some])), 3) for name in some[0]} | {"scores": len(some)} for kind, some in rows.items()}
    for kind, figures in table.items():
        print(f"{kind:<15}" + "  ".join(f"{name} {value:g}" for name, value in figures.items()))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "infill.json").write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
