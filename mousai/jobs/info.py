"""What a file or folder of mousai's is: a model, a latent cache, a file of latents, or an audio file with its recipe."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from mousai import checkpoint


def describe(place: str | Path) -> dict[str, Any]:
    """A description, plain enough for JSON, of a model (a folder, or a name such as "starter"), a cache or a file."""
    path = Path(place)
    if path.suffix == ".safetensors":
        return describe_latents(path)
    if path.is_file():
        return describe_audio(path)
    if (path / "cache.json").exists():
        return describe_cache(path)
    return describe_model(checkpoint.model_folder(place))


def describe_model(folder: Path) -> dict[str, Any]:
    """Fingerprint, parameters and bytes of each part, problems and config of a model folder; reads no weights."""
    from safetensors import SafetensorError, safe_open

    config = checkpoint.load_config(folder)
    problems = checkpoint.verify(folder)
    parameters: Counter[str] = Counter()
    kinds: set[str] = set()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                for key in tensors.keys():
                    part = tensors.get_slice(key)
                    size = 1
                    for length in part.get_shape():
                        size *= length
                    parameters[key.partition(".")[0]] += size
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
        "licences": config.get("licences", {}),  # of weights that it names and does not hold
        "config": config,
    }


def describe_cache(folder: Path) -> dict[str, Any]:
    """How much a latent cache holds, and what it was made with."""
    from mousai.data import cache

    header, items = cache.read_header(folder), cache.read_items(folder)
    seconds = sum(item["frames"] for item in items) * header["hop"] / header["sample_rate"]
    splits = dict(Counter(item["split"] for item in items))
    return {"kind": "latent cache", "path": str(folder), "items": len(items), "seconds": seconds, "splits": splits, "made_with": header}


def describe_latents(path: Path) -> dict[str, Any]:
    """What the header of a file of latents, from `mousai encode`, says."""
    from dataclasses import asdict

    from mousai.jobs.codec import read_header

    return {"kind": "latents", **asdict(read_header(path)), "path": str(path)}


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
