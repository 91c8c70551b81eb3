"""What a file or folder is: a model, a training run, a latent cache, a file of latents, an audition, an audio file with its recipe, a library of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mousai import checkpoint, config
from mousai.checks import within
from mousai.words import clock

AUDITION = "audition.json"
JOINT = "starter_joint"

if TYPE_CHECKING:
    from mousai.symbolic.score import Score
    from mousai.training.log import Row


def describe(place: str | Path) -> dict[str, Any]:
    """A description, plain enough for JSON, of a model (a folder, or a name such as "starter"), a run, a cache, an audition, music or a file."""
    path = Path(place)
    if path.suffix == ".safetensors":
        return describe_latents(path)
    if path.suffix == ".jsonl":
        return describe_library(path)
    if path.is_file():
        return describe_score(path) if path.suffix.lower() in (".mid", ".midi") else describe_audio(path)
    if not path.exists() and not checkpoint.model_folder(place).exists():
        raise FileNotFoundError(f"no such file or folder: {place}; the shipped models are {', '.join(checkpoint.SHIPPED)}")
    if (path / "cache.json").exists():
        return describe_cache(path)
    if is_run(path):
        return describe_run(path)
    if (path / AUDITION).is_file():
        return describe_audition(path)
    if path.is_dir() and not (path / "config.yaml").exists() and has_audio(path):
        return describe_library(path)
    return describe_model(checkpoint.model_folder(place))


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run."""
    return (folder / "config.yaml").exists() and ((folder / "log.jsonl").exists() or (folder / "state").is_dir())


def describe_run(folder: Path) -> dict[str, Any]:
    """How far a training run is, how good, and how fast, from its recipe, plan and log; reads no weights, and loads no class that it names."""
    from mousai.training.budget import is_planned, read_plan, steps_of
    from mousai.training.config import TrainConfig
    from mousai.training.log import read_log

    recipe = config.read_yaml(folder / "config.yaml")
    setting = config.from_dict(TrainConfig, recipe.get("train"), f"{folder / 'config.yaml'}: train")
    stages = read_plan(folder, setting)
    rows, damaged = read_log(folder / "log.jsonl")
    steps = steps_of(setting, stages) if is_planned(setting, stages) else None
    saved = checkpoint.newest_state(folder / "state")
    exported = within(checkpoint.load_config(folder / "model"), "provenance").get("step") if (folder / "model").is_dir() else None
    step = max([row["step"] for row in rows] + [saved[0] if saved else 0])
    return {
        "kind": "training run",
        "path": str(folder),
        "trains": next((kind for kind in ("generator", "joint", "prior", "grid", "phrases") if recipe.get(kind) is not None), "codec"),
        "step": step,
        "steps": steps,
        "done": steps is not None and saved is not None and saved[0] >= steps,
        "saved_step": saved and saved[0],
        "exported_step": exported,
        **progress_of(rows),
        "damaged_log_lines": damaged,
        "train": config.to_dict(setting),
    }


def progress_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The last losses, the best and the last validation, and the speed that a run's log tells; what it does not tell is None."""
    logged = [row for row in rows if {"loss", "steps_per_second"} <= row.keys()]
    validated = [row for row in rows if "valid/loss" in row]
    best = min(validated, key=lambda row: row["valid/loss"], default=None)
    timed = [(row["step"] - before, row["steps_per_second"]) for before, row in zip([0, *(row["step"] for row in logged)], logged)]
    seconds = sum(count / speed for count, speed in timed if speed > 0)
    return {
        "last": logged[-1] if logged else None,
        "last_validation": validated[-1] if validated else None,
        "best_validation": best,
        "seconds": round(seconds, 1) if logged else None,
        "steps_per_second": logged[-1]["step"] / seconds if seconds else None,
    }


