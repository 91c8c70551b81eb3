"""A world in one folder: tiny models of random weights, a second or two of sines, recipes; everything that a case needs, made once.

Places are relative, and every case runs in the same folder, so that its files are what an undisturbed run's are.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import soundfile

from faults import models
from faults.models import CODEC, CONDITIONER, FLOW, GENERATOR, GRID, JOINT, PHRASES, PRIOR, RATE

TRAINING = {"batch_size": 2, "lr": 1e-3, "log_every": 2, "save_every": 2, "valid_every": 4, "valid_batches": 1}
CODEC_RECIPE = {
    "format": 1, "seed": 5, "codec": CODEC, "data": {"sources": ["music/music.jsonl"], "crop_samples": 2048, "rms": 0.1},
    "train": {"steps": 4, **TRAINING},
}  # fmt: skip
GENERATOR_RECIPE = {
    "format": 1, "seed": 5, "codec": {"path": "codec"}, "generator": GENERATOR, "conditioner": CONDITIONER,
    "data": {"sources": ["music/music.jsonl"], "cache": "cache", "segment_seconds": 0.5, "captions": 2, "crop_frames": 32},
    "train": {"steps": 4, **TRAINING},
}  # fmt: skip
JOINT_RECIPE = {
    "format": 1, "seed": 5, "joint": JOINT, "train": {"steps": 4, **TRAINING},
    "data": {"sources": ["music/music.jsonl"], "cache": "mels", "segment_seconds": 0.5, "captions": 2, "crop_frames": 16},
}  # fmt: skip
FLOW_RECIPE = {
    "format": 1, "seed": 5, "joint": {"name": "joint"}, "conditioner": CONDITIONER, "generator": FLOW, "train": {"steps": 4, **TRAINING},
    "data": {"sources": ["music/music.jsonl"], "cache": "vectors", "segment_seconds": 0.5, "captions": 2, "crop_frames": 1},
}  # fmt: skip
SCORES = ["scores/scores.jsonl"]
PHRASES_RECIPE = {"format": 1, "seed": 5, "phrases": PHRASES, "data": {"sources": SCORES, "pack": 128}, "train": {"steps": 4, **TRAINING, "batch_size": 1}}
PRIOR_RECIPE = {
    "format": 1, "seed": 5, "phrases": {"path": "composer"}, "prior": PRIOR, "train": {"steps": 4, **TRAINING},
    "data": {"sources": SCORES, "cache": "phrase_latents.safetensors", "elements": 16},
}  # fmt: skip
GRID_RECIPE = {
    "format": 1, "seed": 5, "phrases": {"path": "composer"}, "grid": GRID, "train": {"steps": 4, **TRAINING},
    "data": {"sources": SCORES, "cache": "phrase_latents.safetensors", "elements": 16},
}  # fmt: skip
RECIPES = {
    "codec": CODEC_RECIPE, "generator": GENERATOR_RECIPE, "joint": JOINT_RECIPE, "flow": FLOW_RECIPE, "phrases": PHRASES_RECIPE, "prior": PRIOR_RECIPE,
    "grid": GRID_RECIPE,
}  # fmt: skip


def make(folder: Path) -> None:
    """Fills an empty folder, which is this process's current one: music/, album/, scores/, models and the recipes."""
    from mousai import config

    music(folder / "music")
    side_cars(folder / "album")
    models.make(folder)
    for name, recipe in RECIPES.items():
        config.write_yaml(folder / f"{name}.yaml", recipe)
    (folder / "prompts.txt").write_text("calm piano\nnoise\n")
    pieces = [{"prompt": "noise", "seconds": 1, "format": "wav"}, {"prompt": "calm piano", "seconds": 1, "seed": 3, "format": "flac"}]
    (folder / "pieces.jsonl").write_text("".join(json.dumps(piece) + "\n" for piece in pieces))


def tone(seconds: float, *hertz: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return np.stack([0.2 * np.sin(2 * np.pi * each * time) for each in hertz], 1).astype(np.float32)


def music(folder: Path) -> None:
    """Four recordings of half a second to two seconds and their manifest; the last is held out."""
    folder.mkdir()
    rows = []
    for index in range(4):
        soundfile.write(folder / f"{index}.wav", tone(0.5 + 0.5 * index, 220 * (index + 1), 331), RATE)
        labels = {"genre": ["calm"], "instruments": ["piano" if index % 2 else "guitar"], "title": f"of {index}"}
        rows.append({"file": f"{index}.wav", "split": "valid" if index == 3 else "train", **labels})
    (folder / "music.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def side_cars(folder: Path) -> None:
    """A recording in each format that is read, and what lies beside some of them."""
    folder.mkdir()
    for suffix in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(folder / f"{suffix}.{suffix}", tone(0.6, 440, 550), RATE)
    (folder / "wav.json").write_text(json.dumps({"title": "of 1", "genre": "calm", "bpm": 100}))
    (folder / "flac.txt").write_text("slow piano")


def renew(here: Path, stage: Path) -> None:
    """Makes the folder that cases run in a copy of `stage`; times of files stay, for indices go by them."""
    for entry in list(os.scandir(here)):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o755)
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    shutil.copytree(stage, here, symlinks=True, dirs_exist_ok=True)
