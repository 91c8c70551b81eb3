"""What the benchmark of budgets reads from latents: a beat and a key that are there, and none where there are none."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from mousai.audio.level import at_rms
from mousai.pipelines.cascade import load_codec

ROOT = Path(__file__).parents[2]
RATE = 48000


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "bench"))
    return importlib.import_module("budget")


def scale_in_c(bpm: float, seconds: float) -> torch.Tensor:
    """The scale of C major up and down, a struck note a beat, `(2, s)`."""
    beat = round(60 / bpm * RATE)
    time = torch.arange(beat) / RATE
    notes = [sum(torch.sin(2 * torch.pi * k * 261.63 * 2 ** (step / 12) * time) / k for k in (1, 2, 3)) * torch.exp(-4 * time) for step in (0, 2, 4, 5, 7, 9, 11, 12, 7, 4)]
    audio = torch.cat((notes * 20)[: round(seconds * RATE / beat) + 1])[: round(seconds * RATE)]
    return audio.expand(2, -1)


@torch.no_grad()
def test_a_scale_has_its_tempo_and_key_and_noise_has_not(tool):
    codec, _ = load_codec("starter")
    latents = torch.cat([codec.encode(at_rms(sound)[None]) for sound in (scale_in_c(120, 10), torch.randn(2, 10 * RATE, generator=torch.Generator().manual_seed(0)))])
    for sound, asked, expected in ((0, (120, "C major"), 1), (0, (95, "F# major"), 0), (1, (120, "C major"), 0)):
        cells = tool.row_of("x", codec, latents[sound : sound + 1], [{"bpm": asked[0], "key": asked[1]}]).split(" | ")
        assert cells[3] == f"{expected} of 1" and cells[5] == str(expected)


def test_held_out_clips_have_a_beat(tool, tmp_path):
    styles = ["ambient", "rock", "strings", "techno", "rock"]
    rows = [{"file": f"{n}.flac", "style": style, "split": "train" if n == 4 else "valid"} for n, style in enumerate(styles)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = tool.held_out(tmp_path, 28)
    assert sorted(row["style"] for row in found) == ["rock", "techno"] and found == tool.held_out(tmp_path / "manifest.jsonl", 28)
