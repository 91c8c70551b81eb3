"""Folders in diffusers' format as model folders of the house: which files they have, and what their JSON says in our words.

A pipeline's folder has `model_index.json` and a folder for each part; a part's own has `config.json` with its `_class_name`.
What is read here is JSON and the names of files: the classes that it comes to are named by recipe.py, weights are loaded by
checkpoint.py, and diffusers itself is imported by the parts that need it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mousai.checks import short
from mousai.config import parse_yaml
from mousai.files import file_hash, read_bytes, read_json
from mousai.trust import DOWNLOADS, is_allowed

INDEX, CONFIG = "model_index.json", "config.json"
WEIGHTS = ("diffusion_pytorch_model", "model")  # .safetensors, whole or with an index
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
OOBLECK = {
    "sampling_rate": "sample_rate", "audio_channels": "channels", "decoder_input_channels": "latent_channels", "encoder_hidden_size": "features",
    "decoder_channels": "decoder_features", "downsampling_ratios": "factors", "channel_multiples": "multipliers",
}  # fmt: skip
SAME = {
    "sampling_rate": "sample_rate", "audio_channels": "channels", "latent_dim": "latent_channels", "patch_size": "patch", "encoder_channels": "features",
    "encoder_c_mults": "multipliers", "encoder_strides": "factors", "encoder_transformer_depths": "depths", "dim_heads": "head_features", "ff_mult": "mlp",
    "sliding_window": "window", "use_differential_attention": "differential", "encoder_sinusoidal_blocks": "encoder_sines",
    "decoder_sinusoidal_blocks": "decoder_sines",
}  # fmt: skip
CODECS = {"AutoencoderOobleck": ("oobleck", OOBLECK), "AutoencoderSAME": ("same", SAME)}  # class: our type, and our names of its settings
DIT = {
    "sample_size": "frames", "in_channels": "in_channels", "out_channels": "out_channels", "num_layers": "layers", "attention_head_dim": "head_features",
    "num_attention_heads": "heads", "num_key_value_attention_heads": "kv_heads", "cross_attention_dim": "cross_features", "time_proj_dim": "time_features",
    "global_states_input_dim": "global_features", "cross_attention_input_dim": "embedding_features",
}  # fmt: skip
DIT3 = {
    "io_channels": "in_channels", "patch_size": "patch", "embed_dim": "features", "depth": "layers", "num_heads": "heads", "cond_token_dim": "embedding_features",
    "global_cond_dim": "global_features", "local_add_cond_dim": "beside_channels", "timestep_features_dim": "time_features", "ff_mult": "mlp",
    "num_memory_tokens": "memory_tokens", "use_differential_attention": "differential",
}  # fmt: skip
DURATION = {"output_dim": "features", "fourier_dim": "fourier", "min_val": "shortest", "max_val": "longest", "min_freq": "slowest", "max_freq": "fastest"}
EULER = {"num_train_timesteps": 1, "shift": 1.0, "use_dynamic_shifting": False, "shift_terminal": None, "invert_sigmas": False}
PROJECTION = {"text_encoder_dim": "text_features", "conditioning_dim": "features", "min_value": "shortest", "max_value": "longest"}
COSINE = {  # the one schedule that generators/stable_audio.py has
    "sigma_min": 0.3, "sigma_max": 500, "sigma_data": 1.0, "sigma_schedule": "exponential", "solver_order": 2, "prediction_type": "v_prediction",
    "solver_type": "midpoint", "euler_at_final": False, "final_sigmas_type": "zero",
}  # fmt: skip
PREFIXES = {"vae": "codec.vae.", "transformer": "generator.transformer.net.", "projection_model": "generator.projection.", "duration_embedder": "generator.duration."}


def is_one(folder: Path) -> bool:
    """Whether a folder is one of diffusers', of a pipeline or of a part."""
    return (folder / INDEX).is_file() or ((folder / CONFIG).is_file() and not (folder / "config.yaml").exists())


def cached(name: str) -> Path | None:
    """The folder of a Hugging Face name in the hub's cache; None for what is no such name or not there.

    Where that is allowed it is fetched; FileNotFoundError says why it could not be.
    """
    if not HUB_NAME.fullmatch(name) or os.path.exists(name.split("/")[0]):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted, allowed = ["*.json", "*/*.json", f"{WEIGHTS[0]}*.safetensors", "*/*.safetensors", "*/*.model", "*/*.txt", "*.md", "LICENSE*"], is_allowed(DOWNLOADS)
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=not allowed))
    except (HfHubHTTPError, HFValidationError, OSError) as error:  # not in the cache is an OSError
        if not allowed:
            return None
        reason = str(error).strip().split("\n")[0][:200].rstrip(".:")
        raise FileNotFoundError(f"no such model folder: {name}, and it could not be fetched: {reason}; a gated model wants its licence accepted first") from error


