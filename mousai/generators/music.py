"""What a generator is told of musical time and pitch: tempo, bar and key as numbers, chords as a curve.

Tempo and bar become a metronome, sines and cosines of the beat's phase at several rates, made frame by frame from the
numbers and a frame's place, so that it goes on across crops, windows and sections, or from a curve where the tempo changes;
key and chords become the tones that they have. All of these are channels beside the latents. Tempo, key and metre also make a vector of each item.

The numbers of a condition that are heard, NaN where one is not said:

| number | |
|---|---|
| `bpm` | beats a minute; of 6/8 and 12/8 a beat is a dotted quarter |
| `downbeat` | seconds at which a bar begins |
| `metre` | number of a metre in `theory.METRES` |
| `root`, `mode` | of the key: pitch class, number of a mode in `theory.MODES` |
| `start` | seconds at which frame 0 lies, of a crop; 0 unless it is said |

The curve `chords` `(b, 12, l)` has 1 where a pitch class belongs to the chord; a frame of zeros is not said. The curve `beat`
`(b, 2, l)` has how many beats of any two bars, of which a downbeat is the first, are over where a frame begins, and how many
pass in the frame; a frame in which none do is not said, and then `bpm` and `downbeat` say it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mousai.theory import METRES, MODES, SCALES
from mousai.types import Condition

NUMBERS = ("bpm", "downbeat", "metre", "root", "mode", "start")
TEMPO, KEY = slice(0, 3), slice(3, 5)  # of these
CURVES = {"chords": 12, "beat": 2}
# Turns a beat of the metronome's hands, by metre: two bars (or the bar of four), a bar, a beat, what divides it.
PULSES = {"4/4": (1 / 4, 1 / 2, 1, 2, 4), "3/4": (1 / 6, 1 / 3, 1, 2, 4), "6/8": (1 / 4, 1 / 2, 1, 3, 6), "12/8": (1 / 4, 1 / 2, 1, 3, 6), "2/4": (1 / 4, 1 / 2, 1, 2, 4)}
TEMPO_RATES, TEMPO_TOP = 32, 60.0  # Fourier features of the tempo in octaves, and the fastest of them in radians


@dataclass(frozen=True)
class MusicConfig:
    hop: int  # samples of a latent frame, as the codec's
    sample_rate: int = 48000
    points: int = 4  # places in a latent frame at which the metronome is read
    drop_tempo: float = 0.15  # probability in training that tempo and bar are not said
    drop_key: float = 0.15  # that key and chords are not said
    drop_chords: float = 0.5  # that chords are not said

    def __post_init__(self) -> None:
        if min(self.hop, self.sample_rate, self.points) < 1:
            raise ValueError(f"expected hop, sample_rate and points of 1 or more, came {self}")
        if not all(0 <= drop <= 1 for drop in (self.drop_tempo, self.drop_key, self.drop_chords)):
            raise ValueError(f"expected drop_tempo, drop_key and drop_chords from 0 to 1, came {self}")

    @property
    def channels(self) -> int:
        """Beside the latents': the metronome and a flag that it is there, the tones of key and chord and theirs."""
        return 2 * len(PULSES["4/4"]) * self.points + 1 + 2 * 13


