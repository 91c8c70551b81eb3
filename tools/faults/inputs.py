"""Bad inputs: options, recipes, settings, job files, manifests and model folders as nobody should write them, and bombs.

Whatever is asked for, mousai does it or says in a line why not, in bounded memory and time, and a refused command leaves
nothing behind.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import asked, bombs
from faults.anything import JSONS, NUMBERS, RAW, TEXTS, YAML
from faults.commands import COMMANDS
from faults.stage import Found, Stage, complaints, ill

MEMORY = 1536 * 2**20  # bytes that a command may have beside what it begins with
SECONDS = 15.0  # after which one that works on is asked to stop


def act(kind: str, number: int) -> Callable[[Stage, random.Random], tuple[Found, str]]:
    """What happens in a case of a kind."""
    return lambda stage, chance: tried(stage, kind, number, chance)


def tried(stage: Stage, kind: str, number: int, chance: random.Random) -> tuple[Found, str]:
    """A world with something bad in it, or a command that asks for it."""
    stage.begin(WORLDS.get(kind, "base"))
    words, what = KINDS[kind](stage.here, number, chance)
    before = listing(stage.here)
    ended = stage.run([os.fsdecode(os.fsencode(word)) if "\x00" not in word else word.replace("\x00", "") for word in words], seconds=SECONDS, memory=MEMORY)
    what = f"{what}: mousai {' '.join(words)}"
    what = what if len(what) < 300 else what[:200] + "…" + what[-80:]
    what = what.encode("unicode_escape").decode()
    if found := ill([ended]):
        return found, what
    if ended.code == 2 and ended.err.count("\n") > 40:
        return Found("wrong line", f"{ended.err.count(chr(10))} lines"), what
    if ended.code == 2 and max(map(len, ended.err.splitlines())) > 2100:
        return Found("wrong line", "a line of more than 2,100 letters"), what
    if kind == "bombs" and number not in bombs.MAY_LACK_MEMORY and any("not enough memory" in line for line in complaints(ended)):
        return Found("wrong line", "what it takes is found out by taking it"), what
    if ended.code == 2 and words[0] not in DOES_THE_REST and (left := {name for name in listing(stage.here) ^ before if not name.startswith("home")}):
        return Found("leftovers", f"a refused command changed {', '.join(sorted(left)[:4])}"), what
    return Found(), what


def listing(folder: Path) -> set[str]:
    """Files and folders with their sizes."""
    return {f"{path.relative_to(folder)} {path.lstat().st_size if not path.is_dir() else ''}" for path in folder.rglob("*")}


def options(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """An option or argument of a command has a value as nobody means it."""
    import typer.main

    from mousai.cli.main import app

    name = chance.choice([name for name in COMMANDS if COMMANDS[name].processes == 1])
    words, parameters = list(COMMANDS[name].words), typer.main.get_command(app)
    for word in words[:2]:
        parameters = getattr(parameters, "commands", {}).get(word, parameters)
    parameter = chance.choice([each for each in parameters.params if each.name not in ("help", "compile", "workers")])
    value = chance.choice(NUMBERS if chance.random() < 0.6 else TEXTS)
    if parameter.param_type_name == "argument":
        return [*words, value], "an argument more"
    flag = chance.choice(parameter.opts)
    return [*words, flag, value, *([value] if parameter.nargs == 2 else [])], f"{flag} {value!r}"


def settings(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A key of a recipe is set to what it cannot be."""
    from mousai.jobs.train import flat
    from mousai.recipe import load_recipe

    recipe, verb = chance.choice([("codec.yaml", "train"), ("generator.yaml", "train"), ("generator.yaml", "cache")])
    keys = [*flat(load_recipe(recipe).to_dict()), "codec", "generator", "data", "train", "format", "data.sources", "nobody", "train.nobody", "", "a.b.c.d", "train.ema", "."]
    key, value = chance.choice(keys), chance.choice(YAML)
    words = [verb, recipe, *(["--out", "run", "--set", "train.steps=1", "--time-limit", "0.05"] if verb == "train" else [])]
    return [*words, "--set", f"{key}={value}"], f"{key}={value[:40]!r}"


