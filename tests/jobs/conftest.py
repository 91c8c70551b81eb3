"""Recipes with small numbers, and music of sines."""

import json

import numpy as np
import pytest
import soundfile

from mousai import config
from mousai.launch.processes import forget

RATE = 16000
CODEC = {
    "type": "dmae", "sample_rate": RATE,
    "encoder": {"channels": 16, "multipliers": [1, 1], "factors": [2], "num_blocks": [1], "out_channels": 4, "n_fft": 127, "hop_length": 32},
    "unet": {"in_channels": 32, "channels": [16, 16], "factors": [1, 2], "items": [1, 1], "inject_channels": [4, 0], "modulation_features": 16},
    "transform": {"type": "learned", "bands": 16, "window_length": 64, "stride": 64},
    "decode": {"steps": 2, "stride_frames": 32, "context_frames": 4},
}  # fmt: skip
GENERATOR = {
    "type": "latent_diffusion", "max_tokens": 16, "sample": {"steps": 2},
    "unet": {"in_channels": 4, "channels": [16, 16], "factors": [1, 2], "items": [1, 1], "cross_attentions": [1, 1],
             "embedding_features": 32, "attention_heads": 2, "attention_features": 8, "modulation_features": 16, "resnet_groups": 4},
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_accelerator():
    forget()
    yield
    forget()


@pytest.fixture
def make_music():
    """Writes so many files of 1, 1.5, 2, … s and their manifest; the fourth is held out."""

    def make(folder, count):
        folder.mkdir(exist_ok=True)
        rows = []
        for index in range(count):
            time = np.arange(int((1 + 0.5 * index) * RATE)) / RATE
            sound = [np.sin(2 * np.pi * hertz * (index + 1) * time) for hertz in (220, 331)]
            soundfile.write(folder / f"{index}.wav", 0.1 * np.stack(sound, 1), RATE)
            labels = {"genre": ["calm"], "instruments": ["piano" if index % 2 else "guitar"], "title": f"of {index}"}
            rows.append({"file": f"{index}.wav", "split": "valid" if index == 3 else "train", **labels})
        (folder / "music.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder / "music.jsonl"

    return make


@pytest.fixture
def music(tmp_path, make_music):
    return make_music(tmp_path / "music", 4)


@pytest.fixture
def codec_recipe(tmp_path, music):
    recipe = {
        "format": 1, "seed": 5, "codec": CODEC,
        "data": {"sources": [str(music)], "crop_samples": 4096, "rms": 0.1},
        "train": {"steps": 6, "batch_size": 2, "lr": 1e-3, "log_every": 2, "save_every": 3, "valid_every": 3, "valid_batches": 1},
    }  # fmt: skip
    config.write_yaml(tmp_path / "codec.yaml", recipe)
    return tmp_path / "codec.yaml"


@pytest.fixture(scope="session")
def save_codec():
    """Writes a codec of random weights as a model folder."""

    def save(folder, seed):
        from mousai import checkpoint
        from mousai.recipe import part_from

        part = part_from("codec", CODEC)
        state = {f"codec.{name}": value for name, value in part.build(seed).state_dict().items()}
        checkpoint.save_model(folder, {"codec": part.to_dict()}, state, "# A codec")
        return folder

    return save


@pytest.fixture
def codec_folder(tmp_path, save_codec):
    return save_codec(tmp_path / "codec", seed=1)


@pytest.fixture
def generator_recipe(tmp_path, music, codec_folder, tiny_encoder):
    recipe = {
        "format": 1, "seed": 5, "codec": {"path": str(codec_folder)}, "generator": GENERATOR,
        "conditioner": {"type": "text", "name": str(tiny_encoder), "max_length": 16},
        "data": {"sources": [str(music)], "cache": str(tmp_path / "cache"), "segment_seconds": 1.0, "captions": 3, "crop_frames": 64,
                 "caption_drop": 0.0},  # captions are drawn from the path of the music, which is another each time
        "train": {"steps": 4, "batch_size": 2, "lr": 1e-3, "log_every": 2, "save_every": 2, "valid_every": 2, "valid_batches": 1},
    }  # fmt: skip
    config.write_yaml(tmp_path / "generator.yaml", recipe)
    return tmp_path / "generator.yaml"
