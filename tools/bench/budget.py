"""What minutes of training and ways of guidance make of a generator over the magnitude codec, without a waveform.

    python tools/bench/budget.py practice runs/a/model runs/b/model --guidance 3 --interval 0.3 1 --rescale 0.7

Each model makes latents for the same held-out clips of a practice set (`mousai data synth`), told the clip's caption, tempo, key and metre; ambient,
strings and string quartets are left out, whose beat is faint. Latents are decoded to features by the codec's components alone, which takes no
time: pulse and tempo are read from the levels of its bands, the key from what stands out of its spectrum, by the measures of
`mousai/evaluation`. Beside these stand the spread of all latents, and of the first of them, which says how loud it is: its spread within a clip and how
far it steps from frame to frame. The first row is of the clips themselves. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

import mousai  # noqa: E402
from mousai.audio import io  # noqa: E402
from mousai.audio.level import at_rms  # noqa: E402
from mousai.codecs.magnitude.codec import MagnitudeCodec  # noqa: E402
from mousai.evaluation.harmony import KEYS, key_fits  # noqa: E402
from mousai.evaluation.pulse import Pulse, autocorrelation, relation  # noqa: E402
from mousai.request.music import Music  # noqa: E402
from mousai.theory import key_of  # noqa: E402
from mousai.types import SamplingSettings  # noqa: E402

FAINT = {"ambient", "strings", "string_quartet", "string quartet"}
FRAMES = 128
PITCHED_HZ = (180.0, 2000.0)
COLUMNS = ("model", "pulse", "at the asked tempo", "tempo met", "key correlation", "key met", "spread", "of the level", "level's step")


def held_out(practice: Path, clips: int) -> list[dict]:
    """Lines of the valid split with a beat, the same for each call."""
    folder = practice if practice.is_dir() else practice.parent
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    rows = [row | {"file": str(folder / row["file"])} for row in rows if row["split"] == "valid" and row["style"] not in FAINT]
    random.Random(0).shuffle(rows)
    return rows[:clips]


def row_of(name: str, codec: MagnitudeCodec, latents: Tensor, asked: list[dict]) -> str:
    """A line of the table for latents `(n, d, l)`, a clip each."""
    features = codec.components.decode(latents)
    levels = F.avg_pool1d(codec.features.fast(features)[:, 0], 2) * 8.686  # dB, 93.75 frames a second
    pulses = [Pulse(autocorrelation(strength)) for strength in levels.diff(dim=-1).clamp(min=0).mean(1)]
    fits = [key_fits(classes) for classes in pitch_classes(codec, features)]
    keys = [key_of(row["key"]) for row in asked]
    met = [relation(pulse.tempo, row["bpm"]) in ("same", "octave") for pulse, row in zip(pulses, asked)]
    means = [torch.tensor(values).mean().item() for values in (
        [pulse.clarity for pulse in pulses], [pulse.at(row["bpm"]) for pulse, row in zip(pulses, asked)], [fit[KEYS.index(key)] for fit, key in zip(fits, keys)],
    )]  # fmt: skip
    right = [KEYS[int(fit.argmax())] == key for fit, key in zip(fits, keys)]
    level = latents[:, 0]
    cells = [f"{means[0]:.2f}", f"{means[1]:.2f}", f"{sum(met)} of {len(met)}", f"{means[2]:.2f}", f"{sum(right)}"]
    cells += [f"{value:.2f}" for value in (latents.std(), level.std(-1).mean(), level.diff(dim=-1).abs().mean())]
    return f"| {' | '.join([name, *cells])} |"


def pitch_classes(codec: MagnitudeCodec, features: Tensor) -> Tensor:
    """How strong each pitch class is in the middle of features `(n, f, l)`, `(n, 12)`, shares of 1."""
    config = codec.features.config
    rows = codec.features.slow(features)[:, 0, : config.groups[0][0]]
    standing_out = (rows - F.avg_pool1d(rows.transpose(1, 2), 25, 1, 12, count_include_pad=False).transpose(1, 2)).clamp(min=0)
    strength = (standing_out * (rows / 2).exp()).sum(-1)  # (n, rows)
    hz = torch.arange(strength.shape[1]) * codec.sample_rate / config.n_fft
    at = (12 * (hz.clamp(min=1) / 440).log2()).round().long() + 9
    pitched = (hz > PITCHED_HZ[0]) & (hz < PITCHED_HZ[1])
    members = F.one_hot(at % 12, 12).float() * pitched[:, None]
    classes = strength @ (members / members.sum(0))
    return classes / classes.sum(1, keepdim=True)


@torch.no_grad()
def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("practice", type=Path, help="the practice set")
    parser.add_argument("models", nargs="+", help="model folders over one codec")
    parser.add_argument("--clips", type=int, default=28)
    parser.add_argument("--guidance", nargs="+", type=float, help="a row for each; the model's own unless given")
    parser.add_argument("--interval", nargs=2, type=float)
    for name in ("rescale", "apg", "hold"):
        parser.add_argument(f"--{name}", type=float)
    options = parser.parse_args(words)
    asked = held_out(options.practice, options.clips)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    said = SamplingSettings(interval=tuple(options.interval) if options.interval else None, rescale=options.rescale, apg=options.apg, hold=options.hold)
    for number, name in enumerate(options.models):
        model = mousai.load(name)
        if number == 0:
            audio = [io.read(row["file"], model.sample_rate, 2, num_samples=FRAMES * model.codec.hop) for row in asked]
            print(row_of("the clips themselves", model.codec, torch.cat([model.codec.encode(at_rms(clip)[None]) for clip in audio]), asked))
        condition = model.encode_texts([row["caption"] for row in asked])
        music = [Music(bpm=row["bpm"], key=row["key"], metre=row["metre"]) for row in asked]
        condition = model.in_music(condition, music, FRAMES)
        for guidance in options.guidance or [None]:
            latents = model.generator.sample(condition, FRAMES, seeds=list(range(len(asked))), settings=replace(said, guidance=guidance))
            print(row_of(name if guidance is None else f"{name}, guidance {guidance:g}", model.codec, latents, asked), flush=True)


if __name__ == "__main__":
    main()
