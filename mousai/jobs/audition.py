"""`mousai audition`: many answers to one prompt, looked at before any is made sound, and sound of the ones worth it alone.

OUT/ gets `audition.json` (what was asked, and the picks with their vectors), `map.png`, `map.html` where it is asked for, and a
file of music, `01.wav` and so on, for each pick, and for each step between two of them. A model that is told vectors makes music of them; one that is not
makes several takes of the words, of which each pick has the one whose own vector is nearest to it. `audition.json` comes first and says
`unfinished` until all is there: the same command goes on with what is missing, and makes anew what was removed since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mousai import config
from mousai.audio.write import FORMATS
from mousai.checks import check_name, check_number, checked_text
from mousai.conditioners.joint import VECTOR, Joint, resampled
from mousai.evaluation.phases import Phase, silent
from mousai.evaluation.vectors import spread
from mousai.files import read_json, write_json
from mousai.jobs import generate as clips
from mousai.jobs.best_of import shared_out
from mousai.jobs.library import Heard, hear
from mousai.jobs.places import claimed
from mousai.pictures.maps import Points, flattened, map_html, map_png
from mousai.pipelines.cascade import Cascade, load
from mousai.pipelines.muse import Flow, check_told, load_flow
from mousai.pipelines.picks import WAYS, between, check_count, pick
from mousai.request.clip import DEFAULT_SECONDS, MAX_BATCH, SEEDS, Request
from mousai.request.music import Music
from mousai.request.vectors import as_kept, packed
from mousai.types import SamplingSettings

MOST = 100_000  # vectors
TAKES_A_PICK = 2  # of a model that is told no vectors
MOST_TAKES_SECONDS = 3600.0  # of takes, all of which are held until the last is made
NAMED = 3  # items of the library that a pick is said to be near to
REPORT, MAP, PAGE = "audition.json", "map.png", "map.html"
UNFINISHED, MODEL_FINGERPRINT = "unfinished", "model_fingerprint"


@dataclass(frozen=True)
class Audition:
    """What is asked for: `n` vectors for a prompt, k of them picked, and where they are looked at."""

    prompt: str
    n: int = 256
    k: int = 8
    way: str = "diverse"
    seed: int = 0
    seconds: float | None = None
    blend: tuple[int, int] | None = None  # numbers of two picks, from 1 on, that are gone between
    blend_steps: int = 3  # between the two, the ends not among them
    map: str = "pca"
    html: bool = False
    takes: int | None = None  # of a model that is told no vectors; None = two for each file

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", checked_text(self.prompt, "prompt"))
        check_number("n", self.n, 1, MOST, whole=True)
        check_number("k", self.k, 1, MOST, whole=True)
        check_number("seed", self.seed, 0, SEEDS - 1, whole=True)
        check_number("blend_steps", self.blend_steps, 1, 100, whole=True)
        check_number("takes", self.takes, 1, MAX_BATCH, whole=True)
        if self.k > self.n:
            raise ValueError(f"k: {self.k} picks of {self.n} vectors cannot be; expected at most n")
        if self.way not in WAYS:
            raise ValueError(f"pick: expected one of {', '.join(WAYS)}, came {self.way!r}")
        check_count(self.way, self.n)
        if self.map not in ("pca", "umap"):
            raise ValueError(f"map: expected pca or umap, came {self.map!r}")
        if self.blend is not None and not (self.blend[0] != self.blend[1] and all(1 <= each <= self.k for each in self.blend)):
            raise ValueError(f"blend: expected the numbers of two picks, from 1 to {self.k}, came {self.blend[0]} and {self.blend[1]}")

    @property
    def files(self) -> int:
        """How many files of music there are to be."""
        return self.k + (0 if self.blend is None else self.blend_steps)

    def request_for_takes(self) -> Request:
        """So many takes of the words, seeds counting on; ValueError for too few, or too many to hold."""
        count = TAKES_A_PICK * self.files if self.takes is None else self.takes
        if count < self.files:
            raise ValueError(f"takes: {count} are too few for {self.files} files of music; expected as many at least")
        request = Request((self.prompt,) * count, self.seconds, self.seed)
        if count * (self.seconds or DEFAULT_SECONDS) > MOST_TAKES_SECONDS:
            raise ValueError(f"takes: {count} of {self.seconds or DEFAULT_SECONDS:g} s are more than {MOST_TAKES_SECONDS:g} s; ask for fewer, or for fewer seconds")
        return request


@dataclass(frozen=True)
class Found:
    """The vectors that were drawn, which of them are picked, and what is known of these."""

    vectors: Tensor  # (n, e)
    places: list[int]
    picks: list[dict[str, Any]]
    points: Tensor  # (n + library, 2)
    blended: Tensor  # (steps, e)


def audition(
    asked: Audition, out: str | Path, *, flow: str | Path = "starter_flow", model: str | Path | None = None, library: str | Path | None = None,
    format: str | None = None, settings: SamplingSettings = SamplingSettings(), device: str = "auto", dtype: str = "auto", phase: Phase = silent,
) -> dict[str, Any]:  # fmt: skip
    """Draws, picks, draws the map, and renders the picks by `model`, unless that is None; returns what audition.json holds.

    A model that is told no vectors renders `asked.takes` takes of the words, see `nearest_takes`.

    `settings` are those of the flow. ValueError or FileNotFoundError, before anything is drawn, for parts that do not belong together,
    what is asked of music where none is made, and a folder that has another audition. Of one that is there already nothing is made again.
    """
    of_music = {"seconds": asked.seconds, "format": format, "takes": asked.takes}
    if model is None and (said := [name for name, value in of_music.items() if value is not None]):
        raise ValueError(f"{said[0]}: is of music, and none is made; give a model, or leave it out")
    check_name("format", format, FORMATS)
    check_free(Path(out), asked)
    system = load_flow(flow, device)
    settings = system.settings(settings)
    cascade = None if model is None else load(model, device, dtype)
    told = cascade is not None and VECTOR in cascade.generator.accepts.vectors
    if told:
        check_told(cascade, system.space, system.joint.features, system.name)
        if asked.takes is not None:
            raise ValueError(f"takes: are of a model that is told no vectors, {cascade.name} is told them; leave it out")
    elif cascade is not None:
        cascade.settings(asked.request_for_takes())
    heard = None if library is None else hear(library, system.joint, phase("hearing the library: files"))
    with claimed(Path(out), "auditions") as folder:
        found = drawn(asked, system, settings, heard, phase)
        report = {
            "prompt": asked.prompt, "n": asked.n, "pick": asked.way, "k": asked.k, "seed": asked.seed, "map": asked.map,
            "flow": system.name, "fingerprint": system.fingerprint, "space": system.space, "settings": config.to_dict(settings),
            "licences": system.licences, "library": None if library is None else str(library), "picks": found.picks, "spread": round(spread(found.vectors), 4),
        }  # fmt: skip
        rows = report["picks"] + blended_rows(report, asked, found)
        if cascade is not None:
            report |= {"model": cascade.name, MODEL_FINGERPRINT: cascade.fingerprint, "told_vectors": told, "seconds": asked.seconds} | ({} if told else {"takes": len(asked.request_for_takes())})
            for number, row in enumerate(rows, 1):
                row["file"] = str(folder / f"{number:02}.{format or clips.DEFAULT_FORMAT}")
        finished = begun(folder, report, rows)
        draw_map(asked, found, heard, folder)
        if finished is not None and all(Path(row["file"]).exists() for row in rows if "file" in row):
            return finished
        if cascade is not None:
            render = partial(rendered, asked, cascade) if told else partial(nearest_takes, asked, cascade, system.joint, report)
            for row, facts in zip(rows, render(found, [Path(row["file"]) for row in rows], phase)):
                row |= facts
        write_json(folder / REPORT, report)
    return report


def check_free(folder: Path, asked: Audition) -> None:
    """ValueError for a folder with a map of something else, or with an audition of which the words or numbers are others."""
    if (folder / REPORT).exists():
        kept = read_json(folder / REPORT, "remove it, or write to another folder with --out", dict)
        said = {"prompt": asked.prompt, "n": asked.n, "pick": asked.way, "k": asked.k, "seed": asked.seed, "map": asked.map}
        if any(kept.get(name) != value for name, value in said.items()):
            raise another(folder / REPORT)
    elif taken := [name for name in (MAP, PAGE) if (folder / name).exists()]:
        raise another(folder / taken[0])


def another(path: Path) -> ValueError:
    return ValueError(f"{path} is there already, of another audition, and nothing is overwritten; write to another folder with --out")


def begun(folder: Path, report: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The report of the same audition if it was finished, or None of one that was not, whose report is in the folder then.

    ValueError for a folder with another audition, or with files of its names.
    """
    if (folder / REPORT).exists():
        kept = read_json(folder / REPORT, kind=dict)
        wanted = {name: value for name, value in report.items() if name in kept or name != MODEL_FINGERPRINT}  # which reports of before do not say
        if not says(kept, json.loads(json.dumps(wanted))):
            raise another(folder / REPORT)
        return None if UNFINISHED in kept else kept
    for row in rows:
        if "file" in row and Path(row["file"]).exists():
            raise another(Path(row["file"]))
    write_json(folder / REPORT, report | {UNFINISHED: True})
    return None


