"""What composed scores are like beside held-out ones, and beside what is easy: a Markov model, and held-out bars in another order.

    python tools/bench/scores.py --model starter-symbolic --real practice_scores/manifest.jsonl lieder --bars 16 --each 3 --out figures

For each style of the model that the real scores have, `--each` pieces are composed and as many held-out ones are taken, cut to as many bars.
Columns are those of `mousai.evaluation.scores.columns`, the Fréchet distance to `TRAINING` training scores of each style (the first row is of as many others of them, and
says what that distance is by chance), and the longest run of notes (steps and lengths) shared with any training score, in notes: its mean, and how many pieces have one at all. The Markov model is of the fourth order, over REMI+ tokens of a style's training scores.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.evaluation.scores import Markov, Space, columns, cut, index_of, longest_shared, shuffled, windows  # noqa: E402
from mousai.pipelines.symbolic import Symbolic, load  # noqa: E402
from mousai.symbolic.prior_data import style_of_source  # noqa: E402
from mousai.symbolic.score import Score  # noqa: E402
from mousai.symbolic.sources import in_home_key, open_scores, read_scores  # noqa: E402
from mousai.symbolic.tokens import Tokenizer  # noqa: E402

TRAINED_ON = 60  # scores of each style that the Markov model counts
TRAINING = 12  # scores of each style that all rows are measured against
ROWS = ("training", "held out", "composed", "Markov", "shuffled")


def by_style(specs: list[str], split: str, styles: tuple[str, ...]) -> dict[str, list[Score]]:
    """The scores of a split that are of the model's styles."""
    found: dict[str, list[Score]] = {}
    for spec in specs:
        pieces = [piece for piece in open_scores(spec) if piece.split == split]
        for piece, score in read_scores(pieces):
            style = piece.metadata.get("style") or style_of_source(spec)
            if style in styles and score.num_notes:
                found.setdefault(style, []).append(score)
    return found


def chained(scores: list[Score], bars: int, count: int, rng: np.random.Generator) -> list[Score]:
    """Pieces by a Markov model of the tokens of scores in their home keys; what it begins with is the first bar's head of one of them."""
    tokenizer = Tokenizer()
    bar = tokenizer.vocabulary["Bar_None"]
    streams = [tokenizer.encode(in_home_key(score)[0]) for score in scores[:TRAINED_ON]]
    model = Markov(streams)
    return [tokenizer.decode(model.draw(streams[i % len(streams)][: Markov.ORDER], bar, bars, rng)) for i in range(count)]


def pieces_of(composer: Symbolic, train: dict[str, list[Score]], valid: dict[str, list[Score]], bars: int, each: int) -> dict[str, list[Score]]:
    """The rows' scores."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Score]] = {name: [] for name in ROWS}
    for style in sorted(valid.keys() & train.keys()):
        real = [cut(score, bars) for score in valid[style][:each]]
        rows["training"] += [cut(score, bars) for score in train[style][TRAINING : TRAINING + each]]
        rows["held out"] += real
        rows["shuffled"] += [shuffled(score, rng) for score in real]
        rows["Markov"] += [cut(score, bars) for score in chained(train[style], bars, each, rng) if score.num_notes]
        rows["composed"] += [composer.compose(style.replace("_", " "), bars=bars, seed=seed) for seed in range(each)]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--real", required=True, nargs="+", help="folders or manifests of scores")
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    composer = load(options.model)
    train, valid = (by_style(options.real, split, composer.prior.config.styles) for split in ("train", "valid"))
    rows = pieces_of(composer, train, valid, options.bars, options.each)
    known = index_of(score for scores in train.values() for score in scores)
    trained = np.concatenate([windows(cut(score, options.bars)) for scores in train.values() for score in scores[:TRAINING]])
    space = Space(trained)
    table = {}
    for name, scores in ((name, scores) for name, scores in rows.items() if scores):
        found, seen = [columns(score) for score in scores], np.concatenate([windows(score) for score in scores])
        runs = [longest_shared(score, known) for score in scores]
        table[name] = {column: round(float(np.nanmean([row[column] for row in found])), 3) for column in found[0]} | {
            "distance": round(space.distance(seen, trained), 2), "shared run": round(float(np.mean(runs)), 1), "with one": f"{sum(run > 0 for run in runs)} of {len(runs)}",
        }  # fmt: skip
    names = list(next(iter(table.values())))
    print(f"| | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for name, figures in table.items():
        print(f"| {name} | {' | '.join(str(figures[column]) for column in names)} |")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "scores.json").write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
