"""An assembled system: a codec, a conditioner and a generator that belong together, and what every use of them shares."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

import mousai
from mousai.checks import did_you_mean
from mousai.conditioners.music import bar_chords, beat_curve, numbers_of
from mousai.device import windows_at_once
from mousai.diffusion import guidance
from mousai.generators.seconds import NAME as SECONDS
from mousai.request.music import Music, in_words, settled
from mousai.types import Codec, Condition, Conditioner, ConditionShape, Generator, SamplingSettings, joined

TEXTS_AT_ONCE = 64
FREE = ("mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "cc-by-4.0")  # licences that ask nothing of what is made with weights
COMPILERS = ("g++", "clang++", "cl")


class System:
    """Codec, conditioner and generator that belong together; `name` and `fingerprint` say which model it is.

    `rms` is the level at which the model was shown music, None if it was shown it as it came; `crop_frames` is how many
    latent frames of it at once, None if nobody knows. `licences` are those of weights that the model names, by their part.
    """

    def __init__(
        self, codec: Codec, conditioner: Conditioner, generator: Generator, *, name: str = "", fingerprint: str = "",
        rms: float | None = None, crop_frames: int | None = None, licences: Mapping[str, str | None] | None = None,
    ) -> None:  # fmt: skip
        if codec.latent_channels != generator.latent_channels:
            raise ValueError(f"the generator makes {generator.latent_channels} latent channels, the codec has {codec.latent_channels}")
        check_frames(generator, codec.hop, codec.sample_rate)
        self.codec, self.conditioner, self.generator = codec, conditioner, generator
        self.name, self.fingerprint, self.rms, self.crop_frames = name, fingerprint, rms, crop_frames
        self.restricting = restricting(licences or {})
        self.device, self.compiled = torch.device("cpu"), False

    @property
    def sample_rate(self) -> int:
        return self.codec.sample_rate

    @property
    def facts(self) -> dict[str, Any]:
        """What samples follow from beside what was asked for: the model, versions, and where and how exactly it computes."""
        precision = str(self.generator.dtype).removeprefix("torch.") + (" compiled" if self.compiled else "")
        return {
            "model": self.name, "fingerprint": self.fingerprint, "mousai": mousai.__version__, "torch": torch.__version__,
            "device": self.device.type, "dtype": precision, "machine": platform.machine(),
            **({"licence": self.restricting} if self.restricting else {}),
        }  # fmt: skip

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Self:
        """Moves everything to `device`; `dtype` is for the U-Nets, which do nearly all of the work, the rest stays float32."""
        self.device = torch.device(device)
        for part in (self.codec, self.conditioner, self.generator):
            part.to(self.device)
        for part in (self.codec, self.generator):
            if dtype is not None:
                part.set_precision(dtype)
        return self

    def compile(self) -> Self:
        """Has the networks of codec and generator compiled, those that can be, when they are first used.

        That takes minutes; music is then the same up to rounding. ValueError where no C++ compiler is there for a CPU's code.
        """
        if self.device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), *COMPILERS))):
            raise ValueError(f"compiling for a CPU needs a C++ compiler, none of {', '.join(COMPILERS)} is here; install one, or leave it")
        self.compiled = True
        for part in (self.codec, self.generator):
            if getattr(type(part), "compile", nn.Module.compile) is not nn.Module.compile:  # that one would compile a forward pass that nobody takes
                part.compile()
        return self

    def encode_texts(self, prompts: Sequence[str]) -> Condition:
        """The condition of all prompts, each different one read once."""
        texts = list(dict.fromkeys(prompts))
        row_of = {text: row for row, text in enumerate(texts)}
        parts = [self.conditioner.encode(texts[i : i + TEXTS_AT_ONCE]) for i in range(0, len(texts), TEXTS_AT_ONCE)]
        return joined(parts)[torch.tensor([row_of[prompt] for prompt in prompts])]

    @property
    def hears_music(self) -> bool:
        """Whether it is told tempo, key, metre and chords, now and when it was trained."""
        return "bpm" in self.generator.accepts.numbers and "bpm" in self.conditioner.gives.numbers

    def check_music(self, said: Music) -> None:
        """ValueError for the first thing that is said to a model that does not hear it."""
        for name, value in said.said().items() if not self.hears_music else ():
            raise ValueError(f"{name}: this model is not told it but in the prompt's words; leave it away (came {value})")

    def settled(self, said: Music, prompt: str, seed: int, drawn: bool = True, loop_seconds: float | None = None) -> Music:
        """What is said, what the prompt says and, where `drawn`, what fits it; nothing for a model that does not hear it."""
        self.check_music(said)
        if not self.hears_music:
            return Music()
        music = settled(said, prompt, seed, loop_seconds) if drawn else said.over(in_words(prompt))
        if music.chords is not None and music.bpm is None:
            raise ValueError("chords: change with the bars; give a bpm too")
        return music

    def in_music(
        self, condition: Condition, music: Sequence[Music], num_frames: int, start: float = 0.0, beats: Tensor | None = None
    ) -> Condition:
        """The condition of b items with the music of each, told for `num_frames` latent frames from `start` seconds on.

        With `beats` `(num_frames + 1,)`, those that are over at the frames' edges since a downbeat, the tempo follows them. A model
        that does not hear music gets the condition as it is.
        """
        if not self.hears_music:
            return condition
        frame_seconds = self.codec.hop / self.sample_rate
        rows = [numbers_of(each, each.downbeat or 0.0) for each in music]
        numbers = {name: torch.tensor([row[name] for row in rows], device=self.device) for name in rows[0]} | {"start": torch.full((len(rows),), start, device=self.device)}
        curves = {name: curve for name, curve in condition.curves.items() if name not in ("chords", "beat")}
        if beats is not None:
            curves["beat"] = beat_curve(beats).expand(len(rows), -1, -1).to(self.device)
        if any(each.chords for each in music):
            middles = (torch.arange(num_frames, dtype=torch.float64) + 0.5) * frame_seconds + start
            chords = [
                bar_chords(each, (beats[1:] + beats[:-1]) / 2 if beats is not None else (middles - (each.downbeat or 0.0)) * (each.bpm or 0.0) / 60)
                for each in music
            ]
            curves["chords"] = torch.stack(chords).to(self.device)
        return replace(condition, numbers={**condition.numbers, **numbers}, curves=curves)

    def in_time(self, condition: Condition, seconds: float) -> Condition:
        """The condition of b items with how long they are to be, for a model that hears it."""
        if SECONDS not in self.generator.accepts.numbers:
            return condition
        return replace(condition, numbers={**condition.numbers, SECONDS: torch.full((len(condition),), float(seconds), device=self.device)})

    def frames_for(self, num_frames: int) -> int:
        """How many latent frames are sampled for so many: of a model that makes clips of one length alone, those of that."""
        return self.generator.frames_for(num_frames) if hasattr(self.generator, "frames_for") else num_frames

    def clip_bytes(self, num_frames: int, guided: bool) -> int:
        """About the memory that one more clip of so many latent frames takes, in sampling or decoding, whichever takes more; 0 = nobody knows."""
        row = getattr(getattr(self.generator, "network", None), "row_bytes", None)
        window = getattr(self.codec, "window_bytes", None)
        sampling = row(num_frames) * (2 if guided else 1) if row else 0
        return max(sampling, window(num_frames) * windows_at_once(self.device) if window else 0)

    def against(self, negative: Condition, condition: Condition) -> Condition:
        """The condition of negative prompts in the music of the b items that they belong to, but for what their own words say of it.

        So guidance leads away from the words alone: without it, a negative prompt that says no tempo would be less of a beat.
        """
        if not self.hears_music:
            return negative
        said = negative.numbers
        numbers = {name: torch.where(said[name].isnan(), value, said[name]) if name in said else value for name, value in condition.numbers.items()}
        return replace(negative, numbers=numbers, curves={**negative.curves, **condition.curves})

    @property
    def own_settings(self) -> SamplingSettings:
        """The model's own settings, the decoder's steps among them; what is None it does not have."""
        return self.generator.sampling.over(SamplingSettings(codec_steps=self.codec.default_steps or None))

    def resolved(self, said: SamplingSettings, own: SamplingSettings) -> SamplingSettings:
        """The settings that are said over the model's `own`, see `guidance.settled`; ValueError for one that this model does not have."""
        samplers = self.generator.samplers
        if said.sampler not in (None, *samplers):
            raise ValueError(f"sampler: this model is sampled by {', '.join(samplers)}; came {said.sampler!r}{did_you_mean(said.sampler, samplers)}")
        for name, value in said.said().items():
            if getattr(own, name) is None and name not in ("negative", "sampler"):
                raise ValueError(f"{name}: this model has no such setting; leave it away (came {value})")
        settings = guidance.settled(said, own)
        if settings.guidance in (None, 1.0) and settings.negative is not None:
            if said.negative is not None:
                raise ValueError("negative prompt: has no effect without guidance; give a guidance above 1")
            settings = replace(settings, negative=None)  # the model's own, which nobody asked for
        return settings