def settings(folder: Path) -> dict[str, Any]:
    """The config of a model folder that this one comes to: a codec, or all three parts; ValueError or FileNotFoundError for what is none."""
    if not (folder / INDEX).is_file():
        parts = {"codec": codec(folder)}
    elif (name := read_config(folder, INDEX)[0]) in PIPELINES:
        parts = PIPELINES[name](folder)
    else:
        raise ValueError(f"{folder / INDEX}: expected one of {', '.join(PIPELINES)} of diffusers, came {short(name)}")
    if missing := [path for path in files(folder) if not path.is_file()]:
        raise FileNotFoundError(f"missing weights: {missing[0]}")
    return {"format": 1, **parts, "licences": {"weights": licence_of(folder)}}


def stable_audio(folder: Path) -> dict[str, Any]:
    """The three parts of a StableAudioPipeline."""
    name, said = read_config(folder / "scheduler", "scheduler_config.json")
    check_scheduler(folder, name, said, "CosineDPMSolverMultistepScheduler", COSINE)
    coded = codec(folder / "vae")
    max_tokens = longest_text(folder)
    projection = read_config(folder / "projection_model")[1]
    return {
        "codec": coded,
        "conditioner": {"type": "released_text", "folder": str(folder), "max_length": max_tokens},
        "generator": {
            "type": "stable_audio", "transformer": renamed(read_config(folder / "transformer")[1], DIT, folder / "transformer"),
            "projection": renamed(projection, PROJECTION, folder / "projection_model"), "max_tokens": max_tokens, **frames_of(coded),
        },
    }  # fmt: skip


def stable_audio3(folder: Path) -> dict[str, Any]:
    """The three parts of a StableAudio3Pipeline."""
    name, said = read_config(folder / "scheduler", "scheduler_config.json")
    check_scheduler(folder, name, said, "FlowMatchEulerDiscreteScheduler", EULER)
    coded, max_tokens = codec(folder / "vae"), min(longest_text(folder, capped=True), 256)
    shape = renamed(read_config(folder / "transformer")[1], DIT3, folder / "transformer")
    if shape.pop("patch", 1) != 1:
        raise ValueError(f"{folder / 'transformer'}: expected a patch_size of 1, which the released models have")
    return {
        "codec": coded,
        "conditioner": {"type": "released_text", "folder": str(folder), "max_length": max_tokens},
        "generator": {
            "type": "stable_audio3", "transformer": shape, "max_tokens": max_tokens, "distilled": bool(said.get("stochastic_sampling", False)),
            "duration": renamed(read_config(folder / "duration_embedder")[1], DURATION, folder / "duration_embedder"), **frames_of(coded),
        },
    }  # fmt: skip


PIPELINES = {"StableAudioPipeline": stable_audio, "StableAudio3Pipeline": stable_audio3}


def check_scheduler(folder: Path, name: str | None, said: Mapping[str, Any], expected: str, settings: Mapping[str, Any]) -> None:
    """ValueError unless a scheduler is the one that is known, with the settings that are."""
    if name != expected:
        raise ValueError(f"{folder / 'scheduler'}: expected {expected} of diffusers, came {short(name)}")
    for key, value in settings.items():
        if said.get(key, value) != value:
            raise ValueError(f"{folder / 'scheduler'}: expected {key} {value!r}, came {short(said[key])}")


def longest_text(folder: Path, capped: bool = False) -> int:
    """Tokens that the pipeline's tokenizer takes at most, and fills up to; `capped`: the pipeline has a limit of its own."""
    longest = read_json(folder / "tokenizer" / "tokenizer_config.json", kind=dict).get("model_max_length")
    if capped and isinstance(longest, (int, float)) and longest > 4096:
        return 4096
    if not isinstance(longest, int) or not 1 < longest <= 4096:
        raise ValueError(f"{folder / 'tokenizer'}: expected a model_max_length from 2 to 4096, came {short(longest)}")
    return longest


