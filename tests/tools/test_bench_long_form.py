"""The benchmark of long pieces runs, and its parts add up."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "tools" / "bench"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("long_form")


def test_both_sides_are_timed_and_their_parts_add_up(tool, tiny_cascade, tmp_path, capsys):
    out = tmp_path / "bench.json"
    words = ["--minutes", "0.05", "--clips", "1.5", "--steps", "2", "--codec-steps", "1", "--clock", "cpu", "--model", str(tiny_cascade), "--out", str(out)]
    assert tool.main(words) == 0
    [row] = json.loads(out.read_text())["rows"]
    ours, clips = row["render"], row["generate"]
    assert sum(ours[part] for part in tool.PARTS) == pytest.approx(ours["work"]) and min(ours[part] for part in tool.PARTS) > 0
    for side in (ours, clips):
        assert 0 < side["work"] < side["total"] and side["peak_bytes"] > 2**26
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[2].startswith("| 0.05 min | ") and len({line.count("|") for line in lines}) == 1


def test_memory_is_that_of_each_length(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "measured", lambda side, minutes, options: {"work": 30 * minutes, "total": 60 * minutes, "peak_bytes": 2**30 * (1 + (minutes == 60))})
    assert tool.main(["--memory", "2", "60", "--steps", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["| 2 min | 1024 MiB | 1.00× | 2.00 (1.00) |", "| 60 min | 2048 MiB | 2.00× | 2.00 (1.00) |"]


def test_medians_of_several_runs(tool):
    runs = [{"work": work, "torch": "2.13"} for work in (5.0, 1.0, 2.0)]
    assert tool.middle(runs) == {"work": 2.0, "torch": "2.13"}


def test_a_process_that_fails_is_named(tool, tmp_path, monkeypatch):
    failing = tmp_path / "failing.py"
    failing.write_text("import sys\nprint('a warning', file=sys.stderr)\nsys.exit('no such model: nothing')\n")
    monkeypatch.setattr(tool, "__file__", str(failing))
    with pytest.raises(ValueError, match=r"^render of 0.5 min failed: no such model: nothing$"):
        tool.measured("render", 0.5, tool.arguments([]))


def test_wrong_options_are_named(tool, capsys):
    for words, message in (
        (["--minutes", "0"], "a second to 24 hours"), (["--memory", "2000"], "a second to 24 hours"), (["--clips", "0.5"], "1 to 600 seconds"),
        (["--repeats", "0"], "at least 1"), (["--clock", "cpu", "--device", "cuda"], "nothing of a GPU"),
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            tool.arguments(words)
        assert message in capsys.readouterr().err


def test_the_commands_of_the_docs_are_understood(tool):
    texts = [tool.__doc__, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    lines = [line.split("long_form.py ")[1] for text in texts for line in text.splitlines() if line.strip().startswith("python tools/bench/long_form.py ")]
    assert len(lines) >= 3
    for line in lines:
        assert tool.arguments(line.split("#")[0].split()).minutes