def restricting(licences: Mapping[str, str | None]) -> str:
    """The licences of weights which may say something of what is made with them, all but those that are known not to; "" for none."""
    said = {kind: licence for kind, licence in licences.items() if licence and not all(each.lower() in FREE for each in licence.split(" AND "))}
    return ", ".join(f"{kind} under {licence}" for kind, licence in said.items())


def check_parts(generator: Generator, codec: Codec, conditioner: Conditioner) -> None:
    """ValueError unless a generator can be trained on what a codec and a conditioner make, as far as that is known before it is made."""
    if generator.latent_channels != codec.latent_channels:
        raise ValueError(f"generator: expected {codec.latent_channels} latent channels (its network's in_channels) as the codec's, came {generator.latent_channels}")
    gives = conditioner.gives  # texts may all be shorter than they may be
    check_conditions(replace(gives, max_tokens=min(gives.max_tokens, generator.accepts.max_tokens)), generator.accepts, "conditioner")
    check_frames(generator, codec.hop, codec.sample_rate)


def check_frames(generator: Generator, hop: int, sample_rate: int) -> None:
    """ValueError unless the latent frames of a codec last as long as a generator that tells time by them reckons."""
    wanted = getattr(generator, "frame_seconds", None)
    if wanted is not None and wanted != hop / sample_rate:
        raise ValueError(f"the generator reckons with latent frames of {wanted:.6g} s, the codec's last {hop / sample_rate:.6g} s ({hop} samples of {sample_rate} Hz)")


def check_conditions(gives: ConditionShape, accepts: ConditionShape, where: str) -> None:
    """ValueError unless a generator that `accepts` these parts can be told what a conditioner `gives`.

    Tokens and vectors have to be there; numbers and curves that a conditioner does not give are not said. What is given
    beside that the generator leaves alone.
    """
    if gives.tokens != accepts.tokens:
        wanted, given = (f"text features of {shape.tokens}" if shape.tokens else "no tokens" for shape in (accepts, gives))
        raise ValueError(
            f"{where}: the generator expects {wanted} (its network's embedding_features), this text encoder has {given.removeprefix('text features of ')}; "
            "set the one, or name another encoder as conditioner.name"
        )
    if gives.max_tokens > accepts.max_tokens:
        raise ValueError(f"{where}: the generator takes {accepts.max_tokens} tokens (its max_tokens), conditions have up to {gives.max_tokens}")
    for kind in ("vectors", "curves"):
        for name, features in getattr(accepts, kind).items():
            given = getattr(gives, kind).get(name)
            if given != features and (given is not None or kind == "vectors"):
                has = "none of that name" if given is None else f"it with {given}"
                raise ValueError(f"{where}: the generator expects the {kind[:-1]} {name!r} with {features} features, the conditioner gives {has}")
