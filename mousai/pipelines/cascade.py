"""A cascade: text → condition → latents → music, from one model folder (Moûsai, arXiv 2301.11757, figure 1).

`load` reads one; `Cascade.generate` makes music with it. Everything random about a clip follows from its own seed, so
that it comes out the same alone and in any batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mousai import checkpoint, config
from mousai.audio import io
from mousai.audio.loudness import brought_to
from mousai.checks import check_number, within
from mousai.conditioners.joint import VECTOR
from mousai.device import choose_device, choose_dtype
from mousai.diffusion.sampling import PLAIN
from mousai.diffusion.schedules import start_time
from mousai.pipelines.batches import fitting, in_batches
from mousai.pipelines.long_form import RECORDING_BLOCK, Latents, Rendering, lead_of
from mousai.pipelines.recording import CONTEXT_SECONDS, begin, finish, music_in, named, with_heard
from mousai.pipelines.system import System, check_conditions
from mousai.recipe import REGISTRIES, SYSTEM, part_from, part_with_weights
from mousai.request.clip import DEFAULT_STRENGTH, Request
from mousai.request.music import MUSIC_CHECKS, Music, in_words
from mousai.request.piece import Piece
from mousai.request.vectors import as_kept, packed
from mousai.trust import DOWNLOADS, allowing, trusting
from mousai.types import SETTING_CHECKS, Callback, SamplingSettings

CLIPS_AT_ONCE = {"cpu": (4, 60.0), "cuda": (16, 600.0)}  # at most so many, and about so many seconds of them


class Cascade(System):
    """A system that makes music: clips by `generate`, pieces of any length by `render`."""

    def generate(
        self,
        prompts: str | Sequence[str],
        seconds: float | None = None,
        seed: int = 0,
        *,
        batch: int | None = None,
        init: Tensor | str | Path | None = None,
        strength: float | None = None,
        inpaint: Tensor | str | Path | None = None,
        span: tuple[float, float] | None = None,
        loudness: float | None = None,
        vectors: Tensor | None = None,
        callback: Callback | None = None,
        **settings: Any,
    ) -> Tensor:
        """Music `(b, c, s)` float32 on the CPU, a clip of `seconds` (default 10) for each of the prompts.

        Clip i follows from its prompt and `seed + i` alone. `settings` are the fields of `types.SamplingSettings`, such as
        `steps=100, guidance=3.0, negative="drums"` (see docs/diffusion.md); what is left away is the model's own; and `bpm`, `key`,
        `metre`, `chords` and `downbeat` (see docs/music.md), of which a model that hears them takes what is left away from the
        prompt, from a recording, unless `listen` is False, or draws it. `batch` clips are made at once.

        With `init`, a recording (a path, or `(c, s)` at `sample_rate`), it is varied: the larger `strength`, above 0 to
        1 (default 0.7), the less is left of it. With `inpaint`, the `span` (from, to) of it in seconds is made anew
        and everything else stays, to the sample. Either way the length is the recording's, unless `seconds` of `init`
        are asked for. `loudness` is that of each clip in LUFS, its true peak then at most -1 dBTP; unless given, what the model makes.
        `vectors` `(b, e)` are told a model that hears them, one a prompt: `pipelines.muse.Flow.vectors` draws some.

        `callback(done, total)` counts sampling steps. ValueError or FileNotFoundError for what cannot be.
        """
        config.check_keys(settings, (*SETTING_CHECKS, *MUSIC_CHECKS, "listen"))
        request = Request(prompts, seconds, seed, batch, init, strength, inpaint, span, loudness, vectors=vectors, **settings)
        return torch.cat(list(self.clips(request, callback)))

    def clips(self, request: Request, callback: Callback | None = None, heard: Sequence[Music] | None = None) -> Iterator[Tensor]:
        """The clips of a request, `(b, c, s)` float32 on the CPU, one batch after the other; `heard` is what `heard` gives, if that was asked already."""
        settings, strength = self.settings(request)
        start = begin(request, self.codec, self.rms, self.device)
        frames = math.ceil(start.num_samples / self.codec.hop)
        condition = self.encode_texts(request.prompts)
        if request.vectors is not None:
            condition = replace(condition, vectors={**condition.vectors, VECTOR: as_kept(request.vectors).to(self.device)})
        if request.wordless:
            condition = replace(condition, tokens=None, mask=None)
        heard = self.heard(request) if heard is None else heard
        music = [self.music(request, index, heard[index]) for index in range(len(request))]
        condition = self.in_music(condition, music, frames, start.window[0] / self.sample_rate)
        condition = self.in_time(condition, start.num_samples / self.sample_rate)
        against = getattr(self.generator, "no_condition", None) if settings.negative is None and settings.guidance not in (None, 1.0) else settings.negative
        negative = None if against is None else self.in_time(self.conditioner.encode([against]), start.num_samples / self.sample_rate)
        sampled = self.frames_for(frames) if start.latents is None else frames
        plain = settings.over(PLAIN)
        sample_steps = plain.steps * (plain.resamples if request.inpaint is not None else 1)
        decode_steps = settings.codec_steps or 0  # of a codec that does not sample
        batch = self.batch_of(request, start.num_samples / self.sample_rate)
        batch = fitting(batch, self.clip_bytes(sampled, guided=settings.guidance not in (None, 1.0)), self.device)

        def make(first: int, b: int) -> Tensor:
            part = condition[first : first + b]
            seeds = [request.seed_of(first + index) for index in range(b)]
            count = counting(callback, first, b, len(request), sample_steps, decode_steps)
            latents = self.generator.sample(
                part,
                sampled,
                seeds=seeds,
                negative=None if negative is None else self.against(negative.expand(b), part),
                settings=settings,
                init=None if start.latents is None else start.latents.expand(b, -1, -1),
                strength=start_time(strength),
                keep=start.keep,
                callback=count(0, sample_steps),
            )
            audio = self.codec.decode(
                latents[..., : frames + self.codec.context_frames], start.num_samples, seeds=seeds, steps=settings.codec_steps, callback=count(sample_steps, decode_steps)
            )
            made = finish(audio.float().cpu(), start, self.sample_rate)
            if request.loudness is not None:
                made = torch.stack([brought_to(clip, self.sample_rate, request.loudness) for clip in made])
            return made

        yield from in_batches(len(request), batch, make, self.device)

    def settings(self, request: Request) -> tuple[SamplingSettings, float]:
        """What a request's sampling settings and its strength come to: with everything said that it leaves to the model.

        Inpainting does each step several times, so that without `steps` it takes as many fewer.
        """
        self.check_music(request.music())
        if request.vectors is not None and self.generator.accepts.vectors.get(VECTOR) != request.vectors.shape[1]:
            told = self.generator.accepts.vectors.get(VECTOR)
            raise ValueError(f"vectors: this model is told {f'vectors of {told} features' if told else 'none'}, came some of {request.vectors.shape[1]}")
        if request.wordless and request.vectors is None:
            raise ValueError("wordless: leaves the vectors alone to be told, and there are none; name a model that is told vectors, and no flow of none")
        own, said = self.own_settings, request.settings()
        if request.inpaint is not None:
            plain = own.over(PLAIN)
            resamples = request.resamples or plain.resamples
            own = replace(own, steps=math.ceil(plain.steps / resamples), resamples=plain.resamples, sampler="ddim", eta=1.0)
        strength = (DEFAULT_STRENGTH if request.strength is None else request.strength) if request.init is not None else 1.0
        return self.resolved(said, own), strength

    def music(self, request: Request, index: int, heard: Music) -> Music:
        """The tempo, key, metre and chords of clip `index`; where there is a recording nothing is drawn, it has its own, `heard` in it."""
        drawn = request.init is None and request.inpaint is None
        music = self.settled(request.music(), request.prompts[index], request.seed_of(index), drawn)
        return music if drawn else with_heard(music, heard)

    def heard(self, request: Request) -> list[Music]:
        """What is heard in the recording of a request, around what of it is made anew, for each clip; nothing where nobody listens.

        The tempo and metre that a clip's options or words say are kept to; clips that say the same share one hearing.
        """
        place = request.init if request.init is not None else request.inpaint
        if place is None or not self.hears_music:
            return [Music()] * len(request)
        said = [request.music().over(in_words(prompt)) for prompt in request.prompts]
        said = [Music(bpm=each.bpm, metre=each.metre) for each in said]
        begin, end = (0.0, request.seconds) if request.span is None else (max(0.0, request.span[0] - CONTEXT_SECONDS), request.span[1] + CONTEXT_SECONDS)
        found = {each: music_in(place, each, self.sample_rate, begin, end, listen=request.listen is not False) for each in dict.fromkeys(said)}
        return [found[each] for each in said]

    @torch.no_grad()
    def render(self, piece: Piece) -> Iterator[Tensor]:
        """A long piece as blocks of audio `(c, any)` float32 on the CPU, in memory that does not grow with its length.

        A piece that extends a recording begins with it. The audio is as the codec gives it: what `mousai render` writes has
        been brought to `piece.loudness` in a second pass. ValueError or FileNotFoundError for what cannot be.
        """
        lead, recording = None, iter(())
        if piece.extend is not None:
            lead, num_samples, _ = lead_of(self, piece)
            recording = io.blocks(piece.extend, self.sample_rate, self.codec.channels, RECORDING_BLOCK)
        rendering = Rendering(self, piece, lead)
        left = 0 if lead is None else num_samples - rendering.join
        for block in recording:
            if left > 0:
                yield block[:, :left]
            left -= block.shape[-1]
        yield from rendering.audio(Latents(rendering))

    def batch_of(self, request: Request, seconds: float) -> int:
        """How many clips of `seconds` are made at once: on a CPU four short ones take a fifth less time than one by one."""
        most, together = CLIPS_AT_ONCE.get(self.device.type, CLIPS_AT_ONCE["cpu"])
        return min(len(request), request.batch or max(1, min(most, int(together / seconds))))

    def recipe_of(self, request: Request, index: int, seconds: float, heard: Sequence[Music] | None = None) -> dict[str, Any]:
        """Everything that clip `index` of `seconds` follows from, plain enough for JSON: what goes into its file; `heard` as of `clips`."""
        settings, strength = self.settings(request)
        made: dict[str, Any] = {"prompt": request.prompts[index], "seed": request.seed_of(index), "seconds": round(seconds, 6)}
        made |= {name: value for name, value in config.to_dict(settings).items() if name != "resamples"}
        of_clip = (self.heard(request) if heard is None else heard)[index]
        made |= self.music(request, index, of_clip).said() | ({"heard": of_clip.said()} if of_clip.said() else {})
        if request.loudness is not None:
            made["loudness"] = request.loudness
        if request.vectors is not None:
            made |= {"vector": packed(request.vectors[index])} | ({"wordless": True} if request.wordless else {})
        if request.init is not None:
            made |= {**named("init", request.init), "strength": strength, "start": start_time(strength)}
        if request.inpaint is not None:
            made |= {**named("inpaint", request.inpaint), "from": request.span[0], "to": request.span[1], "resamples": settings.resamples}
        return made | self.facts


def load(
    path_or_name: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None, *, trust: bool = False,
    download: bool = False, compile: bool = False,
) -> Cascade:  # fmt: skip
    """The cascade of a model folder, or of a name: "starter" is the model that comes with the package.

    `device` is the first CUDA device, else the CPU, unless it is said; `dtype` (float32, bfloat16, float16) is bfloat16
    on a CUDA device that computes in it, else float32. With `trust`, a model may name classes outside mousai, whose code
    then runs; with `download`, a text encoder that it names and that is not here is fetched. With `compile`, the networks are compiled when they are first used, see docs/performance.md.
    FileNotFoundError or ValueError says what is wrong.
    """
    where, precision = place_and_precision(device, dtype)
    check_model(path_or_name)
    folder = checkpoint.model_folder(path_or_name)
    settings, state = checkpoint.load_model(folder)
    with trusting(trust), allowing(*([DOWNLOADS] if download else [])):
        codec, generator = (part_with_weights(kind, settings, state, str(path_or_name)).requires_grad_(False) for kind in ("codec", "generator"))
        conditioner = part_from("conditioner", settings["conditioner"], f"{path_or_name}: conditioner").build()
    check_conditions(conditioner.gives, generator.accepts, str(path_or_name))
    origin = {"name": Path(os.path.abspath(path_or_name)).name, "fingerprint": checkpoint.fingerprint(folder)}
    licences = within(settings, "licences")
    cascade = Cascade(codec, conditioner, generator, **shown(settings, "generator", str(path_or_name)), **origin, licences=licences).to(where, precision)
    return cascade.compile() if compile else cascade


def load_codec(
    path_or_name: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None, *, trust: bool = False
) -> tuple[nn.Module, float | None]:
    """The codec alone, of a cascade or of a codec's own folder, and the level (rms) that it was trained at; as `load`."""
    where, precision = place_and_precision(device, dtype)
    check_model(path_or_name, ("codec",))
    settings, state = checkpoint.load_model(checkpoint.model_folder(path_or_name))
    with trusting(trust):
        codec = part_with_weights("codec", settings, state, str(path_or_name)).requires_grad_(False).to(where)
    codec.set_precision(precision)
    return codec, shown(settings, "codec", str(path_or_name))["rms"]


