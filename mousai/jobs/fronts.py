"""What makes the items of a recipe's cache: of audio by a codec, by the mel spectra that a joint encoder learns from, or by a joint encoder; of captions by a conditioner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from mousai import config
from mousai.conditioners.contrastive import PooledText
from mousai.conditioners.joint import Joint, JointConfig
from mousai.conditioners.mel import LogMel
from mousai.recipe import Part, Recipe, codec_fingerprint, load_part
from mousai.trust import DOWNLOADS, allowing
from mousai.types import Codec, Conditioner


@dataclass(frozen=True)
class Front:
    """`codec` has what `types.Codec` says of encoding."""

    codec: Codec
    conditioner: Conditioner


class ClipVectors:
    """A joint encoder in the place of a codec: a frame is the vector of a clip."""

    channels = 1

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.sample_rate, self.hop, self.latent_channels = joint.sample_rate, joint.clip_samples, joint.features

    def encode(self, audio: torch.Tensor) -> torch.Tensor:
        return self.joint.clips(audio).transpose(1, 2)  # (b, e, n)


def made_by(recipe: Recipe) -> dict[str, Any]:
    """What a cache's items follow from, besides segments and captions."""
    if isinstance(recipe.joint, Part):
        own = recipe.joint.config
        return {"codec": LogMel(own.mel).fingerprint, "conditioner": {"type": "pooled_text", **config.to_dict(own.text)}}
    if recipe.joint is not None:
        return {"codec": f"joint {Joint(recipe.joint).space}", "conditioner": recipe.conditioner.to_dict()}
    told = recipe.conditioner.config
    joint = told if isinstance(told, JointConfig) else getattr(told, "joint", None)
    space = {"space": Joint(joint).space} if isinstance(joint, JointConfig) else {}
    return {"codec": codec_fingerprint(recipe.codec.path), "conditioner": recipe.conditioner.to_dict(), **space}


def front_of(recipe: Recipe, device: torch.device) -> Front:
    """What a recipe's cache is made with, on the device; the recipe is the user's own, so that what it names may be fetched."""
    with allowing(DOWNLOADS):
        if isinstance(recipe.joint, Part):
            own = recipe.joint.config
            return Front(LogMel(own.mel), PooledText(own.text).to(device))
        conditioner = recipe.conditioner.build().to(device)
        if recipe.joint is not None:
            return Front(ClipVectors(Joint(recipe.joint).to(device)), conditioner)
    return Front(load_part("codec", recipe.codec.path).to(device), conditioner)
