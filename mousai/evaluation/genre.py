"""A small classifier of the practice set's styles: does a generated clip sound like the style that was asked for?

An MLP over pooled log-mel statistics, trained on practice clips alone under heavy corruption (coloured noise, tilt,
band limits, blur in time and frequency, other dynamics), so that it judges the style and not the polish. A further label,
"noise", is for steady noise with a clip's long-term spectrum: without it such noise is named after its spectrum, rightly
in seven cases of ten, though nothing of the music is in it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mousai.audio import io
from mousai.checks import short
from mousai.data.sidecars import MANIFEST_BYTES, decoded
from mousai.evaluation.features import FLOOR, HOP, NUM_STATISTICS, SAMPLE_RATE, decibels, mel_power, statistics
from mousai.evaluation.phases import counted, silent
from mousai.files import parse_json, read_bytes, write_tensors
from mousai.types import Callback

NOISE = "noise"  # the label beside the styles
_NOISE_CLIPS = 16  # realisations of white noise that are coloured in training


@dataclass(frozen=True)
class GenreConfig:
    """Labels and size of a classifier."""

    labels: tuple[str, ...]  # the styles, then "noise"
    hidden: int = 192
    dropout: float = 0.3


@dataclass(frozen=True)
class LabelledClips:
    """Mel power of clips of one length, with label indices."""

    power: Tensor  # (b, 80, l) float32
    targets: Tensor  # (b,) long
    labels: tuple[str, ...]


class GenreClassifier(nn.Module):
    """Standardised statistics → two hidden layers → logits."""

    def __init__(self, config: GenreConfig):
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(NUM_STATISTICS))
        self.register_buffer("std", torch.ones(NUM_STATISTICS))
        self.net = nn.Sequential(
            nn.Linear(NUM_STATISTICS, config.hidden), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.hidden, len(config.labels)),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Logits (b, labels) of statistics (b, 640)."""
        return self.net((features - self.mean) / self.std)

    @torch.no_grad()
    def probabilities(self, audio: Tensor) -> Tensor:
        """Class probabilities (b, labels) of audio (b, c, s) at 48 kHz; a few seconds or more are needed for rhythm."""
        return self.eval()(statistics(decibels(mel_power(audio)))).softmax(-1)

    def name(self, audio: Tensor) -> list[str]:
        """The likeliest label of each clip of (b, c, s)."""
        return [self.config.labels[i] for i in self.probabilities(audio).argmax(-1).tolist()]

    def among(self, labels: Collection[str]) -> GenreClassifier:
        """The same judge, who names one of these or noise."""
        judge = copy.deepcopy(self)
        others = [label not in labels and label != NOISE for label in self.config.labels]
        judge.net[-1].bias.data[torch.tensor(others)] = -torch.inf
        return judge


def read_clips(
    manifest: str | Path, split: str | None, seconds: float = 10.0, label: str = "style", progress: Callback = silent("")
) -> LabelledClips:
    """Mel power of the first `seconds` of a manifest's clips of a split (None = all), labelled by a metadata field."""
    manifest = Path(manifest)
    rows = rows_of(manifest, {"file": str, "split": str, label: str})
    labels = tuple(sorted({row[label] for row in rows}))
    rows = [row for row in rows if split is None or row["split"] == split]
    if not rows:
        raise ValueError(f"{manifest} has no clip with split {split!r}; make more clips")
    files = counted([manifest.parent / row["file"] for row in rows], progress)
    power = torch.cat([_read_power(file, seconds) for file in files])
    return LabelledClips(power, torch.tensor([labels.index(row[label]) for row in rows]), labels)


