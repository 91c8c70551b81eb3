"""Small files that become large, and places that never end."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from faults.asked import AUDITION, END, midi, note, tempo, text

RENDER = ["render", "pieces.yaml", "--model", "model", "--out", "pieces"]
TRAIN = ["train", "codec.yaml", "--out", "run", "--set", "train.steps=1"]
GENERATE = ["generate", "noise", "--seconds", "0.5", "--model", "model", "--out", "clips"]
ENCODE = ["--model", "codec", "--out", "latents"]
COMPOSE = ["compose", "busy", "--bars", "1", "--model", "composer", "--out", "scored"]
PLACES = ("/dev/zero", "/dev/urandom", "/dev/full", "/proc/self/mem", "pipe", "socket", "loop", ".", "/dev/null", "nowhere", "huge")


def bomb(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """One of the bombs after the other, then places that are no files in every place where a file is asked for."""
    if number <= len(BOMBS):
        name = list(BOMBS)[number - 1]
        return BOMBS[name](here), name
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    (here / "loop").symlink_to("loop")
    with (here / "huge").open("wb") as file:
        file.truncate(2**36)
    place, mapped = chance.choice(PLACES), chance.choice([place for place in PLACES if place != "huge"])  # a map of it is no memory, but is limited
    words = chance.choice([
        ["generate", "--prompts", place, "--model", "model", "--out", "clips"], [*GENERATE, "--init", place], [*GENERATE, "--model", place], [*GENERATE, "--out", place],
        ["render", place, "--model", "model", "--out", "pieces"], ["encode", place, *ENCODE], ["decode", mapped, "--model", "codec", "--out", "again"], ["train", place, "--out", "run"],
        ["train", "codec.yaml", "--out", place, "--set", "train.steps=1"], ["train", "codec.yaml", "--out", "run", "--set", f"data.sources=[{place}]", "--set", "train.steps=1"],
        ["cache", place], ["cache", "generator.yaml", "--set", f"data.cache={place}"], ["cache", "generator.yaml", "--set", f"codec.path={place}"], ["data", "scan", place], ["info", place],
        ["export", place], ["replay", place], ["extend", place, "--seconds", "1", "--model", "model", "--out", "pieces"], ["evaluate", "seams", place, "--out", "figures"],
        ["data", "annotate", place, "--out", "heard.jsonl"], ["data", "synth", "--out", place, "--count", "1", "--seconds", "1", "--workers", "1"], ["info", "run", "--plot", "--out", place],
        *([*COMPOSE, flag, place] for flag in ("--chords", "--continue", "--prompts", "--sections", "--soundfont", "--out")), ["compose", "busy", "--infill", place, "--model", "composer", "--out", "scored"],
        ["library", place, "--text", "noise", "--joint", "joint"], ["library", "music", "--like", place, "--joint", "joint"], [*AUDITION, "--library", place],
    ])  # fmt: skip
    return words, f"{place} or {mapped}"


def anchors(levels: int = 30) -> str:
    """YAML of a kilobyte whose text would have 10^levels letters."""
    return "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, levels))


def under(key: str) -> Callable[[Path], list[str]]:
    def make(here: Path) -> list[str]:
        (here / "codec.yaml").write_text(f"{anchors()}{key}: *a29\n{(here / 'codec.yaml').read_text()}")
        return TRAIN

    return make


def in_setting(here: Path) -> list[str]:
    return [*TRAIN, "--set", "train={" + ", ".join(anchors(12).strip().splitlines()) + "}"]


def in_model(here: Path) -> list[str]:
    config = here / "model/config.yaml"
    config.write_text(f"{anchors()}provenance: *a29\n" + config.read_text().partition("provenance:")[0])
    return GENERATE


def in_pieces(here: Path) -> list[str]:
    (here / "pieces.yaml").write_text(anchors() + "prompt: *a29\nseconds: 1\n")
    return RENDER


def deep(here: Path) -> list[str]:
    (here / "music/music.jsonl").write_text('{"file": "0.wav", "title": ' + "[" * 200_000 + "]" * 200_000 + "}\n")
    return ["data", "scan", "music/music.jsonl"]


def sparse(here: Path) -> list[str]:
    """A tar of 20 KB with a side-car of 6 GB."""
    with tarfile.open(here / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.json")
        info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "a.json", "GNU.sparse.size": str(6 * 2**30), "GNU.sparse.numblocks": "0", "GNU.sparse.map": ""}
        archive.addfile(info, io.BytesIO(b""))
    return ["data", "scan", "a.tar"]


def long_side_car(here: Path) -> list[str]:
    with tarfile.open(here / "a.tar", "w") as archive:
        info = tarfile.TarInfo("a.json")
        info.size = 6 * 2**30
        archive.fileobj.write(info.tobuf())  # its bytes never come
    return ["data", "scan", "a.tar"]


def silence(here: Path, *command: str) -> list[str]:
    """A FLAC of a megabyte that lasts twelve hours."""
    with soundfile.SoundFile(here / "long.flac", "w", 8000, 1, format="FLAC") as file:
        block = np.zeros(8000 * 600, dtype=np.float32)
        for _ in range(72):
            file.write(block)
    return [*command, "long.flac"]


def slow(here: Path, *command: str) -> list[str]:
    """A WAV of 40 KB at one sample a second."""
    soundfile.write(here / "slow.wav", np.zeros(20_000, dtype=np.float32), 1)
    return [*command, "slow.wav"]


def many_channels(here: Path) -> list[str]:
    soundfile.write(here / "wide.wav", np.zeros((2, 1024), dtype=np.float32), 16000)
    return ["encode", "wide.wav", *ENCODE]


def many_shards(here: Path) -> list[str]:
    return ["data", "scan", "shard-{000000000..999999999}.tar"]


def many_pieces(here: Path) -> list[str]:
    (here / "pieces.jsonl").write_text('{"prompt": "noise", "seconds": 1}\n' * 300_000)
    return ["render", "pieces.jsonl", "--model", "model", "--out", "pieces", "--dry-run"]


def long_line(here: Path) -> list[str]:
    (here / "prompts.txt").write_text("noise " * 5_000_000)
    return ["generate", "--prompts", "prompts.txt", "--model", "model", "--out", "clips"]


def wide_index(here: Path) -> list[str]:
    """The header of a weight file that says it is four gigabytes long."""
    path = next((here / "model").glob("*.safetensors"))
    path.write_bytes((2**32).to_bytes(8, "little") + path.read_bytes()[8:])
    return GENERATE


def large_shape(here: Path) -> list[str]:
    text = json.dumps({"latents": {"dtype": "F32", "shape": [4, 2**40], "data_offsets": [0, 2**44]}, "__metadata__": {"format": "1"}}).encode()
    (here / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    return ["decode", "a.safetensors", "--model", "codec", "--out", "again"]


def large_model(here: Path) -> list[str]:
    """A config that asks for more weights than there are."""
    config = here / "model/config.yaml"
    config.write_text(config.read_text().replace("embedding_features: 32", "embedding_features: 2000000000"))
    return GENERATE


def large_recipe(here: Path) -> list[str]:
    return [*TRAIN, "--set", "codec.unet.channels=[1000000000, 1000000000]"]


def escapes(here: Path) -> list[str]:
    (here / "music/music.jsonl").write_text('{"file": "0.wav", "split": "\\u001b[2J\\u001b]0;owned\\u0007", "title": "\\u001b[31m"}\n')
    return ["data", "scan", "music/music.jsonl"]


def full_score(here: Path, what: str, flag: str) -> list[str]:
    """A MIDI file as large as one may be, of notes, tempos or markers alone."""
    events = EVENTS[what]
    (here / "full.mid").write_bytes(midi(events * (MOST_SCORE // len(events) - 99) + note() + END))
    return ["data", "scan", "full.mid"] if flag == "scan" else [*COMPOSE, flag, "full.mid"]


def in_sections(here: Path) -> list[str]:
    (here / "pieces.yaml").write_text(anchors() + "title: *a29\nsections: *a29\n")
    return [*COMPOSE[:1], "--sections", "pieces.yaml", *COMPOSE[4:]]


def pipes(here: Path) -> list[str]:
    return ["data", "scan", "pipe:touch owned"]


LONG = {
    "to hear": ["data", "annotate", "--out", "heard.jsonl", "--workers", "1"], "to be like": ["library", "music", "--joint", "joint", "--like"], "as a library": ["library", "--text", "noise", "--joint", "joint"],
    "to inpaint": [*GENERATE[:2], *GENERATE[4:], "--from", "0", "--to", "0.2", "--inpaint"], "to measure": ["evaluate", "seams", "--every", "2", "--out", "figures"],
}  # fmt: skip
EVENTS = {"notes": b"\x01\x90\x3c\x50\x01\x3c\x00", "tempos": tempo(500_000).replace(b"\0", b"\1", 1), "markers": text(6, b"a").replace(b"\0", b"\1", 1)}
MOST_SCORE = 2**24  # bytes

BOMBS: dict[str, Callable[[Path], list[str]]] = {
    **{f"anchors under {key}": under(key) for key in ("format", "seed", "train", "codec", "data")},
    "anchors in --set": in_setting, "anchors in a model": in_model, "anchors in a piece": in_pieces, "deep JSON": deep, "sparse tar": sparse, "long side-car": long_side_car,
    "twelve hours of silence": lambda here: silence(here, *GENERATE, "--init"), "a sample a second": lambda here: slow(here, "encode", *ENCODE), "1024 channels": many_channels, "a billion shards": many_shards, "300,000 pieces": many_pieces,
    "a prompt of 30 MB": long_line, "a long header": wide_index, "a large shape": large_shape, "a large model": large_model, "a large recipe": large_recipe, "escapes": escapes, "a pipe": pipes,
    **{f"twelve hours of silence {what}": lambda here, words=words: silence(here, *words) for what, words in LONG.items()},
    **{f"a sample a second {what}": lambda here, words=words: slow(here, *words) for what, words in LONG.items()},
    **{f"{what} {flag}": lambda here, what=what, flag=flag: full_score(here, what, flag) for what in EVENTS for flag in ("--continue", "--infill", "--chords", "scan")},
    "anchors in sections": in_sections,
}  # fmt: skip
MAY_LACK_MEMORY = {list(BOMBS).index(name) + 1 for name in ("a large model", "a large recipe")}  # which is what is wrong with them
