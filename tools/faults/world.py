"""A world in one folder: tiny models of random weights, a second or two of sines, recipes; everything that a case needs, made once.

Places are relative, and every case runs in the same folder, so that its files are what an undisturbed run's are.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16000
CODEC = {
    "type": "dmae", "sample_rate": RATE,
    "encoder": {"channels": 16, "multipliers": [1, 1], "factors": [2], "num_blocks": [1], "out_channels": 4, "n_fft": 127, "hop_length": 32},
    "unet": {"in_channels": 32, "channels": [16, 16], "factors": [1, 2], "items": [1, 1], "inject_channels": [4, 0], "modulation_features": 16},
    "transform": {"type": "learned", "bands": 16, "window_length": 64, "stride": 64},
    "decode": {"steps": 1, "stride_frames": 256, "context_frames": 4},
}  # fmt: skip
GENERATOR = {
    "type": "latent_diffusion", "max_tokens": 16, "sample": {"steps": 2},
    "unet": {"in_channels": 4, "channels": [16, 16], "factors": [1, 2], "items": [1, 1], "cross_attentions": [1, 1],
             "embedding_features": 32, "attention_heads": 2, "attention_features": 8, "modulation_features": 16, "resnet_groups": 4},
}  # fmt: skip
CONDITIONER = {"type": "text", "name": "encoder", "max_length": 16}
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
WORDS = "piano guitar calm noise slow fast of 0 1 2 3".split()


def make(folder: Path) -> None:
    """Fills an empty folder, which is this process's current one: music/, codec/, model/, encoder/ and the recipes."""
    from mousai import config

    music(folder / "music")
    side_cars(folder / "album")
    encoder(folder / "encoder")
    model(folder / "codec", {"codec": CODEC})
    model(folder / "model", {"codec": CODEC, "conditioner": CONDITIONER, "generator": GENERATOR})
    config.write_yaml(folder / "codec.yaml", CODEC_RECIPE)
    config.write_yaml(folder / "generator.yaml", GENERATOR_RECIPE)
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


def encoder(folder: Path) -> None:
    """A BERT of random weights with a tokenizer of whole words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)


def model(folder: Path, parts: dict[str, Any]) -> None:
    """A model folder of random weights, in shards."""
    from mousai import checkpoint
    from mousai.recipe import part_from

    built = {kind: part_from(kind, data) for kind, data in parts.items()}
    state = {}
    for kind in parts.keys() - {"conditioner"}:
        state |= {f"{kind}.{name}": value for name, value in built[kind].build(1).state_dict().items()}
    settings = {kind: part.to_dict() for kind, part in built.items()} | {"provenance": {"recipe": {"data": {"rms": 0.1}}}}
    checkpoint.save_model(folder, settings, state, "# A tiny model\n", shard_bytes=100_000)


def renew(here: Path, stage: Path) -> None:
    """Makes the folder that cases run in a copy of `stage`; times of files stay, for indices go by them."""
    for entry in list(os.scandir(here)):
        if entry.is_dir(follow_symlinks=False):
            os.chmod(entry.path, 0o755)
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    shutil.copytree(stage, here, symlinks=True, dirs_exist_ok=True)