class Music(nn.Module):
    """The learned part: numbers `(b, 6)` to a vector of `features`."""

    def __init__(self, config: MusicConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.tempo = nn.Linear(2 * TEMPO_RATES, features)
        self.root, self.mode, self.metre = (nn.Embedding(count + 1, features) for count in (12, len(MODES), len(METRES)))  # the last is none
        for embedding in (self.root, self.mode, self.metre):
            nn.init.normal_(embedding.weight, std=0.5)

    def forward(self, numbers: Tensor) -> Tensor:
        """The vector `(b, features)` of numbers `(b, 6)`, on the module's device."""
        numbers = numbers.to(self.tempo.weight.device, torch.float32)
        bpm, _, metre, root, mode, _ = numbers.unbind(-1)
        rates = torch.exp(torch.linspace(0, math.log(TEMPO_TOP), TEMPO_RATES, device=numbers.device))
        angles = (bpm / 100).log2().nan_to_num(0.0)[:, None] * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1) * ~bpm.isnan()[:, None]
        vector = self.tempo(waves.to(self.tempo.weight.dtype))
        for number, embedding in ((root, self.root), (mode, self.mode), (metre, self.metre)):
            vector = vector + embedding(number.nan_to_num(embedding.num_embeddings - 1).long())
        return vector

    def dropped(
        self, numbers: Tensor, chords: Tensor, beat: Tensor, everything: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers and curves of training items with what is not said of each: `everything` where that `(b,)` is true."""
        tempo, key, curve = (
            torch.rand(len(numbers), generator=generator) < drop
            for drop in (self.config.drop_tempo, self.config.drop_key, self.config.drop_chords)
        )
        numbers, everything = numbers.clone(), everything.cpu()
        numbers[tempo | everything, TEMPO] = math.nan
        numbers[key | everything, KEY] = math.nan
        chords, beat = (each * ~gone[:, None, None].to(each.device) for each, gone in ((chords, curve | key | everything), (beat, tempo | everything)))
        return numbers, chords, beat


def numbers_of(condition: Condition | None, b: int = 1) -> Tensor:
    """The numbers of b items, `(b, 6)` float64 on the CPU in the order of `NUMBERS`; NaN where one is not said."""
    told = {} if condition is None else condition.numbers
    unsaid = torch.full((b,), math.nan, dtype=torch.float64)
    return torch.stack([told[name].detach().to("cpu", torch.float64) if name in told else unsaid for name in NUMBERS], dim=-1)


def curve_of(condition: Condition | None, name: str, first: int, count: int, b: int = 1) -> Tensor:
    """A curve of `CURVES` `(b, e, count)` from a frame on; zeros where nothing is said of it."""
    if condition is None or name not in condition.curves:
        return torch.zeros(b, CURVES[name], count)
    return condition.frames(first, count).curves[name]


def channels(config: MusicConfig, numbers: Tensor, chords: Tensor, beat: Tensor, first: Sequence[int]) -> Tensor:
    """What is told beside the latents of b rows, `(b, config.channels, count)` float32 on the CPU.

    `numbers (b, 6)` float64 as of `numbers_of`, `chords (b, 12, count)`, `beat (b, 2, count)`, `first` the frame that each row
    begins with.
    """
    count = chords.shape[-1]
    parts = [metronome(config, numbers, beat, first), key_tones(numbers).expand(-1, -1, count), with_flag(chords.cpu().float())]
    return torch.cat(parts, dim=1)


def metronome(config: MusicConfig, numbers: Tensor, beat: Tensor, first: Sequence[int]) -> Tensor:
    """Sine and cosine of the beat's phase times each of a metre's pulses, at each point of a frame, and a flag; zeros where no beat is said.

    In float64: after a day's music the phase is still right.
    """
    bpm, downbeat, metre, _, _, start = numbers.unbind(-1)
    count, within = beat.shape[-1], (torch.arange(config.points, dtype=torch.float64) + 0.5) / config.points
    frames = torch.as_tensor(first, dtype=torch.float64)[:, None, None] + torch.arange(count)[:, None] + within  # (b, count, points)
    seconds = frames * config.hop / config.sample_rate + start.nan_to_num(0.0)[:, None, None]
    place, passes = beat.to("cpu", torch.float64)[..., None].unbind(1)  # (b, count, 1)
    beats = torch.where(passes > 0, place + passes * within, (seconds - downbeat[:, None, None]) * bpm[:, None, None] / 60).flatten(1)
    pulses = torch.tensor(list(PULSES[name] for name in METRES), dtype=torch.float64)[metre.nan_to_num(0.0).long()]
    phase = 2 * math.pi * (beats[:, None] * pulses[:, :, None] % 1)  # (b, pulses, count * points)
    hands = torch.cat([phase.sin(), phase.cos()], dim=1).unflatten(-1, (count, config.points)).movedim(-1, 2).flatten(1, 2)
    flag = ~beats.isnan()[:, None, :: config.points]
    return torch.cat([hands.nan_to_num(0.0), flag], dim=1).float()


def key_tones(numbers: Tensor) -> Tensor:
    """The scale of each row's key as pitch classes, its root with 2, and a flag, `(b, 13, 1)`; zeros where no key is said."""
    tones = torch.zeros(len(numbers), 12)
    for row, (root, mode) in enumerate(numbers[:, KEY].tolist()):
        if not math.isnan(root + mode):
            tones[row, [(int(root) + step) % 12 for step in SCALES[MODES[int(mode)]]]] = 1.0
            tones[row, int(root)] = 2.0
    return with_flag(tones[:, :, None])


def with_flag(tones: Tensor) -> Tensor:
    """Tones `(b, 12, l)` and whether there are any, `(b, 13, l)`."""
    return torch.cat([tones, (tones > 0).any(1, keepdim=True).to(tones)], dim=1)
