"""The world's models: tiny ones of random weights, of every kind that a command reads, and scores for those that compose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
TOLD_CONDITIONER = {**CONDITIONER, "type": "joint_text", "joint": {"name": "joint"}}
JOINT = {
    "type": "contrastive", "features": 8, "hidden": 8, "text_features": 32, "clip_seconds": 0.5, "text": {"name": "encoder", "max_length": 16},
    "mel": {"sample_rate": RATE, "n_fft": 256, "hop": 128, "bands": 20}, "tower": {"channels": [8], "blocks": [1], "kernel": 3},
}  # fmt: skip
FLOW = {
    "type": "vector_flow", "features": 8, "embedding_features": 32, "max_tokens": 16, "sample": {"steps": 2},
    "network": {"type": "modulated", "width": 16, "layers": 1, "heads": 2},
}  # fmt: skip
PHRASES = {"type": "phrase_vae", "features": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "latent": 8}
PRIOR = {"type": "phrase_prior", "latent": 8, "head_features": 16, "head_layers": 1, "mamba": {"features": 32, "layers": 1, "state": 4, "head_features": 16}, "styles": ["piano", "rock"]}
GRID = {"type": "grid_prior", "latent": 8, "told": 16, "cells": 16, "dit": {"in_channels": 9, "features": 32, "layers": 1, "heads": 2}, "styles": ["piano", "rock"], "sample": {"steps": 2}}
WORDS = "piano guitar calm noise slow fast of 0 1 2 3".split()


def make(folder: Path) -> None:
    """Fills a folder, which is this process's current one: encoder/, codec/, model/, joint/, flow/, told/, composer/ and scores/."""
    from mousai import checkpoint
    from mousai.recipe import phrases_fingerprint

    encoder(folder / "encoder")
    save(folder / "codec", {"codec": CODEC})
    save(folder / "model", {"codec": CODEC, "conditioner": CONDITIONER, "generator": GENERATOR})
    save(folder / "joint", {"joint": JOINT})
    save(folder / "told", {"codec": CODEC, "conditioner": TOLD_CONDITIONER, "generator": {**GENERATOR, "vector": {"features": 8}}})
    save(folder / "flow", {"conditioner": CONDITIONER, "generator": FLOW}, {"joint": {"name": "joint"}, "space": checkpoint.fingerprint("joint")})
    parts = {"phrases": PHRASES, "prior": PRIOR, "grid": GRID}
    save(folder / "composer", parts)
    save(folder / "composer", parts, {"trained_for": phrases_fingerprint("composer")})
    scores(folder / "scores")


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


def save(folder: Path, parts: dict[str, Any], also: dict[str, Any] | None = None) -> None:
    """A model folder of random weights, in shards."""
    from mousai import checkpoint
    from mousai.recipe import part_from

    built = {kind: part_from(kind, data) for kind, data in parts.items()}
    state = {}
    for kind in parts.keys() - {"conditioner"}:
        state |= {f"{kind}.{name}": value for name, value in built[kind].build(1).state_dict().items()}
    settings = {kind: part.to_dict() for kind, part in built.items()} | (also or {}) | {"provenance": {"recipe": {"data": {"rms": 0.1}}}}
    checkpoint.save_model(folder, settings, state, "# A tiny model\n", shard_bytes=100_000)


def scores(folder: Path) -> None:
    """Three scores of two bars of piano and drums, and their manifest; the last is held out."""
    import json

    from mousai.symbolic import midi
    from mousai.symbolic.score import Part, Score, notes_of

    folder.mkdir()
    rows = []
    for index in range(3):
        piano = notes_of((240 * place, 240, 60 + (place * (index + 2)) % 12, 80) for place in range(16))
        drums = notes_of((480 * beat, 120, (36, 38)[beat % 2], 100) for beat in range(8))
        score = Score(480, (Part("piano", 0, False, piano), Part("drums", 0, True, drums)), tempos=((0, 120.0 + index),), metres=((0, 4, 4),))
        midi.write(folder / f"{index}.mid", score)
        rows.append({"score": f"{index}.mid", "file": f"{index}.mid", "style": "piano", "split": "valid" if index == 2 else "train"})
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
