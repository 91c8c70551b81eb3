"""What a phrase VAE keeps of phrases that it was not trained on.

    python tools/bench/phrases.py --model starter-symbolic --real practice_scores/manifest.jsonl lieder --phrases 1500

A column for each source, of so many different phrases of its held-out scores, drawn from the seed. Latents are the posterior's means. Nats are unsmoothed, a mean over
fields: position, pitch, duration and velocity of each note, and the end; "come back" are phrases whose likeliest notes are all as they were.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from mousai.pipelines.symbolic import load  # noqa: E402
from mousai.symbolic.phrase_data import Phrase, padded, phrases_in  # noqa: E402
from mousai.symbolic.phrase_vae import PhraseVAE  # noqa: E402

AT_ONCE = 100


@torch.no_grad()
def measured(vae: PhraseVAE, phrases: list[Phrase]) -> dict[str, str]:
    """The rows of one source."""
    nats = right = shuffled = fields = back = 0
    means = []
    phrases = sorted(phrases, key=lambda phrase: len(phrase[0]))
    for first in range(0, len(phrases), AT_ONCE):
        some = phrases[first : first + AT_ONCE]
        batch = padded(some)
        latents = vae.encode(batch)
        means.append(latents)
        here, correct, counted = vae.scored(latents, batch)
        nats, right, fields = nats + float(here), right + int(correct), fields + int(counted)
        shuffled += float(vae.scored(latents.roll(1, 0), batch)[0])
        decoded = vae.decode(latents, batch["drums"], batch["length"])
        back += sum(np.array_equal(one.numpy(), notes) for one, (notes, _, _) in zip(decoded, some, strict=True))
    active = int((torch.cat(means).var(0) > 0.01).sum())
    return {
        "nats a field": f"{nats / fields:.2f}", "fields that are the likeliest": f"{right / fields:.1%}", "phrases that come back to the note": f"{back / len(phrases):.0%}",
        "nats a field with another phrase's latent": f"{shuffled / fields:.1f}", "latent dimensions in use": f"{active} of {vae.config.latent}",
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-symbolic")
    parser.add_argument("--real", required=True, nargs="+", help="folders or manifests of scores")
    parser.add_argument("--phrases", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    vae, columns = load(options.model).phrases, []
    for spec in options.real:
        phrases = phrases_in([spec], "valid")
        columns.append(measured(vae, random.Random(options.seed).sample(phrases, min(options.phrases, len(phrases)))))
    print(f"| | {' | '.join(options.real)} |\n|{'---|' * (len(columns) + 1)}")
    for row in columns[0]:
        print(f"| {row} | {' | '.join(column[row] for column in columns)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
