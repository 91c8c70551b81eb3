"""Whether composed scores are what was asked for, heard in their notes, beside what was asked for of another piece.

    python tools/bench/score_controls.py --model starter-symbolic --real practice_scores/manifest.jsonl --each 2 --bars 8 --out figures

For each style `--each` pieces are composed in a key, a metre and at a density drawn from the seed. "asked" is how well the notes agree with what that piece was asked for,
"swapped" how well with what the next one was. Key: the key heard in the notes, whatever the file says, is the one asked for or its relative. Metre: how many
notes begin at bar lines beside the mean of all quarters. Density: which of two densities was asked for, half and twice as much, all else alike.
Register and polyphony: correlation over the parts of what each was told with its mean pitch and the notes that it sounds together. Style: a judge, trained on
the windows of training scores (`mousai.evaluation.scores.FEATURES`), names it; the last row is of pieces that were told no style but the prompt's embedding, where
the model has learned of texts. Sound: correlation of the chroma of each quarter, as the own instruments play it, with the score's; "swapped" is with that of four quarters later.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.evaluation.scores import cut, windows  # noqa: E402
from mousai.pipelines.symbolic import Symbolic, load  # noqa: E402
from mousai.request.score import ScoreRequest  # noqa: E402
from mousai.symbolic.composer import Composer  # noqa: E402
from mousai.symbolic.harmony import key_of_score, weights  # noqa: E402
from mousai.symbolic.material import POLYPHONIES, voices_of  # noqa: E402
from mousai.symbolic.phrases import GRID, on_grid  # noqa: E402
from mousai.symbolic.plan import Plan, plan_of  # noqa: E402
from mousai.symbolic.score import PITCH, START, Score  # noqa: E402
from mousai.symbolic.sound import SAMPLE_RATE, play  # noqa: E402
from mousai.symbolic.sources import open_scores, read_scores  # noqa: E402

KEYS = tuple(f"{root} {mode}" for root in ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B") for mode in ("major", "minor"))
METRES = ("4/4", "3/4", "6/8")
TRAINING, HELD_OUT = 30, 5  # scores of each style that the judge learns from, and is tried on


@dataclass(frozen=True)
class Made:
    style: str
    plan: Plan
    score: Score


def composed(composer: Symbolic, styles: list[str], each: int, bars: int) -> list[Made]:
    """Pieces in keys and metres that their seeds say."""
    found = []
    for seed in range(each):
        for style in styles:
            rng = random.Random(f"{style} {seed}")
            request = ScoreRequest(prompt=style.replace("_", " "), bars=bars, seed=seed, key=rng.choice(KEYS), metre=rng.choice(METRES))
            found.append(Made(style, plan_of(request), composer.compose(request)))
    return found


def key_agrees(score: Score, root: int, mode: str) -> bool:
    """Whether the key in the notes is this one or its relative."""
    heard, heard_mode = key_of_score(replace(score, keys=()))
    relative = (root + (3 if mode == "minor" else 9)) % 12
    return (heard, heard_mode) == (root, mode) or (heard == relative and heard_mode != mode)


def bar_lines(score: Score, bar_length: int) -> float:
    """How many notes begin at bar lines so far apart, beside the mean of all quarters."""
    starts = np.concatenate([part.notes[:, START] for part in on_grid(score).parts])
    quarters = np.bincount(starts[starts % (GRID // 2) == 0] // (GRID // 2))[:: 1 if bar_length % GRID else 2]
    return float(np.mean([(starts == line).sum() for line in range(0, int(starts.max()) + 1, bar_length)]) / max(quarters.mean(), 1e-9))


def denser(composer: Symbolic, styles: list[str], bars: int) -> tuple[float, float]:
    """Of half and twice the density the share of styles in which the second has more notes, and how many times more (a geometric mean)."""
    ratios = []
    for style in styles:
        thin, thick = (composer.compose(style.replace("_", " "), bars=bars, seed=1, density=density).num_notes for density in (0.5, 2.0))
        ratios.append(np.log(thick / max(thin, 1)))
    return float(np.mean(np.array(ratios) > 0)), float(np.exp(np.mean(ratios)))


def correlations(pieces: list[Made]) -> dict[str, tuple[float, float]]:
    """Register and polyphony: over the pitched parts, what each was told and what it does, and what the part after it was told."""
    told, heard = {"register": [], "polyphony": []}, {"register": [], "polyphony": []}
    for made in pieces:
        for player, part in zip(made.plan.players, made.score.parts, strict=True):
            if not player.drums and len(part.notes):
                told["register"].append(player.track.register)
                heard["register"].append(part.notes[:, PITCH].mean() - made.plan.up)
                if player.track.polyphony < POLYPHONIES:
                    told["polyphony"].append(player.track.polyphony)
                    heard["polyphony"].append(np.log2(voices_of(part)))
    return {name: (np.corrcoef(told[name], heard[name])[0, 1], np.corrcoef(np.roll(told[name], 1), heard[name])[0, 1]) for name in told if len(set(told[name])) > 1}


class Judge:
    """Names the style of scores: a logistic regression of windows, which vote."""

    def __init__(self, scores: dict[str, list[Score]]) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows = [(window, style) for style, some in scores.items() for score in some for window in windows(score)]
        self.model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.3))
        self.model.fit(np.array([window for window, _ in rows]), [style for _, style in rows])

    def name(self, score: Score) -> str:
        return str(self.model.classes_[self.model.predict_log_proba(windows(score)).sum(0).argmax()])


def chroma_follows(score: Score) -> tuple[float, float]:
    """The correlation of each quarter's chroma in the rendering with the score's, and with the score's of four quarters later."""
    import librosa

    audio = librosa.resample(play(score).audio.mean(0), orig_sr=SAMPLE_RATE, target_sr=22050)
    chroma = librosa.feature.chroma_stft(y=audio, sr=22050, n_fft=8192, hop_length=512, tuning=0.0)
    edges = np.arange(0, score.end + 1, score.ticks)
    frames = np.round(score.seconds_at(edges) * 22050 / 512).astype(int)
    heard = np.array([chroma[:, a : max(b, a + 1)].mean(1) for a, b in zip(frames, frames[1:])])
    written = np.array([weights(score, a, b) for a, b in zip(edges, edges[1:])])
    there = written.any(1)

    def alike(far: int) -> float:
        pairs = [(a, b) for a, b, some in zip(heard[: len(heard) - far], written[far:], there[far:]) if some]
        return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs if b.std()]))

    return alike(0), alike(4)