def rows_of(manifest: Path, needed: Mapping[str, type]) -> list[dict[str, Any]]:
    """The lines of a practice set's manifest; ValueError for one that is damaged, or has a field that is `needed` not or of another type."""
    rows = []
    for number, line in enumerate(decoded(read_bytes(manifest, MANIFEST_BYTES), manifest).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{manifest}, line {number}"
        row = parse_json(line, where, dict)
        for name, kind in needed.items():
            if name not in row:
                raise ValueError(f"{where}: has no field '{name}'; a practice set from `mousai data synth` has it")
            if not isinstance(row[name], kind):
                raise ValueError(f"{where}: the field '{name}' cannot be {short(row[name])}")
        rows.append(row)
    return rows


def _read_power(path: Path, seconds: float) -> Tensor:
    num_samples = round(seconds * SAMPLE_RATE)
    audio = io.read(path, sample_rate=SAMPLE_RATE, channels=2, num_samples=num_samples)
    if audio.shape[-1] < num_samples:
        raise ValueError(f"{path}: expected at least {seconds} s, came {audio.shape[-1] / SAMPLE_RATE:.2f} s")
    return mel_power(audio[None])


def corrupt(power: Tensor, generator: torch.Generator) -> Tensor:
    """Damage mel power (b, 80, l) as an imperfect generator would; each clip its own amount of each fault.

    Coloured noise from 3 to 40 dB below the clip, spectral tilt up to ±12 dB with a random curve, a low-pass, blur over
    up to 9 frames and 5 bands, level ±4 dB. Returns log-mel in dB with dynamics scaled by 0.8 to 1.15.
    """
    b, d, frames = power.shape
    uniform = lambda low, high, *shape: low + (high - low) * torch.rand(*shape, generator=generator)  # noqa: E731
    place = torch.linspace(-0.5, 0.5, d)[None, :, None]
    power = _blur(power, uniform(0, 1, b), uniform(0, 1, b))
    curve = F.interpolate(uniform(-5, 5, b, 1, 6), d, mode="linear", align_corners=True).transpose(1, 2)
    gain_db = uniform(-12, 12, b, 1, 1) * place + curve + uniform(-4, 4, b, 1, 1)
    cutoff = uniform(0.15, 1.2, b, 1, 1)
    gain_db = gain_db - 90 * (place - cutoff).clamp_min(0)
    power = power * 10 ** (gain_db / 10)
    color_db = uniform(-40, 40, b, 1, 1) * place - uniform(3, 40, b, 1, 1)
    grain = -torch.log(torch.rand(b, d, frames, 2, generator=generator).clamp_min(1e-7)).mean(-1)
    power = power + power.mean((1, 2), keepdim=True) * 10 ** (color_db / 10) * grain
    log_power = 10 * torch.log10(power.clamp_min(FLOOR))
    middle = log_power.mean((1, 2), keepdim=True)
    return (middle + (log_power - middle) * uniform(0.8, 1.15, b, 1, 1)).clamp_min(-60)


def _blur(power: Tensor, in_time: Tensor, in_frequency: Tensor) -> Tensor:
    """Moving averages over 9 frames and 5 bands, mixed in by amounts (b,) in [0, 1]; below 0.5 none."""
    frames = F.avg_pool1d(power, 9, 1, 4, count_include_pad=False)
    power = torch.lerp(power, frames, (2 * in_time - 1).clamp_min(0)[:, None, None])
    bands = F.avg_pool1d(power.transpose(1, 2), 5, 1, 2, count_include_pad=False).transpose(1, 2)
    return torch.lerp(power, bands, (2 * in_frequency - 1).clamp_min(0)[:, None, None])


def train_classifier(
    clips: LabelledClips, steps: int = 400, batch: int = 32, seed: int = 0, progress: Callback = silent("")
) -> GenreClassifier:
    """Train on random crops of 3 s or more, most of them corrupted; deterministic in `seed`."""
    if batch % 8:
        raise ValueError(f"batch must be a multiple of 8, came {batch}")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # layers and dropout draw from torch's own stream
        torch.manual_seed(seed)
        model = GenreClassifier(GenreConfig((*clips.labels, NOISE)))
        clean = statistics(decibels(clips.power))
        damaged = statistics(corrupt(clips.power, generator))
        both = torch.cat([clean, damaged])
        model.mean.copy_(both.mean(0))
        model.std.copy_(both.std(0).clamp_min(1e-3))
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        noise = _white_noise(clips.power.shape[-1], generator)
        model.train()
        for _ in counted(range(steps), progress):
            features, targets = _draw(clips, noise, batch, generator)
            loss = F.cross_entropy(model(features), targets, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _white_noise(frames: int, generator: torch.Generator) -> Tensor:
    """Mel power of stereo white noise over its mean in each band: the grain of steady noise, (clips, 80, l)."""
    audio = torch.randn(_NOISE_CLIPS, 2, (frames - 1) * HOP, generator=generator)
    power = torch.cat([mel_power(clip[None]) for clip in audio])
    return power / power.mean(-1, keepdim=True)


def _draw(clips: LabelledClips, noise: Tensor, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Statistics (batch, 640) of random crops of one length and their targets: a quarter as they are, the rest corrupted.

    Half of the clips, before that, get steady noise in their own spectrum, up to 2 dB above them; an eighth is noise alone.
    """
    chosen = torch.randint(len(clips.targets), (batch,), generator=generator)
    frames = clips.power.shape[-1]
    length = int(torch.randint(min(280, frames), frames + 1, (), generator=generator))
    start = int(torch.randint(frames - length + 1, (), generator=generator))
    power, targets = clips.power[chosen, :, start : start + length], clips.targets[chosen]
    grain = noise[torch.randint(len(noise), (batch,), generator=generator), :, start : start + length]
    steady = power.mean(-1, keepdim=True) * grain
    eighth = batch // 8
    level_db = 25 * torch.rand(4 * eighth, 1, 1, generator=generator) - 23
    power[-5 * eighth : -eighth] += 10 ** (level_db / 10) * steady[-5 * eighth : -eighth]
    flatness = torch.rand(eighth, 1, 1, generator=generator).mul(2).clamp_max(1)  # half keep the spectrum, down to white
    power[-eighth:] = steady[-eighth:].mean(-1, keepdim=True) ** flatness * grain[-eighth:]
    targets[-eighth:] = len(clips.labels)
    order = torch.randperm(batch, generator=generator)
    power, targets = power[order], targets[order]
    quarter = batch // 4
    return statistics(torch.cat([decibels(power[:quarter]), corrupt(power[quarter:], generator)])), targets


def save_classifier(model: GenreClassifier, path: str | Path) -> None:
    """One safetensors file: weights, with the config as JSON in its metadata."""
    write_tensors(path, model.state_dict(), {"genre_classifier": json.dumps(asdict(model.config))})


def load_classifier(path: str | Path) -> GenreClassifier:
    """Read what `save_classifier` wrote."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no genre classifier at {path}; train one on a practice set first")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a genre classifier, or cut: {error}") from error
    if "genre_classifier" not in metadata:
        raise ValueError(f"{path} is not a genre classifier: its metadata has no 'genre_classifier'")
    config = parse_json(metadata["genre_classifier"], f"{path}: its config", dict)
    model = GenreClassifier(GenreConfig(**{**config, "labels": tuple(config["labels"])}))
    model.load_state_dict(state, strict=True)
    return model.eval()
