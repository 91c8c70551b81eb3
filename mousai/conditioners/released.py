"""The text encoder of a released pipeline: weights and tokenizer in a folder each, as diffusers has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from mousai.conditioners.text import Pretrained, TextConditioner, TextConfig
from mousai.types import ConditionShape


@dataclass(frozen=True)
class ReleasedTextConfig:
    folder: str  # the pipeline's, with text_encoder/ and tokenizer/
    max_length: int = 128  # tokens, special ones among them; what is longer is cut with a warning
    pad_to_max: bool = False  # pad to max_length always, not to the longest text of the batch


class ReleasedText(TextConditioner):
    """A frozen text encoder in float32."""

    def __init__(self, config: ReleasedTextConfig) -> None:
        """Load tokenizer and encoder; FileNotFoundError where there is none, ValueError where it is no text encoder."""
        self.config, folder = config, Path(config.folder)
        self.encoder = Pretrained(TextConfig(str(folder / "text_encoder"), config.max_length), str(folder / "tokenizer"))
        self.gives = ConditionShape(tokens=self.encoder.features, max_tokens=config.max_length)
        self.device = torch.device("cpu")

    @staticmethod
    def licence_of(config: ReleasedTextConfig) -> str | None:
        """The pipeline's folder says it."""
        return None