def plot(folder: str | Path, out: str | Path | None = None) -> Path:
    """Draws the curves of a training run to a PNG file, `curves.png` in its folder unless it is said; returns its path.

    ValueError for what is no run, or has logged nothing yet.
    """
    from mousai.pictures.curves import curves_png
    from mousai.training.log import read_log

    folder = Path(folder)
    if not is_run(folder):
        raise ValueError(f"{folder} is no training run: curves are drawn of a folder that `mousai train` wrote, with its log.jsonl")
    rows, _ = read_log(folder / "log.jsonl")
    path = Path(out) if out is not None else folder / "curves.png"
    found = progress_of(rows)
    facts = [f"step {found['last']['step']:,}", clock(found["seconds"])] if found["last"] else []
    facts += [f"best validation {found['best_validation']['valid/loss']:.4g} at {found['best_validation']['step']:,}"] if found["best_validation"] else []
    curves_png(rows, path, str(folder), "  ·  ".join(facts))
    return path


def describe_model(folder: Path) -> dict[str, Any]:
    """Fingerprint, parameters and bytes of each part, problems and config of a model folder; reads no weights."""
    from safetensors import SafetensorError, safe_open

    settings = checkpoint.load_config(folder)
    problems = checkpoint.verify(folder)
    parameters: Counter[str] = Counter()
    kinds: set[str] = set()
    files = checkpoint.weight_files(folder)
    for file, prefix in files.items():
        try:
            with safe_open(file, framework="numpy") as tensors:
                for key in tensors.keys():
                    part = tensors.get_slice(key)
                    size = 1
                    for length in part.get_shape():
                        size *= length
                    parameters[(prefix + key).partition(".")[0]] += size
                    kinds.add(part.get_dtype())
        except SafetensorError as error:
            problems.append(f"{file} is cut or damaged: {error}")
    return {
        "kind": "model",
        "path": str(folder),
        "fingerprint": checkpoint.fingerprint(folder),
        "parameters": {**parameters, "total": sum(parameters.values())},
        "stored_as": sorted(kinds),
        "bytes": sum(file.stat().st_size for file in files),
        "problems": problems,
        "licences": licences_of(settings),
        "config": settings,
    }


def licences_of(settings: Mapping[str, Any]) -> dict[str, str | None]:
    """Of weights that a model names and does not hold, as far as anybody has said; models of before do not say it themselves."""
    from mousai.recipe import REGISTRIES, part_from

    named = settings.get("conditioner")
    if "licences" in settings or not isinstance(named, Mapping) or named.get("type") not in REGISTRIES["conditioner"]:
        return settings.get("licences", {})
    return {"conditioner": part_from("conditioner", named).licence}


def describe_cache(folder: Path) -> dict[str, Any]:
    """How much a latent cache holds, and what it was made with."""
    from mousai.data import cache

    header, items = cache.read_header(folder), cache.read_items(folder)
    seconds = sum(item["frames"] for item in items) * header["hop"] / header["sample_rate"]
    splits = dict(Counter(item["split"] for item in items))
    return {"kind": "latent cache", "path": str(folder), "items": len(items), "seconds": seconds, "splits": splits, "made_with": header}


def describe_audition(folder: Path) -> dict[str, Any]:
    """What was asked of an audition and what was picked, but for the vectors themselves."""
    from mousai.files import parse_json, read_bytes

    report = parse_json(read_bytes(folder / AUDITION).decode(errors="replace"), str(folder / AUDITION), dict)
    for name in ("picks", "blend"):
        if not isinstance(report.get(name, []), list) or not all(isinstance(row, dict) for row in report.get(name, [])):
            raise ValueError(f"{folder / AUDITION}: {name}: expected a list of JSON objects, as `mousai audition` writes it; make the audition again")
    rows = {name: [{key: value for key, value in row.items() if key != "vector"} for row in report.get(name, [])] for name in ("picks", "blend")}
    return {"kind": "audition", "path": str(folder), **report, **{name: found for name, found in rows.items() if found}}


def has_audio(folder: Path) -> bool:
    """Whether a folder, or one in it, has a file that goes by a name of audio."""
    from mousai.audio.write import FORMATS
    from mousai.data.folders import walked
    from mousai.jobs.places import OTHER_AUDIO

    return any(key.rpartition(".")[2].lower() in (*FORMATS, *OTHER_AUDIO) for key, _ in walked(folder, lambda key, reason: None))