def frames_of(coded: Mapping[str, Any]) -> dict[str, int]:
    """How long a latent frame of a codec lasts, in a generator's words; the published numbers where its folder does not say. ValueError for what are none."""
    factors, patch = {"oobleck": ((2, 4, 4, 8, 8), 1), "same": ((16,), 256)}[coded["type"]]
    factors, patch, sample_rate = coded.get("factors", factors), coded.get("patch", patch), coded.get("sample_rate", 44100)
    if not isinstance(factors, (list, tuple)):
        raise ValueError(f"factors: expected a list of numbers, came {short(factors)}")
    for name, value in (*(("factors", factor) for factor in factors), ("patch", patch), ("sample_rate", sample_rate)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: expected a whole number from 1 on, came {short(value)}")
    return {"hop": math.prod(factors) * patch, "sample_rate": sample_rate}


def codec(folder: Path) -> dict[str, Any]:
    """The config of an autoencoder's folder, as of a codec."""
    name, said = read_config(folder)
    if name not in CODECS:
        raise ValueError(f"{folder / CONFIG}: expected one of {', '.join(CODECS)} of diffusers, came {short(name)}")
    kind, names = CODECS[name]
    return {"type": kind, **renamed(said, names, folder / CONFIG)}


def read_config(folder: Path, file: str = CONFIG) -> tuple[str | None, dict[str, Any]]:
    """The class that a part's JSON names, None where it names none, and its settings; ValueError for a class that is no name."""
    said = read_json(folder / file, kind=dict)
    name = said.get("_class_name")
    if not isinstance(name, (str, type(None))):
        raise ValueError(f"{folder / file}: expected the name of a class of diffusers as _class_name, came {short(name)}")
    return name, {key: value for key, value in said.items() if not key.startswith("_")}


def renamed(said: Mapping[str, Any], names: Mapping[str, str], where: Path) -> dict[str, Any]:
    """Settings by our names of them; ValueError for one that has none."""
    if strange := [key for key in said if key not in names]:
        raise ValueError(f"{where}: {strange[0]!r} is no setting that is known here; it needs another version of mousai")
    return {names[key]: value for key, value in said.items()}


def weights(folder: Path) -> dict[Path, str]:
    """The weight files, each with what goes before the names of its tensors."""
    if not (folder / INDEX).is_file():
        return dict.fromkeys(part_files(folder), "codec.vae.")
    index = read_json(folder / INDEX, kind=dict)
    places = {part: prefix for part, prefix in PREFIXES.items() if isinstance(index.get(part), list)}
    return {path: prefix for part, prefix in places.items() for path in part_files(folder / part)}


def part_files(folder: Path) -> list[Path]:
    """The files of a part's weights, whole or in shards; FileNotFoundError where there are none in safetensors."""
    for name in WEIGHTS:
        if (folder / f"{name}.safetensors").is_file():
            return [folder / f"{name}.safetensors"]
        index = folder / f"{name}.safetensors.index.json"
        if index.is_file():
            places = read_json(index, kind=dict).get("weight_map")
            if not isinstance(places, dict) or not all(isinstance(place, str) and Path(place).name == place for place in places.values()):
                raise ValueError(f"{index} is damaged: it has no weight_map of files beside it")
            return [folder / place for place in sorted(set(places.values()))]
    raise FileNotFoundError(f"missing weights: {folder} has no {WEIGHTS[0]}.safetensors (other formats run code when they are read, and are not)")


def files(folder: Path) -> Iterator[Path]:
    """Every file of weights that music follows from, the text encoder's too."""
    yield from weights(folder)
    if (folder / INDEX).is_file():
        yield from part_files(folder / "text_encoder")


def contents(folder: Path) -> list[dict[str, str]]:
    """What names the model, wherever it lies: the texts of its JSON files, and the hashes of its weights."""
    said = {path.relative_to(folder).as_posix(): _lines(path) for path in sorted(folder.glob("**/*.json")) if ".cache" not in path.parts}
    return [said, {path.relative_to(folder).as_posix(): hash_of(path) for path in files(folder)}]


def _lines(path: Path) -> str:
    """The text of a file, its lines ended as Python's text files have them, on which names of models rest."""
    return read_bytes(path).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, read once as long as it does not change: there may be gigabytes."""
    found = path.stat()
    return _hash(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash(path: Path, size: int, changed: int) -> str:
    return file_hash(path)


def problems(folder: Path) -> list[str]:
    """What is wrong with it, one line each, as far as JSON and names tell."""
    try:
        settings(folder)
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    return []


def licence_of(folder: Path) -> str | None:
    """The licence that its README names, or the first line of its LICENSE; those of the folder above where it is a part's. None = it does not say."""
    for place in (folder, folder.parent) if (folder.parent / INDEX).is_file() else (folder,):
        head = re.match(r"---\n(.*?)\n---", _text(place / "README.md"), re.DOTALL)
        said = parse_yaml(head.group(1), str(place / "README.md")) if head else None
        if isinstance(said, dict) and (name := said.get("license_name") or said.get("license")):
            return str(name)
        for path in sorted(place.glob("LICENSE*")):
            if lines := [line.strip(" #*\t") for line in _text(path).splitlines() if line.strip(" #*\t")]:
                return lines[0]
    return None


def _text(path: Path) -> str:
    return read_bytes(path).decode("utf-8", "replace") if path.is_file() else ""
