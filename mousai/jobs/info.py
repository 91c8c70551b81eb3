"""What a model folder or an audio file is: its config, size and fingerprint, or the recipe in its metadata."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from mousai import checkpoint


def describe(place: str | Path) -> dict[str, Any]:
    """A description, plain enough for JSON, of a model (a folder, or a name such as "starter") or of an audio file."""
    path = Path(place)
    return describe_audio(path) if path.is_file() else describe_model(checkpoint.model_folder(place))


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
        "config": config,
    }


def describe_audio(path: Path) -> dict[str, Any]:
    """Format and length of an audio file and, where mousai made it, the recipe that it carries."""
    from mousai.audio import io

    audio = io.info(path)
    return {
        "kind": "audio",
        "path": str(path),
        "format": f"{audio.format} {audio.subtype}",
        "sample_rate": audio.sample_rate,
        "channels": audio.channels,
        "num_samples": audio.num_samples,
        "seconds": audio.num_samples / audio.sample_rate,
        "tags": audio.tags,
        "made_by": io.read_metadata(path),
    }