def describe_library(place: Path) -> dict[str, Any]:
    """How much music a folder or manifest has, of what splits, and how much of it `mousai library` has heard with the shipped joint encoder."""
    from mousai.data.library import open_library
    from mousai.data.sources import in_words, open_source

    source = open_source(place, quiet=True)
    folder = checkpoint.model_folder(JOINT)
    heard = open_library(checkpoint.fingerprint(folder), within(checkpoint.load_config(folder), "joint")["features"]).vectors
    known = {key: file.hash for key, file in source.index.files.items() if file.hash}
    rates = Counter(track.sample_rate for track in source)
    return {
        "kind": "library",
        "path": str(place),
        "files": len(source),
        "seconds": round(sum(track.seconds for track in source), 3),
        "skipped": [in_words(key, reason) for key, reason in source.skipped],
        "sample_rates": dict(rates),
        "splits": dict(Counter(track.metadata.get("split") or "none" for track in source)),
        f"heard_by_{JOINT}": sum(known.get(track.key) in heard for track in source),
    }


def describe_latents(path: Path) -> dict[str, Any]:
    """What the header of a file of latents, from `mousai encode`, says."""
    from dataclasses import asdict

    from mousai.jobs.codec import read_header

    return {"kind": "latents", **asdict(read_header(path)), "path": str(path)}


def describe_score(path: Path) -> dict[str, Any]:
    """Parts by the numbers that `mousai compose --tracks` knows them by, keys, metres, tempos, sections, chords and length of a MIDI file, what the grid does to it and, where mousai made it, its recipe."""
    from mousai.symbolic import midi
    from mousai.symbolic.harmony import key_of_score, tonic
    from mousai.symbolic.phrases import gridded
    from mousai.theory import key_name

    score = midi.read(path)
    starts = [start for start, _ in score.bars()]

    def by_bar(name: str, events: Iterable[tuple[int, Any]]) -> list[dict[str, Any]]:
        """What is in which bar, counted from 1; of several in one the last."""
        return [{"bar": bar, name: value} for bar, value in {max(bisect_right(starts, tick), 1): value for tick, value in events}.items()]

    keys = [(tick, key_name(tonic(sharps, minor), "minor" if minor else "major")) for tick, sharps, minor in score.keys]
    return {
        "kind": "score",
        "path": str(path),
        "seconds": score.seconds,
        "bars": len(starts),
        "key": key_name(*key_of_score(score)),
        "keys": by_bar("key", keys),
        "metres": list(dict.fromkeys(f"{top}/{bottom}" for _, top, bottom in score.metres)),
        "quarters_a_minute": score.tempos[0][1] if score.tempos else 120.0,
        "tempos": by_bar("quarters_a_minute", score.tempos),
        "sections": by_bar("name", score.sections),
        "chords": chords_by_bar(score, starts),
        "parts": [
            {"track": number, "name": part.name, "instrument": part.instrument, "program": part.program, "drums": part.drums, "notes": len(part.notes)}
            for number, part in enumerate(score.parts, 1)
        ],
        "on_grid": str(gridded(score).cost),
        "made_by": score.recipe,
    }


def chords_by_bar(score: Score, starts: Sequence[int]) -> str | None:
    """A score's chord track, its bars between lines, as "Am | F C | % | G", where % is the bar before again; None where it has none."""
    if not score.chords:
        return None
    bars: list[list[str]] = [[] for _ in starts]
    for tick, symbol in score.chords:
        bars[max(bisect_right(starts, tick) - 1, 0)].append(symbol)
    return " | ".join(" ".join(bar) or "%" for bar in bars)


def describe_audio(path: Path) -> dict[str, Any]:
    """Format, length and chapters of an audio file and, where mousai made it, the recipe that it carries."""
    from mousai.audio import io

    audio, made = io.info(path), io.read_metadata(path)
    return {
        "kind": "audio",
        "path": str(path),
        "format": f"{audio.format} {audio.subtype}",
        "sample_rate": audio.sample_rate,
        "channels": audio.channels,
        "num_samples": audio.num_samples,
        "seconds": audio.num_samples / audio.sample_rate,
        "tags": {name: value for name, value in audio.tags.items() if not (made and name == "comment")},  # which is the recipe
        "chapters": [{"seconds": chapter.sample / audio.sample_rate, "title": chapter.title} for chapter in audio.chapters],
        "made_by": made,
    }
