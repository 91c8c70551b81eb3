"""The benchmark of the seam score runs, and its faults have seams."""

import importlib
import math
from pathlib import Path

import pytest
import torch

from mousai.audio import io

BENCH = Path(__file__).parents[2] / "tools" / "bench"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("seams")


@pytest.fixture
def recording(tmp_path):
    """A tone that rises an octave, over noise: any two cuts of it differ."""
    time = torch.arange(36 * 48000, dtype=torch.float64) / 48000
    tone = torch.sin(2 * math.pi * 220 * 36 / math.log(2) * (2 ** (time / 36) - 1)).float()
    noise = torch.randn(2, len(time), generator=torch.Generator().manual_seed(0))
    io.write(tmp_path / "rising.wav", 0.1 * tone + 0.003 * noise, 48000)
    return tmp_path / "rising.wav"


def test_what_is_pasted_has_seams_and_what_is_not_has_none(tool, recording, capsys):
    assert tool.main([str(recording), "--every", "4"]) == 0
    out = capsys.readouterr().out
    rows = {line.split(" | ")[0][2:]: float(line.split(" | ")[1].split()[0]) for line in out.splitlines() if line.startswith("| ") and "score" not in line}
    assert list(rows) == list(tool.CHANGES) and out.startswith("1 recordings, 8 boundaries")
    assert rows["cuts from random places"] > 1.5 > rows["unedited"]
    assert rows["every other window 2 dB louder"] > 2


def test_crossfades_keep_the_power_and_the_length(tool):
    audio = torch.randn(2, 30 * 48000, generator=torch.Generator().manual_seed(0))
    pasted = tool.pasted(2.0)(audio, 8.2, torch.Generator().manual_seed(0))
    assert pasted.shape == (2, 3 * round(8.2 * 48000))
    for second in (4.0, 8.2, 16.4):  # in a window, and in the middle of two fades
        around = round(second * 48000)
        assert pasted[:, around - 24000 : around + 24000].square().mean().sqrt().item() == pytest.approx(1, abs=0.03)


def test_too_short_recordings_and_wrong_options_are_named(tool, recording, capsys):
    with pytest.raises(ValueError, match=r"no recording lasts 60 s"):
        tool.main([str(recording), "--every", "20"])
    with pytest.raises(SystemExit):
        tool.main([str(recording), "--every", "1"])
    assert "expected 4 to 600 seconds, came 1" in capsys.readouterr().err
