"""The benchmark of starting over many files runs, and the second start is by the index."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "bench"))
    return importlib.import_module("sources")


def test_every_start_finds_all_files(tool, tmp_path, capsys):
    assert tool.main(["--files", "120", "--starts", "2", "--out", str(tmp_path / "bench.json")]) == 0
    first, second = json.loads((tmp_path / "bench.json").read_text())["starts"]
    assert first["files"] == second["files"] == 120 and second["cpu"] < first["cpu"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {5}


def test_wrong_options_and_a_failing_start_are_named(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool.arguments(["--files", "0"])
    assert "at least 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match="opening .*none failed: FileNotFoundError: no such data source"):
        tool.start(tmp_path / "none", tmp_path / "kept", ROOT)


def test_the_command_of_the_docs_is_understood(tool):
    texts = [tool.__doc__, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    lines = [line.split("bench/sources.py ")[1] for text in texts for line in text.splitlines() if line.strip().startswith("python tools/bench/sources.py ")]
    assert len(lines) >= 2
    for line in lines:
        assert tool.arguments(line.split("#")[0].split()).files
