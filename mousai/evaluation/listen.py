"""A page to listen to blind: the same words from different origins under letters, equally loud, a score for each.

The folder holds all that the page needs and can be sent around: listen.html, and a file a clip whose name says nothing.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mousai.audio import io
from mousai.audio.loudness import gain_for, limited, measure
from mousai.files import write_text

LOUDNESS_LUFS, CEILING_DB = -20.0, -1.0
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def listening_page(folder: Path, name: str, prompts: Sequence[tuple[str, Mapping[str, Tensor]]], sample_rate: int, seed: int = 0) -> Path:
    """Writes listen.html for pairs of words and clips `(c, s)` by origin, rows and letters in an order drawn from `seed`.

    `name` tells this page's scores from another's. ValueError for more than 26 clips of a row.
    """
    rng = random.Random(seed)
    rows = []
    for number, (prompt, clips) in enumerate(rng.sample(prompts, len(prompts)), 1):
        if len(clips) > len(LETTERS):
            raise ValueError(f"expected at most {len(LETTERS)} clips of a prompt, came {len(clips)}")
        row = []
        for letter, (source, audio) in zip(LETTERS, rng.sample(list(clips.items()), len(clips))):
            file = f"{number:02d}-{letter.lower()}.ogg"
            io.write(folder / file, levelled(audio, sample_rate), sample_rate)
            row.append({"letter": letter, "file": file, "source": base64.b64encode(source.encode()).decode()})
        rows.append({"number": number, "prompt": prompt, "clips": row})
    page = folder / "listen.html"
    write_text(page, page_of({"name": name, "prompts": rows}))
    return page


def levelled(audio: Tensor, sample_rate: int) -> Tensor:
    """Audio `(c, s)` at -20 LUFS, no true peak above -1 dB."""
    gain = gain_for(measure([audio], sample_rate, audio.shape[0]), LOUDNESS_LUFS)
    return torch.cat(list(limited([audio], sample_rate, gain, CEILING_DB)), dim=1)


def page_of(data: Mapping[str, Any]) -> str:
    """The page with its data in it; no text of theirs can end the element that they are in."""
    template = resources.files("mousai.evaluation").joinpath("listen.html").read_text(encoding="utf-8")
    return template.replace("{{DATA}}", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))
