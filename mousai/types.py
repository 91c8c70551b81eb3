"""The contracts between the rooms: what an assembled system may use of a codec, a conditioner and a generator.

Audio is `(b, c, s)` float32, nominally in [-1, 1]; latents `(b, d, l)`. What a part does beyond this page is its own
affair: nothing outside its room reads its config or its network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from mousai.checks import check_name, check_number, checked_pair, checked_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_STEPS = 5000  # beyond it, neighbouring times of the denser schedules are the same float32
MAX_GUIDANCE = 100.0
Callback = Callable[[int, int], None]  # (done, total)


# Conditions


@dataclass(frozen=True)
class ConditionShape:
    """Which parts conditions have and how wide they are: what a conditioner gives, or a generator accepts."""

    tokens: int = 0  # features of a token; 0 = no tokens
    max_tokens: int = 0  # of the longest sequence
    vectors: Mapping[str, int] = field(default_factory=dict)  # name: features
    numbers: tuple[str, ...] = ()
    curves: Mapping[str, int] = field(default_factory=dict)  # name: features of a latent frame


@dataclass(frozen=True)
class Condition:
    """What a generator is told about b items, in named parts; a part that is not there is not said.

    Tokens `(b, n, e)` with their boolean mask `(b, n)`, True = real; vectors `(b, e)` such as a music embedding, NaN = not said; numbers
    `(b,)` float32 such as seconds or tempo, NaN = not said of that item; curves `(b, e, l)`, a value a latent frame, such
    as chroma.
    """

    tokens: Tensor | None = None
    mask: Tensor | None = None
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    curves: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.mask is None):
            raise ValueError("a condition's tokens and their mask belong together")
        if not self.parts():
            raise ValueError("a condition has at least one part: tokens, vectors, numbers or curves")

    def __len__(self) -> int:
        return len(next(iter(self.parts().values())))

    def __getitem__(self, index: slice | Tensor) -> Condition:
        """The items of a slice, or of a LongTensor of rows: the batch axis stays."""
        return self.each(lambda part: part[index])

    def parts(self) -> dict[str, Tensor]:
        """Every part under its name: `tokens`, `mask`, `vectors.NAME`, `numbers.NAME`, `curves.NAME`; `from_parts` takes them."""
        named = {} if self.tokens is None else {"tokens": self.tokens, "mask": self.mask}
        for kind in ("vectors", "numbers", "curves"):
            named |= {f"{kind}.{name}": part for name, part in getattr(self, kind).items()}
        return named

    @classmethod
    def from_parts(cls, parts: Mapping[str, Tensor]) -> Condition:
        """The condition of `parts()`; other names without a dot, of a batch that has latents too, are passed over."""
        groups: dict[str, dict[str, Tensor]] = {"vectors": {}, "numbers": {}, "curves": {}}
        for name, part in parts.items():
            kind, _, own = name.partition(".")
            if own and kind not in groups:
                raise ValueError(f"a condition has tokens, vectors, numbers and curves; came {name!r}")
            if own:
                groups[kind][own] = part
        return cls(parts.get("tokens"), parts.get("mask"), **groups)

    def each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        """The condition of every part changed."""
        return Condition.from_parts({name: change(part) for name, part in self.parts().items()})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Condition:
        """The same on `device`; `dtype` is for tokens, vectors and curves: the mask stays boolean, numbers stay as exact as they are."""
        moved = {name: part.to(device) for name, part in self.parts().items()}
        if dtype is not None:
            moved = {name: part if name == "mask" or name.startswith("numbers.") else part.to(dtype) for name, part in moved.items()}
        return Condition.from_parts(moved)

    def expand(self, b: int) -> Condition:
        """A condition of one item for b items."""
        return self.each(lambda part: part.expand(b, *part.shape[1:]))

    def frames(self, first: int, count: int) -> Condition:
        """The condition of `count` latent frames from `first` on; beyond a curve's end its last value stays."""
        if not self.curves:
            return self

        def cut(curve: Tensor) -> Tensor:
            last = curve.shape[-1] - 1
            return curve[..., [min(frame, last) for frame in range(first, first + count)]]

        return replace(self, curves={name: cut(curve) for name, curve in self.curves.items()})


