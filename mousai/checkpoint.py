"""Model folders and training states on disk: safetensors beside readable YAML or JSON, written whole or not at all.

A model folder holds `config.yaml` (with `format: 1`), the weights (`model.safetensors`, or shards with
`model.safetensors.index.json` in Hugging Face's form), `README.md` (the model card) and `hashes.json` (SHA-256 of each).
A training state is one folder a step, `step-0000100/` with `state.safetensors` and `meta.json`.
Both are written to a folder beside, synced and renamed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mousai import diffusers_folder
from mousai.checks import short
from mousai.config import format_yaml, read_yaml
from mousai.files import file_hash, known_hash, read_json, write_json, write_tensors, write_text, writing_folder
from mousai.leftovers import sweep

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

FORMAT = 1
SHARD_BYTES = 16 * 2**20
CONFIG, CARD, HASHES = "config.yaml", "README.md", "hashes.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
MODEL_FILE = re.compile(r"config\.yaml|README\.md|hashes\.json|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
STATE_FILE = re.compile(r"state\.safetensors|meta\.json")
STATE_FOLDER = re.compile(r"step-(\d+)")
OLDER_LEFTOVER = re.compile(r"\.step-\d+\.[a-z0-9_]{8}")  # what a killed process of an earlier version left half-written
SHIPPED = {name: Path(__file__).resolve().parent / name for name in ("starter", "starter_joint", "starter_flow", "starter_symbolic")}  # the models that come with the package, by name


# Model folders


def model_folder(place: str | Path) -> Path:
    """The folder of a shipped model's name (hyphens are as good as underscores), or of a Hugging Face name that is here, else the path itself, which need not exist; "./starter" is one, and so is a Path."""
    path = (SHIPPED.get(place.replace("-", "_")) if isinstance(place, str) else None) or Path(place)
    return path if path.exists() else diffusers_folder.cached(str(place)) or path


def save_model(
    folder: str | Path, config: Mapping[str, Any], state: Mapping[str, Tensor], card: str, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes a model folder, in the place of an older one; `card` is the text of its README.

    Weights of more than `shard_bytes` are cut into shards of at most that size, a single larger tensor into one of its
    own. ValueError, and nothing written, where `folder` holds anything but a model.
    """
    folder = Path(folder)
    _check_replaceable(folder, MODEL_FILE, "model")
    sweep(folder.parent, folder.name)
    with writing_folder(folder) as new:
        shards = _shards(state, shard_bytes)
        names = [WEIGHTS] if len(shards) == 1 else [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        for name, keys in zip(names, shards):
            _save_tensors(new / name, {key: state[key] for key in keys})
        if len(shards) > 1:
            places = {key: name for name, keys in zip(names, shards) for key in keys}
            total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
            write_json(new / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
        write_text(new / CONFIG, format_yaml({"format": FORMAT, **config}))
        write_text(new / CARD, card)
        hashes = {path.name: file_hash(path) for path in sorted(new.iterdir()) if path.name != CARD}
        write_json(new / HASHES, hashes)


def load_model(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config (with its `format`) and the weights, on the CPU; FileNotFoundError or ValueError says what is wrong.

    Weights are compared with their hashes, each of them, where there is a file of these; of a config that was changed by hand a line in the log says so.
    """
    folder = model_folder(folder)
    config = load_config(folder)
    if diffusers_folder.is_one(folder):
        return config, {prefix + name: value for path, prefix in diffusers_folder.weights(folder).items() for name, value in _load_tensors(path).items()}
    hashes = _read_hashes(folder) if (folder / HASHES).exists() else None
    if hashes and CONFIG in hashes and known_hash(folder / CONFIG) != hashes[CONFIG]:
        logger.warning("%s was changed after it was written: its SHA-256 is not the one in %s", folder / CONFIG, HASHES)
    state: dict[str, Tensor] = {}
    for name, keys in _weight_files(folder).items():
        tensors = _load_tensors(folder / name)
        if hashes is not None and name not in hashes:
            raise ValueError(f"{folder / name} has no hash in {HASHES}; copy or export the model again")
        if hashes is not None and known_hash(folder / name) != hashes[name]:
            raise ValueError(f"{folder / name} is damaged: its SHA-256 is not the one in {HASHES}; copy or export the model again")
        if keys is not None and (lost := set(keys) - set(tensors)):
            raise ValueError(f"{folder / name}: has no tensor {min(lost)!r}, which {INDEX} promises")
        state.update(tensors)
    return config, state


def load_config(folder: str | Path) -> dict[str, Any]:
    """The config of a model folder alone; FileNotFoundError or ValueError says what is wrong with the folder."""
    folder = model_folder(folder)
    if not folder.exists():
        sweep(folder.parent, folder.name)  # which gives back a model that a killed command was replacing
    if not folder.exists():
        hint = "; to have a name of the Hugging Face hub fetched say --download" if diffusers_folder.HUB_NAME.fullmatch(str(folder)) else ""
        raise FileNotFoundError(f"no such model folder: {folder}; the shipped models are {', '.join(SHIPPED)}{hint}")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; a model is a folder with {CONFIG} and {WEIGHTS}")
    if diffusers_folder.is_one(folder):
        return diffusers_folder.settings(folder)
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"{folder} is not a model folder: it has no {CONFIG}")
    if not (folder / WEIGHTS).exists() and not (folder / INDEX).exists() and (folder / "model" / CONFIG).exists():
        raise ValueError(f"{folder} is the folder of a training run; its model is {folder / 'model'}")
    config = read_yaml(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise ValueError(f"{folder / CONFIG}: expected format: {FORMAT}, came {short(config.get('format'))}; it needs another version of mousai")
    return config


def fingerprint(folder: str | Path) -> str:
    """12 hexadecimal digits that name a model: from its config and the stored hashes of its weights."""
    folder = model_folder(folder)
    config = load_config(folder)
    if diffusers_folder.is_one(folder):
        named = diffusers_folder.contents(folder)
    else:
        hashes = _read_hashes(folder)
        named = [config, [[name, hashes.get(name, "")] for name in sorted(_weight_files(folder))]]
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]


