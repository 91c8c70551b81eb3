"""A text's tokens and music beside a point of a joint space: for a generator that is told a vector as well as words.

A text alone says no point: its vector is NaN, not said. Recordings, and whoever chooses a vector, say one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mousai.conditioners.joint import VECTOR, Joint, JointConditioner, JointConfig, resampled
from mousai.conditioners.music import MusicTextConditioner, MusicTextConfig
from mousai.types import Condition


@dataclass(frozen=True)
class JointTextConfig(MusicTextConfig):
    """As a text conditioner's, and whose space the vector is of."""

    joint: JointConfig = JointConfig()


class JointTextConditioner(MusicTextConditioner):
    def __init__(self, config: JointTextConfig) -> None:
        super().__init__(config)
        self.joint = Joint(config.joint)
        self.gives = replace(self.gives, vectors={VECTOR: self.joint.features})

    @staticmethod
    def licence_of(config: JointTextConfig) -> str | None:
        """Of both encoders' weights."""
        both = (MusicTextConditioner.licence_of(config), JointConditioner.licence_of(config.joint))
        return None if None in both else " AND ".join(dict.fromkeys(both))

    def to(self, device: torch.device | str) -> JointTextConditioner:
        self.joint.to(device)
        return super().to(device)

    def encode(self, texts: list[str]) -> Condition:
        return replace(super().encode(texts), vectors={VECTOR: torch.full((len(texts), self.joint.features), torch.nan, device=self.device)})

    def of_audio(self, audio: Tensor, sample_rate: int) -> dict[str, Tensor]:
        """As of `JointConditioner`."""
        return {f"vectors.{VECTOR}": self.joint.audio(resampled(audio, sample_rate, self.joint.sample_rate))}