def recipes(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A file of YAML holds anything: bytes, or a recipe with a branch that is something else."""
    place, words = chance.choice([
        ("codec.yaml", ["train", "codec.yaml", "--out", "run", "--set", "train.steps=1"]),
        ("generator.yaml", ["cache", "generator.yaml"]),
        ("model/config.yaml", list(COMMANDS["generate"].words)),
        ("pieces.yaml", ["render", "pieces.yaml", "--model", "model", "--out", "pieces"]),
    ])  # fmt: skip
    return words, f"{place} {spoil(here / place, chance)}"


def job_files(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A piece has a key with anything in it."""
    keys = ["prompt", "seconds", "minutes", "bars", "seed", "format", "name", "sections", "loop", "bpm", "key", "chords", "metre", "window", "overlap", "loudness", "true_peak", "steps", "guidance", "extend", "defaults", "pieces", "crossfade", "nobody", "at", "title"]
    piece: dict[str, Any] = {"prompt": "noise", "seconds": 1}
    if chance.random() < 0.3:
        piece = {"sections": [{"prompt": "noise", "seconds": 0.6}, {"prompt": "calm", "seconds": 0.6}]}
        target = chance.choice([piece, piece["sections"][0]])
    else:
        target = piece
    key, value = chance.choice(keys), chance.choice(JSONS)
    target[key] = value
    (here / "pieces.jsonl").write_text(json.dumps(piece) + "\n")
    return ["render", "pieces.jsonl", "--model", "model", "--out", "pieces", "--steps", "1"], f"{key}: {value!r}"[:80]


def manifests(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A manifest or side-car has a key with anything in it, or is anything."""
    place = chance.choice(["music/music.jsonl", "album/wav.json", "album/flac.txt", "prompts.txt", "pieces.jsonl"])
    words = {
        "music": chance.choice([["data", "scan", "music/music.jsonl"], ["train", "codec.yaml", "--out", "run", "--set", "train.steps=1"], ["cache", "generator.yaml"], ["data", "annotate", "music/music.jsonl", "--out", "heard.jsonl", "--workers", "1"]]),
        "album": ["data", "scan", "album"], "prompts.txt": list(COMMANDS["generate"].words), "pieces.jsonl": list(COMMANDS["render"].words),
    }[place.split("/")[0]]  # fmt: skip
    if place.endswith(".txt") or chance.random() < 0.4:
        (here / place).write_bytes(chance.choice(RAW))
        return words, f"{place} is other bytes"
    rows = [json.loads(line) for line in (here / place).read_text().splitlines()]
    keys = ["file", "split", "title", "genre", "instruments", "bpm", "key", "beats", "downbeats", "metre", "caption", "duration", "first_beat", "chords", "sections", "moods", "heard", "tags", "prompt", "seconds"]
    key, value = chance.choice(keys), chance.choice(JSONS)
    rows[0][key] = value
    (here / place).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return words, f"{place}, {key}: {value!r}"[:80]


def models(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A model's config says anything in one place; or another JSON that is read back is of another shape."""
    import yaml

    if chance.random() < 0.4:
        place, words = chance.choice([
            ("model/hashes.json", COMMANDS["generate"].words), ("model/model.safetensors.index.json", COMMANDS["generate"].words), ("cache/cache.json", COMMANDS["generator"].words),
            ("cache/index.json", COMMANDS["generator"].words), ("encoder/config.json", COMMANDS["generate"].words), ("encoder/tokenizer.json", COMMANDS["generate"].words), ("cache/index.json", ("info", "cache")),
        ])  # fmt: skip
        if chance.random() < 0.5:
            (here / place).write_bytes(chance.choice(RAW))
            return list(words), f"{place} is other bytes"
        data = json.loads((here / place).read_text())
        replace_somewhere(data, chance.choice(JSONS), chance)
        (here / place).write_text(json.dumps(data))
        return list(words), f"{place} with {json.dumps(data)[:40]}"
    config = yaml.safe_load((here / "model/config.yaml").read_text())
    where = replace_somewhere(config, chance.choice(JSONS), chance)
    (here / "model/config.yaml").write_text(json.dumps(config))
    return list(COMMANDS["generate"].words), f"model/config.yaml, {where}"


def spoil(path: Path, chance: random.Random) -> str:
    """Writes anything to a file of YAML; says what."""
    import yaml

    if not path.exists() or chance.random() < 0.5:
        path.write_bytes(chance.choice(RAW))
        return "is other bytes"
    data = yaml.safe_load(path.read_text())
    where = replace_somewhere(data, "THIS PLACE", chance)
    value = chance.choice(YAML)
    path.write_text(json.dumps(data).replace('"THIS PLACE"', value))
    return f"{where}: {value[:40]!r}"


def replace_somewhere(data: Any, value: Any, chance: random.Random) -> str:
    """Puts a value in the place of any other, however deep; says where."""
    places: list[tuple[Any, Any, str]] = []

    def visit(node: Any, name: str) -> None:
        for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            places.append((node, key, f"{name}.{key}"))
            visit(child, f"{name}.{key}")

    visit(data, "")
    if not places:
        return "nowhere"
    node, key, name = chance.choice(places)
    node[key] = value
    return f"{name} = {value!r}"[:100]


WORLDS = {"models": "after cache"}
DOES_THE_REST = ("encode", "decode", "audition")  # where one of several files is wrong, or cannot be made
KINDS = {"options": options, "settings": settings, "recipes": recipes, "job-files": job_files, "manifests": manifests, "models": models, "bombs": bombs.bomb, **asked.KINDS}
NAMES = list(KINDS)