def verify(folder: str | Path) -> list[str]:
    """What is wrong with a model folder, one line each; empty if every file is there and has its hash."""
    folder = model_folder(folder)
    if diffusers_folder.is_one(folder):
        return diffusers_folder.problems(folder)
    try:
        load_config(folder)
        hashes = _read_hashes(folder)
        promised = {*hashes, *_weight_files(folder)}
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    problems = []
    for name in sorted(promised):
        if not (folder / name).is_file():
            problems.append(f"{folder / name} is missing")
        elif name not in hashes:
            problems.append(f"{folder / name} has no hash in {HASHES}")
        elif file_hash(folder / name) != hashes[name]:
            problems.append(f"{folder / name} is damaged: its SHA-256 is not the one in {HASHES}")
    return problems


def weight_files(folder: str | Path) -> dict[Path, str]:
    """The weight files that a model folder has, each with what goes before the names of its tensors in a state."""
    folder = model_folder(folder)
    found = diffusers_folder.weights(folder) if diffusers_folder.is_one(folder) else dict.fromkeys(sorted(folder.glob("*.safetensors")), "")
    return {path: prefix for path, prefix in found.items() if path.is_file()}


def load_strict(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Loads `state` into `module`; ValueError in one line, `where` first, for a missing, unexpected or misshapen tensor, and for one that is not all numbers."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in own if key in state and state[key].shape != own[key].shape]
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    problems = [f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})" for kind, keys in groups.items() if keys]
    if problems:
        raise ValueError(f"{where}: the weights do not fit the config: {'; '.join(problems)}")
    if broken := next((key for key, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())), None):
        raise ValueError(f"{where}: its weights are not all numbers ({broken}); copy, export or train the model again")
    module.load_state_dict(state, strict=True)


# Training states


def save_state(folder: str | Path, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], keep: int = 1) -> Path:
    """Writes `folder/step-<step>`, then removes older ones until `keep` are left; `meta` is JSON. Returns its path."""
    folder = Path(folder)
    path = folder / f"step-{step:07}"
    _check_replaceable(path, STATE_FILE, "training state")
    with writing_folder(path) as new:
        _save_tensors(new / "state.safetensors", tensors)
        record = {"format": FORMAT, "step": step, "sha256": file_hash(new / "state.safetensors"), "meta": dict(meta)}
        write_json(new / "meta.json", {**record, "own_sha256": _hash_of(record)})
    tidy(folder, keep)
    return path


def tidy(folder: str | Path, keep: int = 1) -> None:
    """Removes all but the newest states, and what killed processes left."""
    folder = Path(folder)
    for old in _states(folder)[:-keep]:
        shutil.rmtree(old)
    sweep(folder)
    for leftover in filter(OLDER_LEFTOVER.fullmatch, os.listdir(folder)):
        shutil.rmtree(folder / leftover)


