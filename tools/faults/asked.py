"""Bad inputs of what answers with vectors and scores: MIDI files, what is asked of a composer or an audition, models that do not belong together."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.anything import JSONS, RAW
from faults.commands import COMMANDS

COMPOSE = ("compose", "piano", "--bars", "1", "--model", "composer", "--out", "scored")
INFILL = COMMANDS["infill"].words
AUDITION = ("audition", "noise", "-n", "6", "--k", "2", "--flow", "flow", "--no-render", "--out", "points")
LIBRARY = ("library", "music", "--text", "noise", "--joint", "joint")


def midi(*tracks: bytes, ticks: int = 480, kind: int = 1) -> bytes:
    chunks = b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)
    return b"MThd" + struct.pack(">IHHH", 6, kind, len(tracks), ticks) + chunks


def note(pitch: int = 60, wait: bytes = b"\x83\x60", channel: int = 0, velocity: int = 80) -> bytes:
    return bytes([0, 0x90 | channel, pitch, velocity]) + wait + bytes([0x80 | channel, pitch, 0])


END = b"\x00\xff\x2f\x00"
LONG = b"\xff\xff\xff\x7f"  # the longest wait that there is


def tempo(microseconds: int) -> bytes:
    return b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big")


def metre(numerator: int, power: int) -> bytes:
    return b"\x00\xff\x58\x04" + bytes([numerator, power, 24, 8])


def text(kind: int, letters: bytes) -> bytes:
    length, size = bytes([len(letters) & 0x7F]), len(letters) >> 7
    while size:
        length, size = bytes([0x80 | size & 0x7F]) + length, size >> 7
    return b"\x00\xff" + bytes([kind]) + length + letters


def recipe(letters: bytes) -> bytes:
    return midi(text(1, b"mousai " + letters) + note() + END)


OWN = b'{"compose": {"prompt": "piano", "bars": 1}, "model": "composer", "fingerprint": "x"'
SCORES: dict[str, bytes] = {
    "nothing": b"", "no tracks": midi(), "no notes": midi(END), "one note": midi(note() + END), "drums alone": midi(b"".join(note(36, channel=9) for _ in range(16)) + END),
    "an hour": midi(b"".join(note(wait=b"\x87\x40") for _ in range(3600)) + END), "500 tracks": midi(*(note(40 + i % 40, channel=i % 16) + END for i in range(500))),
    "no end": midi(note()), "type 0": midi(note() + END, kind=0), "type 2": midi(note() + END, kind=2), "type 9": midi(note() + END, kind=9), "no ticks": midi(note() + END, ticks=0),
    "one tick": midi(note() + END, ticks=1), "most ticks": midi(note() + END, ticks=32767), "frames": midi(note() + END, ticks=0xE728), "a long wait": midi(note(wait=LONG) + END),
    "long waits": midi(b"".join(note(wait=LONG) for _ in range(9)) + END), "tempo 0": midi(tempo(0) + note() + END), "tempo 1": midi(tempo(1) + note() * 8 + END), "slowest": midi(tempo(2**24 - 1) + note() * 8 + END),
    "metre 0": midi(metre(0, 2) + note() + END), "metre 255/2^255": midi(metre(255, 255) + note() + END), "metre 7/8": midi(metre(7, 3) + note() * 16 + END), "metre 1/128": midi(metre(1, 7) + note() * 16 + END),
    "half a bar": midi(note() + note() + END), "a chord of 128": midi(b"".join(bytes([0, 0x90, pitch, 80]) for pitch in range(128)) + b"\x83\x60\x80\x3c\x00" + END),
    "a thousand at once": midi(b"".join(bytes([0, 0x90 | i % 16, i % 128, 80]) for i in range(1000)) + b"\x83\x60\x80\x3c\x00" + END), "velocity 0": midi(note(velocity=0) + END),
    "ends alone": midi(b"\x00\x80\x3c\x00" * 9 + END), "pitches of a byte": midi(bytes([0, 0x90, 200, 80]) + END), "escapes": midi(text(3, b"\x1b[2J\x1b[31m") + text(6, b"\x1b]0;x\x07") + note() + END),
    "bytes for names": midi(text(3, b"\xff\xfe\x80caf\xe9") + text(6, b"\xff") + note() + END), "long names": midi(text(3, b"x" * 100_000) + text(6, b"y" * 100_000) + note() + END),
    "no JSON": recipe(b"{"), "a list": recipe(b"{}"), "nan": recipe(OWN + b', "seed": NaN}'), "bars of nan": recipe(b'{"compose": {"prompt": "piano", "bars": NaN}, "model": "composer", "fingerprint": "x"}'),
    "a number for a prompt": recipe(b'{"compose": {"prompt": 1}, "model": "composer", "fingerprint": "x"}'), "deep": recipe(b'{"compose": ' + b"[" * 5000 + b"}"), "other keys": recipe(b'{"compose": {"nobody": 1}, "model": "composer", "fingerprint": "x"}'),
    "instruments of null": recipe(b'{"compose": {"prompt": "piano", "instruments": null}, "model": "composer", "fingerprint": "x"}'), "instruments of numbers": recipe(b'{"compose": {"prompt": "a", "instruments": [1]}, "model": "composer", "fingerprint": "x"}'),
    "its own": recipe(OWN + b"}"), "goes on from nowhere": recipe(OWN + b', "continues": {"file": "nowhere.mid", "hash": "x", "at": "/nowhere.mid"}}'), "goes on from a list": recipe(OWN + b', "continues": [1]}'),
    "escapes in a recipe": recipe(b'{"compose": {"prompt": "\\u001b[2J"}, "model": "\\u001b[31m", "fingerprint": "x"}'), "another model's": recipe(b'{"compose": {"prompt": "piano"}, "model": "../../nowhere", "fingerprint": "x"}'),
}  # fmt: skip


def scores(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A MIDI file as nobody writes it, or one of ours with some bytes changed, is what a command reads."""
    if number <= len(SCORES):
        name = list(SCORES)[number - 1]
        data = SCORES[name]
    else:
        name, data = spoiled(chance.choice([*SCORES.values(), (here / "scores/0.mid").read_bytes()]), chance)
    (here / "scores/0.mid").write_bytes(data)
    words = chance.choice([
        [*COMPOSE, "--continue", "scores/0.mid"], [*INFILL[:4], "--model", "composer", "--out", "scored"], [*COMPOSE, "--continue", "scores/0.mid", "--render", "wav"], ["info", "scores/0.mid"], ["info", "scores/0.mid", "--json"],
        ["replay", "scores/0.mid", "--model", "composer", "--out", "again.mid"], ["data", "scan", "scores"], list(COMMANDS["phrases"].words), list(COMMANDS["prior"].words),
        ["extend", "scores/0.mid", "--seconds", "1", "--model", "model", "--out", "pieces"], ["encode", "scores/0.mid", "--model", "codec", "--out", "latents"],
    ])  # fmt: skip
    return words, name