def by_words(composer: Symbolic, made: Made, prompt: str) -> Score:
    """A piece like another, told no style but the embedding of a prompt."""
    plan = replace(made.plan, style="")
    bars = list(Composer(composer.phrases, composer.prior, plan, text=composer.text_of(prompt)).bars())
    return composer.score_of(plan, bars, None)


def table_of(composer: Symbolic, train: dict[str, list[Score]], valid: dict[str, list[Score]], each: int, bars: int) -> list[tuple[str, str, str, str]]:
    """(control, measure, asked, swapped) of each."""
    styles = sorted(train)
    pieces, judge = composed(composer, styles, each, bars), Judge(train)
    other = pieces[1:] + pieces[:1]
    keys = [np.mean([key_agrees(a.score, b.plan.root, b.plan.mode) for a, b in zip(pieces, some)]) for some in (pieces, other)]
    metres = [(a, b) for a, b in zip(pieces, other) if a.plan.bar_length != b.plan.bar_length]
    lines = [np.mean([bar_lines(a.score, (a, b)[which].plan.bar_length) for a, b in metres]) for which in (0, 1)]
    right, times = denser(composer, styles, bars)
    named = [judge.name(made.score) for made in pieces]
    rows = [
        ("key", "heard, or its relative", f"{keys[0]:.0%}", f"{keys[1]:.0%}"), ("metre", "notes at bar lines, others 1", f"{lines[0]:.2f}", f"{lines[1]:.2f}"),
        ("density", "twice against half: more notes", f"{right:.0%}, {times:.2f} times", "50%"),
        *((name, "correlation over parts", f"{asked:.2f}", f"{swapped:.2f}") for name, (asked, swapped) in correlations(pieces).items()),
        ("style", "named", f"{np.mean([a == made.style for a, made in zip(named, pieces)]):.0%}", f"{np.mean([a == made.style for a, made in zip(named, other)]):.0%}"),
        ("", "held-out scores", f"{np.mean([judge.name(cut(score, bars)) == style for style, some in valid.items() for score in some]):.0%}", ""),
    ]  # fmt: skip
    sounds = np.mean([chroma_follows(made.score) for made in pieces[: len(styles)]], axis=0)
    rows.append(("sound", "chroma of the rendering", f"{sounds[0]:.2f}", f"{sounds[1]:.2f}"))
    if composer.prior.config.text is not None:
        said = [judge.name(by_words(composer, made, made.style.replace("_", " "))) == made.style for made in pieces[: len(styles)]]
        unsaid = [judge.name(by_words(composer, made, "")) == made.style for made in pieces[: len(styles)]]
        rows.append(("", "by the prompt's embedding alone; without", f"{np.mean(said):.0%}", f"{np.mean(unsaid):.0%}"))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--real", required=True, help="a manifest of scores with styles")
    parser.add_argument("--bars", type=int, default=8)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    composer, sets = load(options.model), {"train": {}, "valid": {}}
    pieces = open_scores(options.real)
    for split, most in (("train", TRAINING), ("valid", HELD_OUT)):
        for style in composer.prior.config.styles:
            if found := [score for _, score in read_scores([p for p in pieces if p.split == split and p.metadata.get("style") == style][:most])]:
                sets[split][style] = found
    rows = table_of(composer, sets["train"], sets["valid"], options.each, options.bars)
    print("| control | measure | asked | swapped |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "controls.json").write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
