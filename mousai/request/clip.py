"""What can be asked of a cascade, checked before any model is read: prompts, length, seed, how to sample, what to start from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mousai.checks import check_number, checked_pair, checked_text
from mousai.files import read_bytes
from mousai.request.music import Music
from mousai.types import SamplingSettings

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_SECONDS = 10.0
DEFAULT_STRENGTH = 0.7
MAX_SECONDS = 600.0  # of one clip, made in one go
MAX_BATCH = 4096
SEEDS = 2**32  # torch's CPU generator reads no more of a seed


@dataclass(frozen=True)
class Request(SamplingSettings, Music):
    """One clip for each prompt; None means the model's own way. ValueError in one line for whatever cannot be.

    Clip i has the seed `seed + i`. `seconds` is 10 unless a recording is given, whose length it is then. `init` is a
    recording to vary, by `strength` (near 0: as it is, 1: nothing left of it but its loudness); `inpaint` is one in
    which the `span` (from, to) in seconds is made anew. `loudness` brings each clip to so many LUFS. Recordings are paths, or tensors `(c, s)` at the codec's rate.
    `vectors` `(b, e)` are points of a joint text–music space, one a prompt, for a model that is told one (docs/muse.md); `wordless` tells it
    no text beside them, though what the words say of tempo and key.
    How to sample is said in the fields of `SamplingSettings`, tempo, key, metre and chords in those of `Music`.
    """

    prompts: tuple[str, ...]
    seconds: float | None = None
    seed: int = 0
    batch: int | None = None  # clips made at once: more speed, more memory, the same clips
    init: Tensor | str | Path | None = None
    strength: float | None = None
    inpaint: Tensor | str | Path | None = None
    span: tuple[float, float] | None = None
    loudness: float | None = None  # LUFS of each clip
    listen: bool | None = None  # in a recording tempo, bars and key are heard where nobody says them; None = true
    vectors: Tensor | None = None
    wordless: bool = False

    def __post_init__(self) -> None:
        prompts = (self.prompts,) if isinstance(self.prompts, str) else self.prompts
        object.__setattr__(self, "prompts", checked_prompts(prompts))
        check_number("seconds", self.seconds, 0.001, MAX_SECONDS, unit=" s")
        check_number("seed", self.seed, 0, SEEDS - 1, whole=True)
        check_number("batch", self.batch, 1, MAX_BATCH, whole=True)
        check_number("loudness", self.loudness, -70, 0, unit=" LUFS")
        SamplingSettings.__post_init__(self)
        Music.__post_init__(self)
        self._check_recordings()
        if self.vectors is not None and (self.vectors.ndim != 2 or len(self.vectors) != len(self.prompts)):
            raise ValueError(f"vectors: expected (b, e), one for each of {len(self.prompts)} prompts, came {tuple(self.vectors.shape)}")

    def _check_recordings(self) -> None:
        if self.listen is not None and self.init is None and self.inpaint is None:
            raise ValueError("listen: says whether tempo, bars and key of a recording are heard; there is none")
        if self.init is not None and self.inpaint is not None:
            raise ValueError("init and inpaint: a recording is either varied as a whole or made anew in part; give one of the two")
        if self.strength is not None:
            if self.init is None:
                raise ValueError("strength: says how much of the init recording is made anew; there is none")
            check_number("strength", self.strength, 0, 1, above=True)
        if (self.inpaint is None) != (self.span is None):
            raise ValueError("inpaint: a recording and the span of it to be made anew, from and to, belong together")
        if self.inpaint is None and self.resamples is not None:
            raise ValueError("resamples: says how often each step of an inpainting is done; there is none")
        if self.inpaint is None:
            return
        begin, end = checked_pair("span", self.span)
        if not 0 <= begin < end < math.inf:
            raise ValueError(f"span: expected seconds with 0 <= from < to, came from {begin:g} to {end:g}")
        given = {"seconds": "the recording gives the length", "loudness": "the recording gives it, and stays as it is"}
        for name in ("seconds", "loudness", "sampler", "eta"):
            if getattr(self, name) is not None:
                what = given.get(name, "inpainting samples by DDIM with eta 1")
                raise ValueError(f"{name}: leave it away with inpaint; {what}")

    def __len__(self) -> int:
        return len(self.prompts)

    def seed_of(self, index: int) -> int:
        """The seed of clip `index`."""
        return (self.seed + index) % SEEDS

    def check_span(self, seconds: float) -> None:
        """ValueError unless the span lies within a recording of `seconds` and leaves something of it."""
        begin, end = self.span
        if end > seconds + 0.0005:
            raise ValueError(f"span: from {begin:g} s to {end:g} s is outside the recording, which lasts {seconds:.3f} s")
        if begin == 0 and end >= seconds - 0.0005:
            raise ValueError("span: it is the whole recording, nothing of which would be left; generate without inpaint")

    def check_length(self, seconds: float) -> None:
        """ValueError unless a recording of `seconds` is long enough for this request, and short enough for one go."""
        wanted = seconds if self.seconds is None else self.seconds
        if wanted > seconds + 0.0005:
            raise ValueError(f"seconds: the recording lasts {seconds:.3f} s, {wanted:g} s were asked for; leave seconds away or ask for less")
        if wanted > MAX_SECONDS:
            advice = "cut it" if self.inpaint is not None else "cut it, or ask for fewer seconds"
            raise ValueError(f"the recording lasts {seconds:.0f} s, the limit is {MAX_SECONDS:g} s; {advice}")


def checked_prompts(prompts: Iterable[str]) -> tuple[str, ...]:
    """The prompts without white space around them; ValueError for none, or for one that is empty, no text or too long."""
    prompts = tuple(prompts)
    if not prompts:
        raise ValueError("no prompt: say what to play, for example \"slow piano, melancholic\"")
    return tuple(checked_text(prompt, "prompt" if len(prompts) == 1 else f"prompt {index}") for index, prompt in enumerate(prompts, 1))


def read_prompts(path: str | Path) -> list[str]:
    """One prompt a line of a UTF-8 file; empty lines and lines that begin with # do not count."""
    try:
        lines = read_bytes(path, piped=True).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text with a prompt a line, byte {error.start} is not") from error
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not prompts:
        raise ValueError(f"{path}: has no prompt; expected one a line")
    return prompts
