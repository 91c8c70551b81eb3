"""Our own joint encoder from a model folder, as a `joint.Encoder`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mousai import checkpoint
from mousai.conditioners.contrastive import TEXT, Contrastive, ContrastiveConfig, PooledText
from mousai.conditioners.joint import STARTER, JointConfig
from mousai.conditioners.mel import LogMel
from mousai.config import from_dict

LICENCE = "CC0-1.0"  # of the shipped weights


class Own:
    whole_clips, rms = False, 0.1

    def __init__(self, module: Contrastive, fingerprint: str) -> None:
        self.module, self.fingerprint = module.eval().requires_grad_(False), fingerprint
        config = module.config
        self.text, self.mel = PooledText(config.text), LogMel(config.mel)
        if (features := self.text.gives.vectors[TEXT]) != config.text_features:
            raise ValueError(f"joint.text_features: expected {features}, as the text encoder {config.text.name!r} has, came {config.text_features}")
        self.features, self.sample_rate, self.clip_seconds = config.features, config.mel.sample_rate, config.clip_seconds

    def to(self, device: torch.device | str) -> Own:
        self.module.to(device)
        self.text.to(device)
        return self

    def of_texts(self, texts: list[str]) -> Tensor:
        return self.module.of_pooled(self.text.encode(texts).vectors[TEXT])

    def of_clips(self, audio: Tensor) -> Tensor:
        return self.module.of_mel(self.mel.encode(audio[:, None]))


def load(config: JointConfig) -> Own:
    """The encoder of a model folder; FileNotFoundError or ValueError says what is wrong with it."""
    folder = checkpoint.model_folder(config.name)
    settings, state = checkpoint.load_model(folder)
    if not isinstance(settings.get("joint"), dict) or settings["joint"].get("type") != "contrastive":
        raise ValueError(f"{config.name}: this model folder has no joint encoder of ours; train one by recipes/joint/small.yaml")
    fields = {key: value for key, value in settings["joint"].items() if key != "type"}
    module = Contrastive(from_dict(ContrastiveConfig, fields, f"{config.name}: joint"))
    own = {name.removeprefix("joint."): value for name, value in state.items() if name.startswith("joint.")}
    checkpoint.load_strict(module, own, f"{config.name}: joint")
    return Own(module, checkpoint.fingerprint(folder))


def licence_of(config: JointConfig) -> str | None:
    """The shipped one's is known; whose music a folder's was trained on, nobody has said."""
    return LICENCE if config.name == STARTER else None
