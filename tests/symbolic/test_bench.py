"""The bench of scores, and what it measures of pieces of which that is known."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from mousai.evaluation import scores as measures
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


def test_figures_of_an_arpeggio():
    found = measures.columns(arpeggio(8))
    assert [found[f"alike at {lag}"] for lag in (1, 2, 4)] == [1, 1, 1] and math.isnan(found["alike at 8"])
    assert found["on eighths"] == found["in chords"] == found["groove"] == 1 and found["repeated"] == 7 / 8 and found["notes a bar"] == 4
    assert found["pitch entropy"] == pytest.approx(1.5)
    known = measures.index_of([arpeggio(8)])
    assert measures.longest_shared(arpeggio(8, up=5), known) == 25  # as it is in another key
    other = Score(12, (Part("p", 0, False, notes_of((7 * i, 5, 50 + (i * i) % 23, 80) for i in range(40))),))
    assert measures.longest_shared(other, known) == 0
    assert len(measures.cut(arpeggio(8), 3).bars()) == 3


def test_a_distance_is_that_of_two_gaussians():
    """In the space of windows of unit spread: of sets moved apart the square of the way, of one set against itself nothing."""
    rng = np.random.default_rng(0)
    known = rng.normal(size=(4000, len(measures.FEATURES)))
    space = measures.Space(known)
    assert space.distance(known, known) == pytest.approx(0, abs=1e-6)
    way = 0.5 * space.axes[:, 0]
    assert space.distance(known, known + way * space.scale) == pytest.approx(0.25, rel=0.01)
    far = known.copy()
    far[0, 0] = 1e6  # counts as one that is four standard deviations away
    assert space.distance(known, far) < 0.01
    assert space.distance(known, space.mean + 1.2 * (known - space.mean)) == pytest.approx(0.04 * measures.COMPONENTS, rel=0.1)


def test_windows_are_of_four_bars_and_each_feature_is_what_it_is_called():
    rows = measures.windows(arpeggio(8, up=2))
    assert rows.shape == (3, len(measures.FEATURES))
    found = dict(zip(measures.FEATURES, rows[0]))
    assert found["share of pitch class 0"] == pytest.approx(0.5) and found["share of onsets at 0/12 of a quarter"] == 1 == found["share of lengths up to 1 quarters"]
    assert found["share of steps of the top line: more down"] == pytest.approx(3 / 15) and found["notes a quarter"] == 1 and found["bars alike at 2"] == 1
    assert measures.windows(arpeggio(3)).shape == (0, len(measures.FEATURES))


def test_a_markov_model_says_what_followed_and_backs_off_where_nothing_did():
    model = measures.Markov([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]])
    rng = np.random.default_rng(0)
    assert model.draw([0, 1], 0, 3, rng) == [0, 1, 2, 3, 4] * 3  # a fourth bar is begun by none
    assert model.draw([7, 0], 0, 1, rng) == [7, 0, 1, 2, 3, 4]


def test_shuffled_bars_are_the_same_bars():
    rows = [(48 * bar, 12, 60 + bar, 80) for bar in range(6)]
    score = Score(12, (Part("p", 0, False, notes_of(rows)),), ((0, 120.0),), ((0, 4, 4),))
    other = measures.shuffled(score, np.random.default_rng(1)).parts[0].notes
    assert sorted(other[:, 2]) == [60, 61, 62, 63, 64, 65] and list(other[:, 2]) != sorted(other[:, 2]) and list(other[:, 0]) == [48 * bar for bar in range(6)]


def test_it_prints_a_table(tool, practice_scores, untrained, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["scores.py", "--model", str(untrained), "--real", str(practice_scores), "--bars", "8", "--each", "1", "--out", str(tmp_path)])
    assert tool.main() == 0
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in capsys.readouterr().out.splitlines()}
    assert [*rows][2:] == ["held out", "composed", "Markov", "shuffled"] and float(rows["held out"][10]) >= 0 and (tmp_path / "scores.json").is_file()


@pytest.fixture
def practice_scores(tmp_path):
    """Three scores of one style, two of them held out."""
    for name, bars in (("a", 8), ("b", 9), ("c", 10)):
        midi.write(tmp_path / f"{name}.mid", arpeggio(bars))
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"file": "a.mid", "split": "train", "style": "piano"}\n{"file": "b.mid", "split": "valid", "style": "piano"}\n{"file": "c.mid", "split": "valid", "style": "piano"}\n')
    return manifest


def test_controls_are_heard_in_notes_that_have_them(controls):
    asked = arpeggio(8, up=2)
    assert controls.key_agrees(asked, 2, "major") and controls.key_agrees(asked, 11, "minor") and not controls.key_agrees(asked, 8, "major")
    waltz = Score(12, (Part("p", 0, False, notes_of((12 * beat, 12, 60 + 12 * (beat % 3 == 0) + step, 80) for beat in range(24) for step in ((0, 4, 7) if beat % 3 == 0 else (0,)))),))
    assert controls.bar_lines(waltz, 36) == pytest.approx(3 / (5 / 3)) and controls.bar_lines(waltz, 48) == pytest.approx(1, abs=0.1)
    scale = Score(12, (Part("p", 0, False, notes_of((12 * i, 12, 60 + step, 80) for i, step in enumerate((0, 4, 7, 2, 5, 9, 11, 7, 1, 3, 6, 8)))),), ((0, 120.0),), ((0, 4, 4),))
    aligned, later = controls.chroma_follows(scale)
    assert aligned > 0.6 and later < 0.2
    rows = [arpeggio(4, up) for up in range(4)], [shifted(arpeggio(4, up), 7) for up in range(4)]
    judge = controls.Judge({"on the beat": rows[0], "off the beat": rows[1]})
    assert judge.name(arpeggio(5, 5)) == "on the beat" and judge.name(shifted(arpeggio(5, 5), 7)) == "off the beat"


def test_the_bench_of_controls_has_a_row_for_each(controls, practice_scores, untrained, capsys, monkeypatch, tmp_path):
    manifest = practice_scores.read_text() + practice_scores.read_text().replace("piano", "rock")
    practice_scores.write_text(manifest)
    monkeypatch.setattr(sys, "argv", ["score_controls.py", "--model", str(untrained), "--real", str(practice_scores), "--bars", "4", "--each", "1", "--out", str(tmp_path)])
    assert controls.main() == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()][2:]
    assert [row[0] for row in rows][:4] == ["key", "metre", "density", "register"] and rows[-1][0] == "sound" and rows[-2][1] == "held-out scores" and (tmp_path / "controls.json").is_file()


@pytest.fixture
def controls(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("score_controls")


def shifted(score: Score, far: int) -> Score:
    (part,) = score.parts
    return Score(score.ticks, (Part(part.name, part.program, False, part.notes + np.array([far, 0, 0, 0])),), score.tempos, score.metres)


def test_the_bench_of_speed_has_a_row_for_each_that_is_installed(practice_scores, untrained, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    tool = importlib.import_module("score_speed")
    monkeypatch.setattr(tool, "REPEATS", 1)
    monkeypatch.setitem(sys.modules, "midigpt", None)
    monkeypatch.setattr(sys, "argv", ["score_speed.py", "--model", str(untrained), "--real", str(practice_scores), "--style", "piano", "--bars", "1"])
    assert tool.main() == 0
    said = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.out.splitlines() if line.startswith("|")][2:]
    assert [row[0].split()[0] for row in rows] == ["mousai", "mousai,", "transformers'"] and all(float(row[2]) > 0 for row in rows)
    assert "midigpt" in said.err


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads what Linux says of a process")
def test_the_bench_of_memory_has_lines_and_a_picture(untrained, capsys, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCH))
    tool = importlib.import_module("endless")
    monkeypatch.setattr(sys, "argv", ["endless.py", "--model", str(untrained), "--bars", "20", "--out", str(tmp_path)])
    assert tool.main() == 0
    assert [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[4:]] == [str(2 * n) for n in range(1, 11)] and (tmp_path / "endless.png").is_file()


def test_the_bench_of_phrases_has_a_column_for_each_source(practice_scores, untrained, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    tool = importlib.import_module("phrases")
    monkeypatch.setattr(sys, "argv", ["phrases.py", "--model", str(untrained), "--real", str(practice_scores), str(practice_scores), "--phrases", "3"])
    assert tool.main() == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 7 and all(len(row) == 3 and row[1] == row[2] for row in rows[1:]) and 0 < float(rows[2][1]) < 20