def says(kept: Any, wanted: Any) -> bool:
    """Whether JSON that was kept says what is wanted, and perhaps more; of files the name alone counts."""
    if isinstance(wanted, dict):
        files = {name: Path(value).name for name, value in wanted.items() if name == "file"}
        return isinstance(kept, dict) and all(name in kept and (Path(str(kept[name])).name == files[name] if name in files else says(kept[name], value)) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(kept, list) and len(kept) == len(wanted) and all(map(says, kept, wanted))
    return kept == wanted


def drawn(asked: Audition, system: Flow, settings: SamplingSettings, heard: Heard | None, phase: Phase) -> Found:
    """The vectors of a prompt, and the picks."""
    seeds = [(asked.seed + index) % SEEDS for index in range(asked.n)]
    vectors = torch.nn.functional.normalize(as_kept(system.vectors(asked.prompt, seeds, settings, phase("drawing vectors"))), dim=-1)
    places = pick(vectors, asked.way, asked.k, asked.seed)
    text = system.joint.texts([asked.prompt])[0].cpu()
    picks = [
        {"number": number, "seed": seeds[place], "cosine_to_text": round(float(vectors[place] @ text), 4), "vector": packed(vectors[place]), **near_to(vectors[place], heard)}
        for number, place in enumerate(places, 1)
    ]
    others = vectors if heard is None else torch.cat([vectors, heard.vectors])
    blended = torch.empty(0, vectors.shape[1])
    if asked.blend is not None:
        blended = between(*(vectors[places[each - 1]] for each in asked.blend), asked.blend_steps + 2)[1:-1]
    return Found(vectors, places, picks, flattened(others, asked.map, asked.seed), blended)


def near_to(vector: Tensor, heard: Heard | None) -> dict[str, Any]:
    return {} if heard is None else {"nearest": heard.near(vector, NAMED)}


def draw_map(asked: Audition, found: Found, heard: Heard | None, folder: Path) -> None:
    """Draws the map, and the page where it is asked for, as far as they are not there yet."""
    n = len(found.vectors)
    groups = {} if heard is None else {"library": Points(found.points[n:], [track.key for track in heard.tracks])}
    groups["drawn"] = Points(found.points[:n], [f"seed {asked.seed + index}" for index in range(n)])
    picks = Points(found.points[found.places], [in_words(row) for row in found.picks])
    title = f"{asked.prompt[:80]}: {n} vectors, {len(found.places)} picked ({asked.way}), {asked.map}"
    if not (folder / MAP).exists():
        map_png(groups, picks, folder / MAP, title)
    if asked.html and not (folder / PAGE).exists():
        map_html(groups, picks, folder / PAGE, title)


def blended_rows(report: dict[str, Any], asked: Audition, found: Found) -> list[dict[str, Any]]:
    """Rows of the report for what lies between two picks."""
    if len(found.blended):
        report["blend"] = [{"between": list(asked.blend), "step": step, "vector": packed(vector)} for step, vector in enumerate(found.blended, 1)]
    return report.get("blend", [])


def rendered(asked: Audition, cascade: Cascade, found: Found, paths: list[Path], phase: Phase) -> Iterator[dict[str, Any]]:
    """Music of the picks and of what lies between two, where it is not there yet, all drawn from one seed: what differs is the vector. Gives what a row says of it."""
    vectors = torch.cat([found.vectors[found.places], found.blended])
    progress = phase("rendering the picks: steps")
    for index, (path, vector) in enumerate(zip(paths, vectors, strict=True)):
        if path.exists():
            yield {}
            continue
        request = Request((asked.prompt,), asked.seconds, asked.seed, vectors=vector[None])
        with closing(clips.clips_of(request, cascade, path.parent, path.stem, path.suffix[1:], lambda done, total: progress(index * total + done, len(vectors) * total))) as made:
            yield {"file": str(next(made).path)}


def nearest_takes(
    asked: Audition, cascade: Cascade, joint: Joint, report: dict[str, Any], found: Found, paths: list[Path], phase: Phase
) -> Iterator[dict[str, Any]]:
    """For each pick and each step between two the take, of several of the words alone, that sounds most like it; no take twice.

    Gives what a row says of it; the report gets the mean cosine of a pick and any take. What is there already is not written again.
    """
    request = asked.request_for_takes()
    with closing(clips.takes_made(request, cascade, phase("making takes of the words: steps"), cascade.heard(request))) as made:
        takes = list(made)
    vectors = torch.stack([joint.audio(resampled(take.audio[None], cascade.sample_rate, joint.sample_rate))[0].cpu() for take in takes])
    wanted = torch.cat([found.vectors[found.places], found.blended])
    cosines = wanted @ vectors.T  # (rows, takes)
    report["cosine_to_any_take"] = round(float(cosines.mean()), 4)
    for row, (path, place) in enumerate(zip(paths, shared_out(vectors, wanted), strict=True)):
        take, cosine = takes[place], round(float(cosines[row, place]), 4)
        also = take.together.to_dict() | {"nearest_to": {"vector": packed(wanted[row]), "space": joint.space, "cosine": cosine, "takes": len(takes)}}
        if not path.exists():
            clips.write(cascade, request, place, [Music()] * len(request), take.audio, path.parent, path.stem, path.suffix[1:], False, take.took, also)
        yield {"take_seed": request.seed_of(place), "cosine_to_take": cosine}


def in_words(row: dict[str, Any]) -> str:
    near = row.get("nearest") or []
    return f"{row['number']}: seed {row['seed']}, cosine to the text {row['cosine_to_text']:.3f}" + "".join(f", {each['file']} {each['cosine']:.2f}" for each in near[:1])


def sound_in_words(row: dict[str, Any]) -> str:
    take = f"take {row['take_seed']}, cosine {row['cosine_to_take']:.2f}: " if "take_seed" in row else ""
    return f"  {take}{row['file']}" if "file" in row else ""


def summary(report: dict[str, Any], out: str | Path) -> str:
    """A line for each pick, and where everything is."""
    lines = [in_words(row) + sound_in_words(row) for row in report["picks"]]
    lines += [f"between {row['between'][0]} and {row['between'][1]}, step {row['step']}" + sound_in_words(row) for row in report.get("blend", [])]
    if "takes" in report:
        nearest = [row["cosine_to_take"] for row in [*report["picks"], *report.get("blend", [])]]
        lines.append(
            f"{report['model']} is told no vectors: of {report['takes']} takes of the words each pick has the one that sounds most like it, "
            f"cosine {sum(nearest) / len(nearest):.2f} on average, {report['cosine_to_any_take']:.2f} to any take"
        )
    return "\n".join([*lines, f"{report['n']} vectors, spread {report['spread']:.3f}; map and vectors in {out}"])