def load_state(folder: str | Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Step, tensors and meta of the newest state, None where there is none yet; ValueError names a damaged one.

    What a killed process had not finished writing has no `step-` name yet and is not seen.
    """
    states = _states(Path(folder))
    if not states:
        return None
    path = states[-1]
    advice = f"remove the folder {path} to go on from the state before it, or from the start"
    try:
        record = read_json(path / "meta.json", kind=dict)
        whole = record["sha256"] == file_hash(path / "state.safetensors")
        own = record.pop("own_sha256", None)  # states of earlier versions have none
    except (OSError, ValueError, KeyError) as error:
        if not path.exists() and _states(Path(folder)):  # a run that goes on has written a newer one meanwhile
            return load_state(folder)
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); {advice}") from error
    if record.get("format") != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, came {short(record.get('format'))}; it needs another version of mousai")
    step, meta = record.get("step"), record.get("meta")
    if own not in (None, _hash_of(record)) or type(step) is not int or path.name != f"step-{step:07}" or not isinstance(meta, dict):
        raise ValueError(f"{path / 'meta.json'} is damaged: it is not what was written; {advice}")
    if not whole:
        raise ValueError(f"{path / 'state.safetensors'} is damaged: its SHA-256 is not the one in meta.json; {advice}")
    return step, _load_tensors(path / "state.safetensors"), meta


def _hash_of(record: Mapping[str, Any]) -> str:
    """The SHA-256 of values of JSON, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def newest_state(folder: str | Path) -> tuple[int, Path] | None:
    """Step and folder of the newest state, unread; None where there is none yet."""
    states = _states(Path(folder))
    return (int(STATE_FOLDER.fullmatch(states[-1].name).group(1)), states[-1]) if states else None


def _states(folder: Path) -> list[Path]:
    states = [path for path in folder.glob("step-*") if path.is_dir() and STATE_FOLDER.fullmatch(path.name)]
    return sorted(states, key=lambda path: int(STATE_FOLDER.fullmatch(path.name).group(1)))


# Files


def _check_replaceable(folder: Path, ours: re.Pattern, kind: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a {kind} is written as a folder, name another place")
    strangers = [path.name for path in folder.iterdir() if not ours.fullmatch(path.name)] if folder.exists() else []
    if strangers:
        raise ValueError(f"{folder} holds {strangers[0]!r}, which is no part of a {kind}; name an empty or a new folder")


def _shards(state: Mapping[str, Tensor], shard_bytes: int) -> list[list[str]]:
    """The keys of `state`, in their order, in groups whose files take at most `shard_bytes` each."""
    shards: list[list[str]] = [[]]
    size = 0
    for key, tensor in state.items():
        needs = tensor.numel() * tensor.element_size() + len(key.encode()) + 160  # data and its line in the header
        if shards[-1] and size + needs > shard_bytes - 64:
            shards.append([])
            size = 0
        shards[-1].append(key)
        size += needs
    return shards


def _weight_files(folder: Path) -> dict[str, list[str] | None]:
    """The weight files of a model folder, with the tensors that each should hold where an index says so."""
    if not (folder / INDEX).exists():
        return {WEIGHTS: None}
    places = read_json(folder / INDEX, kind=dict).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{folder / INDEX} is damaged: it has no weight_map")
    files: dict[str, list[str] | None] = {}
    for key, name in places.items():
        if not (isinstance(name, str) and name.endswith(".safetensors") and MODEL_FILE.fullmatch(name)):
            raise ValueError(f"{folder / INDEX}: the weights of {short(key)} are said to be in {short(name)}, which is no file of a model folder")
        files.setdefault(name, []).append(key)
    return files


def _read_hashes(folder: Path) -> dict[str, str]:
    try:
        hashes = read_json(folder / HASHES, kind=dict)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{folder} is not whole: it has no {HASHES}") from error
    for name, value in hashes.items():
        if not (MODEL_FILE.fullmatch(name) and isinstance(value, str)):
            raise ValueError(f"{folder / HASHES} is damaged: it has a hash of {short(name)}, which is no file of a model folder")
    return hashes


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    own, seen = {}, set()
    for key, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        own[key] = tensor.clone() if storage in seen else tensor  # safetensors refuses tied tensors
        seen.add(storage)
    write_tensors(path, own)


def _load_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"missing weights: {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is cut or damaged: {error}") from error
