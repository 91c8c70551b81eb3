"""The benchmark of guidance runs and prints a row for each way."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from mousai.audio import io

BENCH = Path(__file__).parents[2] / "tools" / "bench"
RATE = 48000


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    tool = importlib.import_module("guidance")
    trained = tool.practice_classifier
    monkeypatch.setattr(tool, "practice_classifier", lambda manifest: trained(manifest, steps=4))
    return tool


@pytest.fixture
def practice(tmp_path):
    """Two styles, a clip of each to learn from and one to ask for."""
    rows, noise = [], torch.Generator().manual_seed(0)
    for style, level in (("calm", 0.02), ("loud", 0.2)):
        for split in ("train", "valid"):
            io.write(tmp_path / f"{style}-{split}.wav", level * torch.randn(2, 3 * RATE, generator=noise), RATE)
            rows.append({"file": f"{style}-{split}.wav", "split": split, "style": style, "caption": f"{style} piano", "duration": 3.0})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("negative", [[], ["--negative", "noise"]])
def test_every_way_has_its_row(tool, tiny_cascade, practice, capsys, negative):
    asked = [str(practice), "--model", str(tiny_cascade), "--guidance", "1", "4", "--steps", "2", "--seconds", "1", "--ways", "plain", "apg 1, hold 1", "own"]
    assert tool.main(asked + negative) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["1", "none"], ["4", "plain"], ["4", "apg 1, hold 1"], ["4", "own"]]
    plain, held, own = rows[1:]
    assert plain[2:] != held[2:] == own[2:]  # more guidance than the own of this model, which says nothing of what tempers it
    assert all(float(row[2]) > 0 and row[7].endswith(" of 2") and row[8].endswith(" of 2") for row in rows)
