"""Bars a second of a composer, beside token models of like size that write the same bars, and beside how fast they are played.

    python tools/bench/score_speed.py --model starter-symbolic --real practice_scores/manifest.jsonl --bars 32

The token models are transformers' GPT-2 over miditok's REMI+, and midigpt's own GPT-2 where that package is installed (its weights are not needed: each has random
ones, which take as long). Both keep what they have read, draw each token from the whole vocabulary, and write as many tokens as the training scores
of the style have in so many bars. midigpt's tokens are counted as miditok's, for its tokenizer comes with its weights. One thread; the median of three.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.evaluation.scores import cut  # noqa: E402
from mousai.pipelines.symbolic import load  # noqa: E402
from mousai.symbolic.sound import play  # noqa: E402
from mousai.symbolic.sources import open_scores, read_scores  # noqa: E402
from mousai.symbolic.tokens import Tokenizer  # noqa: E402

SHAPE = {"n_embd": 256, "n_layer": 6, "n_head": 4}
REPEATS = 3


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """The median seconds of three times, and what was made last."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        made = work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), made


def drawn(forward: Callable, tokens: int) -> None:
    """Draws so many tokens one after another; `forward(ids, kept)` gives logits and what is kept."""
    ids, kept = torch.zeros(1, 1, dtype=torch.long), None
    for _ in range(tokens):
        logits, kept = forward(ids, kept)
        ids = torch.multinomial(torch.softmax(logits[:, -1], dim=-1), 1)


def of_transformers(vocabulary: int, tokens: int) -> tuple[torch.nn.Module, Callable]:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_positions=tokens + 1, **SHAPE)).eval()

    def forward(ids: torch.Tensor, kept: object) -> tuple[torch.Tensor, object]:
        made = model(input_ids=ids, past_key_values=kept, use_cache=True)
        return made.logits, made.past_key_values

    return model, forward


def of_midigpt(vocabulary: int, tokens: int) -> tuple[torch.nn.Module, Callable]:
    from midigpt.inference.model.gpt2 import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_positions=tokens + 1, **SHAPE)).eval()
    return model, lambda ids, kept: model(ids, past_kv=kept)


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--real", required=True, help="a manifest of scores with styles")
    parser.add_argument("--style", default="jazz")
    parser.add_argument("--bars", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    composer = load(options.model)
    pieces = [piece for piece in open_scores(options.real) if piece.metadata.get("style") == options.style][:10]
    scores = [cut(score, options.bars) for _, score in read_scores(pieces)]
    if not scores:
        raise SystemExit(f"{options.real}: no scores of style {options.style!r}")
    tokenizer = Tokenizer()
    a_bar = sum(len(tokenizer.encode(score)) for score in scores) / sum(len(score.bars()) for score in scores)
    tokens = round(a_bar * options.bars)

    def size(*modules: torch.nn.Module) -> str:
        return f"{sum(p.numel() for module in modules for p in module.parameters()) / 1e6:.1f} M"

    seconds, score = timed(lambda: composer.compose(options.style.replace("_", " "), bars=options.bars, seed=0))
    played, _ = timed(lambda: play(score))
    rows = [
        ("mousai", size(composer.phrases, composer.prior), options.bars / seconds, score.seconds / seconds),
        ("mousai, and its sound by the own instruments", "", options.bars / (seconds + played), score.seconds / (seconds + played)),
    ]
    for name, made in (("transformers' GPT-2 over REMI+", of_transformers), ("midigpt's GPT-2", of_midigpt)):
        try:
            model, forward = made(len(tokenizer.vocabulary), tokens)
        except ImportError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        seconds, _ = timed(lambda forward=forward: drawn(forward, tokens))
        rows.append((name, size(model), options.bars / seconds, score.seconds / seconds))
    print(f"{len(score.parts)} players, {score.num_notes} notes in {options.bars} bars; {a_bar:.0f} tokens a bar\n")
    print("| | weights | bars a second | x as it is played |\n|---|---|---|---|")
    for name, weights, bars, times in rows:
        print(f"| {name} | {weights} | {bars:.1f} | {times:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