def joined(conditions: Sequence[Condition]) -> Condition:
    """One condition of the items of several, in order; tokens are padded to the longest, masked out.

    ValueError unless all of them have the same parts.
    """
    names = list(conditions[0].parts())
    if any(list(each.parts()) != names for each in conditions):
        raise ValueError(f"conditions of different parts cannot be joined: {', '.join(names)} and others")
    import torch
    from torch.nn import functional as F

    longest = max((each.tokens.shape[1] for each in conditions if each.tokens is not None), default=0)
    together = {}
    for name in names:
        parts = [each.parts()[name] for each in conditions]
        if name == "tokens":
            parts = [F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
        elif name == "mask":
            parts = [F.pad(part, (0, longest - part.shape[1])) for part in parts]
        together[name] = torch.cat(parts)
    return Condition.from_parts(together)


# How to sample


SAMPLERS = ["ddim", "dpmpp_2m", "euler", "midpoint", "heun"]  # diffusion/samplers.py has them, and adds what is registered there
SCHEDULES = ("linear", "cosine", "quadratic", "logsnr", "karras")  # and diffusion/schedules.py these


def setting(help: str, *flags: str, range: tuple[float, float] | None = None, whole: bool = False, names: Sequence[str] = (), show: str = "") -> Any:
    """A field of `SamplingSettings`: what it is in the words of the command line, its short flags, and what it may be."""
    return field(default=None, metadata={"help": help, "flags": flags, "range": range, "whole": whole, "names": names, "show": show})


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How to sample; None is the model's own way. ValueError in one line for what cannot be.

    What can be asked for (a clip, a long piece), a generator's own settings, the command line, job files, the recipes in
    files and replay have these fields from here.
    """

    steps: int | None = setting("Sampling steps of the generator.", range=(1, MAX_STEPS), whole=True)
    guidance: float | None = setting("How closely the prompt is followed; 1 = no guidance.", "-g", range=(0, MAX_GUIDANCE))
    negative: str | None = setting("What it should not be.", "-n")
    sampler: str | None = setting(f"{', '.join(SAMPLERS)}.")  # or one that a model's own code has registered: what a model takes it knows
    schedule: str | None = setting(f"{', '.join(SCHEDULES)}.", names=SCHEDULES)
    eta: float | None = setting("Fresh noise in each step of ddim, 0 to 1.", range=(0, 1))
    rescale: float | None = setting("How far guided predictions are brought back to their level, 0 to 1.", range=(0, 1))
    interval: tuple[float, float] | None = setting("Times between which guidance is on.", show="LOW HIGH")
    apg: float | None = setting("How much of what guidance adds along the prediction is taken out, 0 to 1.", range=(0, 1))
    apg_norm: float | None = setting("Largest change of the data by guidance, root mean square; 0 = no limit.", range=(0, 100))
    hold: float | None = setting("How far each channel of guided latents is brought back to its level without guidance, 0 to 1.", range=(0, 1))
    resamples: int | None = setting("Times that each step is done where a part is known.", range=(1, 100), whole=True)
    codec_steps: int | None = setting("Sampling steps of the decoder.", range=(1, MAX_STEPS), whole=True)

    def __post_init__(self) -> None:
        for name, check in SETTING_CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.eta and self.sampler not in (None, "ddim"):
            raise ValueError(f"eta: belongs to ddim; {self.sampler} draws no noise, leave it away")

    def settings(self) -> SamplingSettings:
        """The settings alone, of what has more fields than these."""
        return SamplingSettings(**{each.name: getattr(self, each.name) for each in fields(SamplingSettings)})

    def said(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {each.name: value for each in fields(SamplingSettings) if (value := getattr(self, each.name)) is not None}

    def over(self, own: SamplingSettings) -> SamplingSettings:
        """These settings, and where they say nothing those of `own`; an eta of its own is meant for its own sampler."""
        said = self.said()
        if said.get("sampler", "ddim") != "ddim" and own.eta is not None:
            said.setdefault("eta", 0.0)
        return replace(own.settings(), **said)


def _check_of(name: str, metadata: Mapping[str, Any]) -> Callable[[str, Any], Any]:
    """`check(name, value)` for a field, which gives the value as it is kept."""

    def number(name: str, value: Any) -> Any:
        check_number(name, value, *metadata["range"], whole=metadata["whole"])
        return value if value is None or metadata["whole"] else float(value)

    def named(name: str, value: Any) -> Any:
        check_name(name, value, metadata["names"])
        return value

    def text(name: str, value: Any) -> Any:
        return None if value is None else checked_text(value, f"{name} prompt", may_be_empty=True) or None

    def times(name: str, value: Any) -> Any:
        if value is None:
            return None
        low, high = checked_pair(name, value)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"{name}: expected two times with 0 <= low <= high <= 1, came {low:g} and {high:g}")
        return float(low), float(high)

    def word(name: str, value: Any) -> Any:
        return None if value is None else checked_text(value, name)

    if metadata["range"]:
        return number
    return named if metadata["names"] else times if metadata["show"] else text if name == "negative" else word


SETTING_CHECKS = {each.name: _check_of(each.name, each.metadata) for each in fields(SamplingSettings)}


# Parts


class Codec(Protocol):
    """Audio to latents and back. Any length goes in and exactly that length comes out.

    A codec is an `nn.Module`, made as `Class(config)`, its config a frozen dataclass and the annotation of that argument.
    It may have `compile()`, for its networks. One that is trained may also have `initialise(batches)`, called once with
    training audio (`INITIAL_ITEMS` crops of it, where it says so) before the first step, and `calibrate(batches)`, called
    before its weights are exported; `LATENT_PARTS` may name the beginnings of the config fields and weights that its latents
    follow from, so that a cache outlives a decoder trained on; `latent_strengths (d,)` may say how much is heard of each.
    """

    sample_rate: int
    channels: int
    hop: int  # samples that a latent frame stands for
    latent_channels: int
    default_steps: int  # sampling steps of decoding where none are asked for; 0 if it does not sample
    stride_frames: int  # latent frames that a window of a stream yields
    context_frames: int  # latent frames that it sees on each side, half of them crossfaded
    dtype: torch.dtype  # that its network computes in

    def to(self, device: torch.device | str) -> Codec:
        """Moves it."""

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype for what does nearly all of the work; the rest stays float32."""

    def encode(self, audio: Tensor, whole: bool = False) -> Tensor:
        """Latents `(b, d, ceil(s / hop))` of zero mean and unit variance for audio `(b, c, s)`; `whole`: in one window, however long."""

    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The latents of audio that comes in `pieces (b, c, any)`; the cuts make no difference."""

    def decode(
        self, latents: Tensor, num_samples: int | None = None, *, seeds: list[int] | None = None, steps: int | None = None, callback: Callback | None = None
    ) -> Tensor:
        """Audio `(b, c, num_samples)` for latents `(b, d, l)`, at most and by default `l * hop`; item i's noise is that of `seeds[i]`."""

    def decode_stream(
        self, pieces: Iterable[Tensor], *, seeds: list[int] | None = None, steps: int | None = None, callback: Callback | None = None,
        num_frames: int | None = None, start: int = 0, batch: int = 1,
    ) -> Iterator[Tensor]:  # fmt: skip
        """The audio of latents that come in `pieces (b, d, any)`; from the window of number `start` on, see `resume`."""

    def resume(self, sample: int) -> tuple[int, int, int]:
        """Where `decode_stream` goes on for the audio from `sample` on: (`start`, first latent frame, first sample that comes)."""

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The training objective for audio `(b, c, s)`, with scalars worth logging."""


class Conditioner(Protocol):
    """Texts to a `Condition`; frozen, so its weights are in no optimizer, average or checkpoint of ours. Made as a codec is, no module.

    It may have `of_recording(metadata, start, num_frames, frame_seconds)`: the parts of a condition, by their names and without
    their batch axis, that a recording's metadata say of the latent frames from `start` seconds on; and `of_audio(audio,
    sample_rate)`: those, by their names, that recordings `(b, c, s)` say by their sound.
    """

    gives: ConditionShape

    @staticmethod
    def licence_of(config: Any) -> str | None:
        """The licence of its weights, as SPDX has it, by its config alone; None = nobody has said."""

    def to(self, device: torch.device | str) -> Conditioner:
        """Moves it."""

    def encode(self, texts: list[str]) -> Condition:
        """One condition for a list of `b` texts."""


# (x (b, d, l), t (b,), item (b,), negative (b,), first frame of each row) -> the guided prediction (b, d, l)
RowPredict = Callable[["Tensor", "Tensor", "Tensor", "Tensor", Sequence[int]], "Tensor"]


class Generator(Protocol):
    """A condition to latents; the absence of a condition is an embedding that it has learned. A module, made as a codec is.

    It may have `compile()`, for its networks; `frame_seconds`, what a latent frame has to last, None for any length;
    `prepare(codec)`, called before training with the codec whose latents it learns; `frames_for(num_frames)`, how many it samples
    for so many, where that is more; `own_samplers`, see diffusion/stochastic.py; and `no_condition`, a text that stands for it.
    """

    latent_channels: int
    frame_multiple: int  # latent frames that its network takes are multiples of it
    accepts: ConditionShape
    sampling: SamplingSettings  # its own settings; what is None there it does not have
    samplers: tuple[str, ...]
    process: Any  # a path of diffusion/process.py, on which windows of long pieces are sampled
    dtype: torch.dtype  # that its network computes in

    def to(self, device: torch.device | str) -> Generator:
        """Moves it."""

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype for what does nearly all of the work; the rest stays float32."""

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training objective for latents `(b, d, l)`; `frames` `(b,)` counts the real ones where some are padding."""

    def sample(
        self, condition: Condition, num_frames: int, *, seeds: list[int], negative: Condition | None = None,
        settings: SamplingSettings | None = None, init: Tensor | None = None, strength: float = 1.0, keep: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Tensor:  # fmt: skip
        """Latents `(b, d, num_frames)`, item i drawn from `seeds[i]` alone; `negative` takes the place of "no condition".

        With `init` `(b, d, num_frames)` sampling starts from it at time `strength`; with boolean `keep` `(b or 1, 1,
        num_frames)`, True = known, that part of `init` stays as it is and the rest is made to fit.
        """

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """What the windows of a long piece are sampled with: the prediction under guidance for rows of any condition and time.

        `item` and `negative` say which of `conditions`, of one item each, a row has; None there is "no condition". Each
        row's `t` is among `times[:-1]`, unless its process' sampler asks for times between them. The first frames say which part
        of the conditions' curves a row is told.
        """
