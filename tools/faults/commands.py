"""The commands that are disturbed, and what of their files has to be the same however often they were."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEFTOVER = re.compile(r"\.[^/]+\.(tmp|old)-|\.(new|part)$|/\.tmp[^/]*$|/lock$|/\.lock$|\.render(/|$)")
VOLATILE = {"took", "seconds_of_work", "decoding_times_real_time", "time", "made", "when", "wall", "times_real_time", "earlier", "stamp", "of"}


@dataclass(frozen=True)
class Command:
    """A command of mousai: its words, the folders that it fills, and what it goes on from, by the name of another command."""

    name: str
    words: tuple[str, ...]
    fills: tuple[str, ...]
    after: tuple[str, ...] = ()
    counts_on: bool = False  # the same command again makes files of other names: NAME-2
    processes: int = 1
    models: tuple[str, ...] = ()  # folders of models and states that have to load at any moment
    states: tuple[str, ...] = ()
    weight: float = 1.0  # of its share of the cases


AUDITION = (
    "audition", "noise", "-n", "8", "--k", "2", "--flow", "flow", "--model", "told", "--library", "music", "--seconds", "0.3", "--blend", "1", "2", "--blend-steps", "1", "--html", "--out", "points",
)  # fmt: skip
GO_ON = ("compose", "busy", "--bars", "1", "--continue", "scores/0.mid", "--model", "composer", "--out", "scored", "--render", "wav", "--stems")
INFILL = ("compose", "busy", "--infill", "scores/0.mid", "--bars", "2-2", "--tracks", "1", "--model", "composer", "--out", "scored")
CACHES = ("cache", "mels", "vectors")
COMMANDS = {
    command.name: command
    for command in (
        Command("train", ("train", "codec.yaml", "--out", "run"), ("run",), models=("run/model",), states=("run/state",)),
        Command("generator", ("train", "generator.yaml", "--out", "run"), ("run",), ("cache",), models=("run/model",), states=("run/state",)),
        Command("cache", ("cache", "generator.yaml"), ("cache",), weight=2),
        Command("export", ("export", "run"), ("run",), ("train",), models=("run/model",), states=("run/state",), weight=2),
        Command("render", ("render", "pieces.jsonl", "--model", "model", "--out", "pieces"), ("pieces",), weight=1.5),
        Command("extend", ("extend", "music/1.wav", "--seconds", "1", "--prompt", "noise", "--model", "model", "--out", "pieces", "--format", "wav"), ("pieces",)),
        Command("generate", ("generate", "--prompts", "prompts.txt", "--seconds", "0.5", "--model", "model", "--out", "clips"), ("clips",), counts_on=True, weight=2),
        Command("encode", ("encode", "music/0.wav", "music/1.wav", "--model", "codec", "--out", "latents"), ("latents",), counts_on=True, weight=2),
        Command("decode", ("decode", "latents/0.safetensors", "--model", "codec", "--out", "again"), ("again",), ("encode",), counts_on=True, weight=2),
        Command("evaluate", ("evaluate", "codec", "codec", "--data", "music/music.jsonl", "--split", "all", "--seconds", "1", "--clips", "1", "--out", "figures"), ("figures",), weight=0.1),
        Command("synth", ("data", "synth", "--out", "practice", "--count", "2", "--seconds", "1", "--format", "flac", "--workers", "1"), ("practice",), weight=2),
        Command("annotate", ("data", "annotate", "music/music.jsonl", "--out", "heard.jsonl", "--workers", "1"), ("heard.jsonl",)),
        Command("library", ("library", "music", "--text", "noise", "--joint", "joint"), ("home/library",), weight=2),
        Command("audition", AUDITION, ("points",)),
        Command("best", ("generate", "noise", "--best-of", "2", "--joint", "joint", "--seconds", "0.5", "--model", "model", "--out", "clips"), ("clips",), counts_on=True),
        Command("compose", ("compose", "piano", "slow rock", "--bars", "2", "--model", "composer", "--out", "scored"), ("scored",), counts_on=True),
        Command("go-on", GO_ON, ("scored",), counts_on=True),
        Command("infill", INFILL, ("scored",), counts_on=True),
        Command("mels", ("cache", "joint.yaml"), ("mels",), weight=0.3),
        Command("joint", ("train", "joint.yaml", "--out", "run"), ("run",), ("mels",), models=("run/model",), states=("run/state",), weight=0.5),
        Command("vectors", ("cache", "flow.yaml"), ("vectors",), weight=0.3),
        Command("flow", ("train", "flow.yaml", "--out", "run"), ("run",), ("vectors",), models=("run/model",), states=("run/state",), weight=0.5),
        Command("phrases", ("train", "phrases.yaml", "--out", "run"), ("run",), models=("run/model",), states=("run/state",), weight=0.5),
        Command("prior", ("train", "prior.yaml", "--out", "run"), ("run", "phrase_latents.safetensors"), models=("run/model",), states=("run/state",), weight=0.5),
        Command("grid", ("train", "grid.yaml", "--out", "run"), ("run", "phrase_latents.safetensors"), models=("run/model",), states=("run/state",), weight=0.5),
        Command("launched", ("train", "codec.yaml", "--out", "run"), ("run",), processes=2, models=("run/model",), states=("run/state",), weight=0.15),
        Command("launched-cache", ("cache", "generator.yaml"), ("cache",), processes=2, weight=0.05),
    )
}


def result(folder: Path, command: Command) -> dict[str, str]:
    """What a command has made, by place: a hash of what of each file follows from what was asked."""
    found = {}
    for place in command.fills:
        root = folder / place
        if place in CACHES:
            found |= cached(root)
            continue
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file():
                found[str(path.relative_to(folder))] = digest(path)
    return found


def digest(path: Path) -> str:
    """A hash of what a file holds; of the kinds that say when they were made, without that."""
    return hashlib.blake2b(repr(KINDS.get(path.suffix, Path.read_bytes)(path)).encode(), digest_size=8).hexdigest()


def tensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return sorted((name, tuple(value.shape), str(value.dtype), value.numpy().tobytes()) for name, value in load_file(path).items())


def sound(path: Path) -> Any:
    import soundfile

    samples, rate = soundfile.read(path, always_2d=True)
    return rate, samples.shape, samples.tobytes()


def rows(path: Path) -> Any:
    if path.name == "log.jsonl":  # it says how fast a run was; a killed one says some of it twice
        return sorted({json.loads(line)["step"] for line in path.read_text().splitlines()})
    return [steady(json.loads(line)) for line in path.read_text().splitlines()]


def settings(path: Path) -> Any:
    import yaml

    return steady(yaml.safe_load(path.read_text()))


def steady(value: Any) -> Any:
    """A value of JSON without what is of the moment."""
    if isinstance(value, dict):
        return {key: steady(each) for key, each in sorted(value.items()) if key not in VOLATILE}
    return [steady(each) for each in value] if isinstance(value, list) else value


KINDS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": tensors, ".wav": sound, ".flac": sound, ".jsonl": rows, ".yaml": settings,
    ".html": lambda path: path.stat().st_size > 1000, ".json": lambda path: steady(json.loads(path.read_text())), ".png": lambda path: path.read_bytes()[:8], ".md": lambda path: path.stat().st_size > 0,
}  # fmt: skip


def cached(folder: Path) -> dict[str, str]:
    """The items of a latent cache, whichever shards they are in, and files that no item needs."""
    from mousai.data.cache import CacheReader, read_items

    reader, found = CacheReader(folder), {}
    items = read_items(folder)
    for item in items:
        values = [reader.tensor(item, name).numpy().tobytes() for name in reader.names]
        said = {key: value for key, value in item.items() if key not in ("shard", "row")}
        found[item["id"]] = hashlib.blake2b(repr((said, values)).encode(), digest_size=8).hexdigest()
    used = {item["shard"] for item in items} | {"cache.json", "index.json"}
    return found | {f"{folder.name}/{path.name}": "" for path in folder.iterdir() if path.name not in used}


def loads(folder: Path, command: Command) -> str:
    """What of a command's models and states does not load; "" if all does."""
    from mousai import checkpoint

    try:
        for place in command.states:
            if (folder / place).exists():
                checkpoint.load_state(folder / place)
        for place in command.models:
            if (folder / place).exists() or place in command.after:
                checkpoint.load_model(folder / place)
                if problems := checkpoint.verify(folder / place):
                    return problems[0]
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def leftovers(folder: Path) -> list[str]:
    """Files that are half-written, or locks that nobody holds."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return [name for name in names if LEFTOVER.search(f"/{name}")]


def first_names(found: dict[str, str]) -> dict[str, str]:
    """The files of a command that counts on, under the names that they would have in an empty folder."""
    named: dict[str, str] = {}
    for name, value in found.items():
        stem = re.sub(r"-[2-9](?=(-stems/.*)?\.[^.]+$)", "", name)
        named[stem] = value if named.get(stem, value) == value else "two files that should be the same"
    return named
