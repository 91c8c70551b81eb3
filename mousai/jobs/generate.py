"""`mousai generate`: a file for each prompt, each with its recipe inside, written whole as soon as it is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mousai.audio import io
from mousai.jobs.places import free, ready, split_out, taken
from mousai.request.clip import SEEDS, Request
from mousai.request.music import in_few_words
from mousai.request.together import Together, beside
from mousai.request.piece import slug
from mousai.words import real_time

if TYPE_CHECKING:
    from torch import Tensor

    from mousai.jobs.best_of import Judge
    from mousai.pipelines.cascade import Cascade
    from mousai.request.music import Music

logger = logging.getLogger(__name__)

DEFAULT_FORMAT = "wav"


@dataclass(frozen=True)
class Made:
    """One finished clip: its file, its recipe (as in the file's metadata), and how it was written."""

    path: Path
    spectrogram: Path | None
    recipe: dict[str, Any]
    num_samples: int
    peak: float
    scale: float  # 1.0 = as it came; less where a peak above full scale was brought down
    took: float  # seconds of work on it

    @property
    def seconds(self) -> float:
        return self.recipe["seconds"]


def generate(
    request: Request,
    model: str | Path = "starter",
    out: str | Path | None = None,
    format: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    compile: bool = False,
    spectrogram: bool = False,
    best_of: int | None = None,
    joint: str | Path | None = None,
    flow: str | Path = "auto",
    together: Together | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Made]:
    """Makes the clips of a request and yields each when its file is there.

    `out` is a folder (default: this one), or a file name for one prompt; `format` is wav, flac, ogg, opus or mp3. No file is
    overwritten: a taken name gets a number. With `best_of`, so many takes are made of each prompt, seeds counting on, and the one
    nearest to its text by the joint encoder `joint` is kept, with the scores of all. A model that is told vectors is told what `flow` draws from
    each prompt and seed, unless the request says some, see `pipelines.muse.flow_for`. With `together` the request's one clip is made where it was in that batch.
    With `spectrogram`, a picture lies beside each file. `progress(done, total)`
    counts sampling steps; `say` gets the line of what is heard in a recording. Whatever is wrong with the input, the model's folder or
    the place raises ValueError or OSError before weights are read, what the model itself does not take before anything is made; what was yielded stays, whatever
    happens later.
    """
    folder, name, format = split_out(out, len(request), format, DEFAULT_FORMAT)
    check_recording(request)
    if request.seed + len(request) > SEEDS:
        logger.warning("seeds go on from 0 after %d: %d clips have those from 0 on", SEEDS - 1, request.seed + len(request) - SEEDS)
    from mousai.device import limit_threads
    from mousai.pipelines.cascade import check_model, load, place_and_precision

    limit_threads()
    place_and_precision(device, dtype)
    check_model(model)
    judge, also = None, {}
    if best_of is not None:
        from mousai.jobs.best_of import Judge, takes_of

        judge, request = Judge(best_of, joint), takes_of(request, best_of)
    elif joint is not None:
        raise ValueError("joint: is what takes are judged by; give best_of too")
    with ready(folder):
        cascade = load(model, device, dtype, compile=compile)
        if request.vectors is None:
            request, also = with_vectors(request, cascade, flow)
        cascade.settings(request)
        heard = cascade.heard(request)
        if say and cascade.hears_music:
            tell_heard(request, heard, say)
        yield from clips_of(request, cascade, folder, name, format, progress, heard=heard, spectrogram=spectrogram, judge=judge, together=together, also=also)


def with_vectors(request: Request, cascade: Cascade, flow: str | Path) -> tuple[Request, dict[str, Any]]:
    """The request with vectors that a flow draws, where there is one for this model, and what a recipe says of the flow."""
    from mousai.pipelines.muse import flow_for, told_vectors

    system = flow_for(cascade, flow)
    return told_vectors(request, system), {} if system is None else {"flow": system.name, "flow_fingerprint": system.fingerprint}


def clips_of(
    request: Request, cascade: Cascade, folder: Path, name: str | None, format: str | None, progress: Callable[[int, int], None] | None = None, *,
    heard: Sequence[Music] | None = None, spectrogram: bool = False, judge: Judge | None = None, together: Together | None = None, also: Mapping[str, Any] = {},
) -> Iterator[Made]:  # fmt: skip
    """The clips of a request by a loaded cascade, each when its file is there; with a judge the best of each prompt's takes alone. Recipes say `also` that."""
    heard = cascade.heard(request) if heard is None else heard
    each = 1 if judge is None else judge.takes
    takes: list[Take] = []
    with closing(takes_made(request, cascade, progress, heard, together)) as made:
        for take in made:
            takes.append(take)
            if len(takes) == each:
                best, scores = (0, {}) if judge is None else judge.best(take.prompt, [each.audio for each in takes], cascade.sample_rate, request.seed_of(takes[0].index))
                took = sum(each.took for each in takes)
                chosen = takes[best]
                says = {**also, **scores, **chosen.together.to_dict()}
                yield write(cascade, request, chosen.index, heard, chosen.audio, folder, name, format or DEFAULT_FORMAT, spectrogram, took, says)
                takes = []


@dataclass(frozen=True)
class Take:
    """A clip `(c, s)` that is not written yet: which of the request's it is, the batch that it was made in, and the seconds of work on it."""

    index: int
    prompt: str
    audio: Tensor
    together: Together
    took: float


def takes_made(
    request: Request, cascade: Cascade, progress: Callable[[int, int], None] | None, heard: Sequence[Music], together: Together | None = None
) -> Iterator[Take]:
    """The clips of a request in order; of one clip with `together` that clip, made where it was in a batch."""
    wanted, place = (request, None) if together is None else (together.around(request), together.place)
    heard = heard if together is None else [heard[0]] * len(wanted)
    index, began = 0, time.perf_counter()
    with closing(cascade.clips(wanted, progress, heard)) as batches:
        for batch in batches:
            took = (time.perf_counter() - began) / len(batch)
            for at, audio in enumerate(batch):
                if place is None:
                    yield Take(index + at, wanted.prompts[index + at], audio, beside(wanted, index + at, at, len(batch)), took)
                elif index + at == place:
                    yield Take(0, request.prompts[0], audio, beside(wanted, place, at, len(batch)), took)
                    return
            index, began = index + len(batch), time.perf_counter()


def check_recording(request: Request) -> None:
    """ValueError or FileNotFoundError for a recording that cannot be read, or is too short or too long for the request."""
    place = request.init if request.init is not None else request.inpaint
    if isinstance(place, (str, Path)):
        seconds = io.info(place).seconds
        request.check_length(seconds)
        if request.inpaint is not None:
            request.check_span(seconds)


def tell_heard(request: Request, heard: Sequence[Music], say: Callable[[str], None]) -> None:
    """Says what was heard in the recording of a request; a line for each that differs, where words say different tempos."""
    from mousai.pipelines.recording import heard_in_words

    place = request.init if request.init is not None else request.inpaint
    if place is None or request.listen is False:
        return
    name = place if isinstance(place, (str, Path)) else "the recording"
    for words in dict.fromkeys(map(heard_in_words, heard)):
        say(f"{name} has {words}")


def write(
    cascade: Cascade, request: Request, index: int, heard: Sequence[Music], audio: Tensor, folder: Path, name: str | None, format: str, spectrogram: bool, took: float,
    also: Mapping[str, Any] = {},
) -> Made:  # fmt: skip
    """Writes clip `index` under a free name; its recipe says `also` that."""
    recipe = cascade.recipe_of(request, index, audio.shape[-1] / cascade.sample_rate, heard) | dict(also)
    vacant = partial(free, folder, name or f"{slug(recipe['prompt'])}-{recipe['seed']}", format, ("png",) if spectrogram else ())
    written = io.write(vacant(), audio, cascade.sample_rate, recipe, otherwise=vacant)
    picture = draw(audio, cascade.sample_rate, written.path, recipe) if spectrogram else None
    return Made(written.path, picture, recipe, written.num_samples, written.peak, written.scale, took)


def draw(audio: Tensor, sample_rate: int, path: Path, recipe: dict[str, Any]) -> Path:
    """Draws the spectrogram of the clip at `path` beside it."""
    from mousai.pictures.spectrogram import spectrogram_png

    title = f"{recipe['prompt'][:90]}, seed {recipe['seed']}"
    return taken(path.parent, path.stem, "png", lambda place: spectrogram_png(audio, sample_rate, place, title, new=True))


def summary(made: list[Made], wall: float) -> dict[str, Any]:
    """What was made and how fast, plain enough for JSON; `wall` are the seconds of everything, the model's reading too."""
    seconds, took = sum(clip.seconds for clip in made), sum(clip.took for clip in made)
    files = [
        clip.recipe | {"path": str(clip.path), "spectrogram": clip.spectrogram and str(clip.spectrogram), "num_samples": clip.num_samples, "peak": clip.peak, "scale": clip.scale}
        for clip in made
    ]
    return {"files": files, "seconds": seconds, "took": took, "times_real_time": seconds / max(took, 1e-9), "wall": wall}


def in_words(summary: dict[str, Any]) -> str:
    """A summary: a line for each file that is the best of several takes, or in another key, metre and tempo than the others, and "made 30.0 s in 12.3 s, 2.4x real time; 15.0 s in all; in F minor, 3/4, 66 bpm"."""
    speed = f"made {summary['seconds']:.1f} s in {summary['took']:.1f} s, {real_time(summary['times_real_time'])}; {summary['wall']:.1f} s in all"
    chosen = [f"{Path(row['path']).name}: {chosen_in_words(row)}" for row in summary["files"] if "best_of" in row]
    music = {Path(row["path"]).name: in_few_words(row) for row in summary["files"]}
    alike = len(set(music.values())) == 1
    differs = [f"{name}: {said}" for name, said in music.items() if said and not alike]
    return "\n".join([*chosen, *differs, speed + (f"; in {said}" if alike and (said := next(iter(music.values()))) else "")])


def chosen_in_words(recipe: Mapping[str, Any]) -> str:
    """Which take a recipe's is, and by how much: "seed 9, the best of 4 takes by its cosine to the text, 0.412; the others 0.220 to 0.397"."""
    scores = dict(recipe["best_of"]["scores"])
    own = scores.pop(str(recipe["seed"]))
    others = f"{min(scores.values()):.3f} to {max(scores.values()):.3f}" if len(scores) > 1 else f"{next(iter(scores.values())):.3f}"
    return f"seed {recipe['seed']}, the best of {len(scores) + 1} takes by its cosine to the text, {own:.3f}; the other{'s' if len(scores) > 1 else ''} {others}"
