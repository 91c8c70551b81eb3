"""The bench of scores: what it measures of pieces of which that is known."""

import importlib
import sys
from pathlib import Path

import pytest

from mousai.symbolic import midi
from mousai.symbolic.score import Part, Score, notes_of

BENCH = Path(__file__).parents[2] / "tools" / "bench"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("scores")


def arpeggio(bars: int, up: int = 0) -> Score:
    rows = [(48 * bar + 12 * beat, 12, 60 + up + step, 80) for bar in range(bars) for beat, step in enumerate((0, 4, 7, 12))]
    return Score(12, (Part("p", 0, False, notes_of(rows)),), ((0, 120.0),), ((0, 4, 4),))


def test_figures_of_an_arpeggio(tool):
    found = tool.measured(arpeggio(8))
    assert found["on eighths"] == found["in chords"] == found["groove"] == 1 and found["repeated"] == 7 / 8 and found["notes a bar"] == 4
    assert found["pitch entropy"] == pytest.approx(1.5)
    known = tool.index_of([arpeggio(8)])
    assert tool.longest_shared(arpeggio(8, up=5), known) == 25  # as it is in another key
    other = Score(12, (Part("p", 0, False, notes_of((7 * i, 5, 50 + (i * i) % 23, 80) for i in range(40))),))
    assert tool.longest_shared(other, known) == 0
    assert len(tool.cut(arpeggio(8), 3).bars()) == 3


def test_it_prints_a_table(tool, practice_scores, untrained, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["scores.py", "--model", str(untrained), "--real", str(practice_scores), "--bars", "2", "--each", "1", "--out", str(tmp_path)])
    assert tool.main() == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"held", "composed"} and (tmp_path / "scores.json").is_file()


@pytest.fixture
def practice_scores(tmp_path):
    """Two scores of one style, one of them held out."""
    for name, bars in (("a", 4), ("b", 5)):
        midi.write(tmp_path / f"{name}.mid", arpeggio(bars))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"file": "a.mid", "split": "train", "style": "piano"}\n{"file": "b.mid", "split": "valid", "style": "piano"}\n')
    return manifest