def spoiled(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Some bytes of a file are others, or are gone, or are there twice."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        way = chance.random()
        if way < 0.6 and at < len(changed):
            changed[at] = chance.choice([0, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        elif way < 0.8:
            del changed[at : at + chance.randint(1, 30)]
        else:
            changed[at:at] = changed[at : at + chance.randint(1, 30)]
    return "some bytes of it changed", bytes(changed)


SAID: dict[str, tuple[str, ...]] = {
    "--key": ("", "H minor", "C", "c minor major", "F##", "Cb minor", "B# major", "A0", "♭♭", "x" * 3000), "--metre": ("", "0/4", "4/0", "5/4", "7/8", "-3/4", "3", "3/4/4", "4/3", "1e9/4", "x"),
    "--bpm": ("0", "-1", "1e9", "0.0001", "nan", "inf", "19", "401", "x"), "--bars": ("0", "-1", "1.5", "10000000000", "x"), "--seconds": ("0", "-1", "0.0001", "1e12", "nan", "inf"),
    "--chords": ("", "H", "C/", "Cmaj7#99", "N.C.", "C " * 3000, "| | |", "1 4 5"), "--instruments": ("", ",", "nobody", "piano," * 20, "-", "drums,drums", "\x1b[2J"), "--density": ("0", "-1", "nan", "1e9", "0.25", "4"),
    "--guidance": ("-1", "nan", "inf", "11", "0"), "--temperature": ("-1", "nan", "3", "0"), "--spread": ("-1", "nan", "3", "0"), "--seed": ("-1", "4294967296", "x"), "--count": ("0", "-1"),
    "--render": ("", "wave", "x.wav", "x.nobody", "/dev/null", ".", "../x.flac"), "--soundfont": ("", "nowhere.sf2", "/dev/zero", "music/0.wav", "."), "--loudness": ("nan", "-71", "1", "-inf"), "--out": ("x.wav", "/dev/null", "/proc/x", "music/0.wav"),
    "--continue": ("", "nowhere.mid", ".", "/dev/zero", "music/0.wav", "composer"), "--model": ("", "model", "joint", "flow", "nowhere", ".", "music/0.wav", "run"), "--prompts": ("nowhere.txt", ".", "/dev/null", "music/0.wav"),
}  # fmt: skip
PROMPTS = ("", " ", "\n", "x" * 5000, "\x1b[2J", "no piano", "H minor", "0/4", "999999 bpm", "-1 bpm", "7/8 in Z", "1000 bars", "caf\udce9", "💥" * 300)
FILLED: dict[str, tuple[str, ...]] = {
    "--bars": ("1", "2-1", "0-1", "1-3", "-1-2", "1-", "1-99999999999", "x", "", "1-2-3", "9" * 5000), "--tracks": ("", "0", "3", "-1", "2", "1,2", "nobody", "piano", "," * 99, "drums, drums", "1.5", "\x1b[2J", "9" * 5000),
    **{flag: SAID[flag] for flag in ("--chords", "--density", "--guidance", "--seed", "--count", "--render", "--model", "--out", "--key", "--bpm", "--seconds", "--instruments", "--prompts")},
    "--infill": SAID["--continue"], "--continue": ("scores/0.mid",), "--sections": ("scores/0.mid", "pieces.jsonl"),
}  # fmt: skip
SOUGHT: dict[str, tuple[str, ...]] = {
    "-n": ("0", "-1", "1", "100001", "x"), "--k": ("0", "-1", "7", "10000000", "x"), "--pick": ("", "best", "dbscan", "kmeans", "density", "centre"), "--seconds": ("1", "0", "nan"), "--flow": ("", "joint", "told", "composer", "nowhere", "."),
    "--model": ("model", "flow", "nowhere"), "--library": ("empty", "nowhere", "music/music.jsonl", "scores", "music/0.wav", "", "-"), "--blend-steps": ("0", "101"), "--map": ("", "tsne", "umap"), "--steps": ("0", "-1", "5001"), "--guidance": ("-1", "nan", "101"),
    "--sampler": ("", "ddim", "dopri5", "euler"), "--format": ("wav", "mid"), "--negative": ("", "x" * 5000), "--out": ("music/0.wav", "/dev/null", "music"), "--seed": ("-1", "4294967295", "4294967296"),
}  # fmt: skip
HEARD: dict[str, tuple[str, ...]] = {
    "--text": ("", " ", "x" * 5000, "\x1b[2J"), "--like": ("nowhere.wav", ".", "/dev/zero", "music/music.jsonl", "scores/0.mid"), "--k": ("0", "-1", "10001", "9"), "--joint": ("", "flow", "composer", "codec", "nowhere", "."), "--family": ("", "mulan", "clap", "nobody"),
}  # fmt: skip
PLACES = ("empty", "nowhere", "scores", "music/0.wav", "music/music.jsonl", "", ".", "pipe:ls", "https://nowhere.invalid/x.tar", "nowhere-{0..9}.tar")


def answers(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A composer, an audition or a library is asked for what cannot be."""
    (here / "empty").mkdir()
    base, said = chance.choice([(COMPOSE, SAID), (INFILL, FILLED), (AUDITION, SOUGHT), (LIBRARY, HEARD)])
    words = list(base)
    if chance.random() < 0.15:
        words[1] = chance.choice(PLACES if base is LIBRARY else PROMPTS)
    elif base is AUDITION and chance.random() < 0.1:
        words += ["--blend", chance.choice(["0", "1", "3", "-1"]), chance.choice(["1", "2", "9"])]
    for flag in chance.sample(list(said), chance.choice([1, 1, 2])):
        words += [flag, chance.choice(said[flag])]
    return [word if word.isprintable() or "\x1b" in word or "\n" in word else os.fsdecode(os.fsencode(word)) for word in words], "asked"


MODELS: dict[str, tuple[str, ...]] = {
    "joint": COMMANDS["library"].words, "flow": COMMANDS["audition"].words, "told": COMMANDS["audition"].words, "composer": INFILL, "model": COMMANDS["best"].words,
}  # fmt: skip


def weights(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A model with weights that are no numbers, huge, of other shapes, or not there; whole by its hashes."""
    import torch

    from mousai import checkpoint

    place = chance.choice(list(MODELS))
    config, state = checkpoint.load_model(here / place)
    config.pop("format")
    name = chance.choice(sorted(state))
    way, value = chance.choice(["nan", "inf", "one nan", "huge", "zero", "cut", "gone", "more", "integers", "other config", "other model's"]), state[name]
    if way in ("nan", "inf", "huge", "zero"):
        state[name] = torch.full_like(value, {"nan": float("nan"), "inf": float("inf"), "huge": 1e38, "zero": 0.0}[way]) if value.is_floating_point() else value
    elif way == "one nan" and value.is_floating_point():
        state[name] = value.clone()
        state[name].view(-1)[0] = float("nan")
    elif way == "cut":
        state[name] = value[..., :-1].clone() if value.ndim else value
    elif way == "gone":
        del state[name]
    elif way == "more":
        state[f"{name}.nobody"] = torch.zeros(3)
    elif way == "integers":
        state[name] = value.to(torch.int32)
    elif way == "other config":
        name = widened(config, chance)
    else:
        state |= {key: torch.zeros_like(found) for key, found in checkpoint.load_model(here / chance.choice(list(MODELS)))[1].items() if key not in state}
    checkpoint.save_model(here / place, config, state, "", shard_bytes=100_000)
    return list(MODELS[place]), f"{place}: {way} {name}"


def widened(config: dict, chance: random.Random) -> str:
    """Another whole number in one place of a config that has one; says where."""
    places: list[tuple[dict, str, str]] = []

    def visit(node: dict, name: str) -> None:
        for key, child in node.items():
            if isinstance(child, dict):
                visit(child, f"{name}.{key}")
            elif isinstance(child, int) and not isinstance(child, bool):
                places.append((node, key, f"{name}.{key}"))

    visit(config, "")
    node, key, name = chance.choice(places)
    node[key] = chance.choice([0, -1, 1, 2 * node[key], node[key] + 1, 10**9])
    return f"{name} = {node[key]}"


SECTIONED = ("title", "seed", "instruments", "guidance", "temperature", "spread", "name", "prompt", "bars", "seconds", "key", "bpm", "metre", "chords", "density", "sections", "pieces", "defaults", "nobody")


def sections(here: Path, number: int, chance: random.Random) -> tuple[list[str], str]:
    """A score in sections has a key with anything in it, or its file is anything."""
    words = ["compose", "--sections", "pieces.json", "--model", "composer", "--out", "scored"]
    if chance.random() < 0.2:
        (here / "pieces.json").write_bytes(chance.choice(RAW))
        return words, "other bytes"
    piece: dict[str, Any] = {"title": "two", "sections": [{"prompt": "piano", "bars": 1}, {"key": "C major", "bars": 1}]}
    key, value = chance.choice(SECTIONED), chance.choice(JSONS)
    chance.choice([piece, *piece["sections"]])[key] = value
    (here / "pieces.json").write_text(json.dumps(piece))
    return words, f"{key}: {value!r}"[:80]


KINDS: dict[str, Callable[[Path, int, random.Random], tuple[list[str], str]]] = {"midi": scores, "answers": answers, "numbers": weights, "sections": sections}