def check_model(path_or_name: str | Path, kinds: Sequence[str] = tuple(SYSTEM)) -> dict[str, Any]:
    """The config of a model folder that has all of `kinds`; FileNotFoundError or ValueError before any weights are read."""
    settings = checkpoint.load_config(checkpoint.model_folder(path_or_name))
    if lacks := [kind for kind in kinds if kind not in settings]:
        has = ", ".join(kind for kind in REGISTRIES if kind in settings) or "none of these"
        raise ValueError(f"{path_or_name}: this model has no {' and no '.join(lacks)}; it has {has}")
    return settings


def place_and_precision(device: torch.device | str | None, dtype: torch.dtype | str | None) -> tuple[torch.device, torch.dtype]:
    """The device and the dtype that are meant; ValueError for what this machine does not have."""
    where = choose_device("auto" if device is None else str(device))
    return where, choose_dtype("auto" if dtype is None else str(dtype).removeprefix("torch."), where)


def shown(settings: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """The level and the frames of the music that a part was trained on, as its model's config says; None where nobody knows."""
    origin = ("provenance", "codec") if kind == "codec" and "generator" in settings else ("provenance",)
    data = within(settings, *origin, "recipe", "data")
    check_number(f"{name}: provenance: rms", data.get("rms"), 0, 1000, above=True)
    check_number(f"{name}: provenance: crop_frames", data.get("crop_frames"), 1, 2**31, whole=True)
    return {what: data.get(what) for what in ("rms", "crop_frames")}


def counting(callback: Callback | None, first: int, b: int, clips: int, sample_steps: int, decode_steps: int) -> Callable[[int, int], Callback | None]:
    """`count(begin, length)` makes a callback that maps what it hears to steps `begin` … `begin + length` of this batch's.

    A step counts once for each clip; decoding counts `decode_steps` in however many windows it is done.
    """
    each = sample_steps + decode_steps

    def count(begin: int, length: int) -> Callback | None:
        if callback is None:
            return None
        return lambda done, total: callback(first * each + b * (begin + length * done // total), clips * each)

    return count
