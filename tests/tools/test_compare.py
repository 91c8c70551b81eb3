"""The benchmark runs, and both sides of every case give the same result."""

import importlib
import json
from pathlib import Path

import pytest

import mousai  # noqa: F401  (installs the torchaudio hook)

BENCH = Path(__file__).parents[2] / "tools" / "bench"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("compare")


def test_every_case_gives_equal_results(tool, tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert tool.main(["--frames", "64", "--repeats", "1", "--steps", "2", "--no-memory", "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["case"] for row in rows} == {
        "decode_step", "guided_step", "generation", "training_step", "cached_training", "attention",
    }  # fmt: skip
    assert all(0 <= row["difference"] < 1e-5 and row["speedup"] > 0 for row in rows)
    assert capsys.readouterr().out.count("\n| ") == len(rows)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_attention_of_the_reference_holds_its_matrix_and_ours_does_not(tool):
    frames = 4096
    matrix = 2 * frames**2 * 4  # two heads in float32
    setting = tool.setting(tool.arguments(["--cases", "attention"]))
    case = tool.CASES["attention"](setting, frames)
    assert tool.peak_bytes(case.peer, setting.device) > 1.5 * matrix
    assert tool.peak_bytes(case.ours, setting.device) < 0.5 * matrix


def test_wrong_options_are_named(tool, capsys):
    for words, message in ((["--frames", "65"], "multiples of 64"), (["--repeats", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            tool.arguments(words)
        assert message in capsys.readouterr().err


def test_the_commands_of_the_docs_are_understood(tool):
    page = (BENCH.parents[1] / "docs" / "performance.md").read_text()
    lines = [line.split("compare.py ")[1] for line in page.splitlines() if line.startswith("python tools/bench/compare.py")]
    assert len(lines) >= 4
    for line in lines:
        assert tool.arguments(line.split()).frames
