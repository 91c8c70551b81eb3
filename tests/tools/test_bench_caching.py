"""The benchmark of caching runs with small numbers."""

import importlib
import json
from pathlib import Path

import pytest

from mousai import config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "bench"))
    return importlib.import_module("caching")


@pytest.fixture
def recipe(tmp_path, tiny_cascade, tiny_encoder):
    """The recipe of the shipped generator, with the tiny cascade's parts."""
    shipped = config.read_yaml(ROOT / "recipes/starter/generator.yaml")
    parts = {"generator": config.read_yaml(tiny_cascade / "config.yaml")["generator"], "conditioner": {"type": "text", "name": str(tiny_encoder), "max_length": 24}}
    config.write_yaml(tmp_path / "recipe.yaml", {**shipped, **parts})
    return tmp_path / "recipe.yaml"


def test_each_batch_size_caches_all_files(tool, recipe, tiny_cascade, tmp_path, capsys):
    words = ["--files", "3", "--seconds", "0.5", "--batch-sizes", "0", "2", "--recipe", str(recipe), "--model", str(tiny_cascade)]
    assert tool.main([*words, "--out", str(tmp_path / "bench.json")]) == 0
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [(row["batch_size"], row["files"]) for row in rows] == [(0, 3), (2, 3)]
    assert all(0 < row["encoding"] <= row["cpu"] + 0.1 for row in rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[2].startswith("| own | 3 | ") and {line.count("|") for line in lines} == {8}


def test_wrong_options_and_a_failing_run_are_named(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool.arguments(["--batch-sizes", "-1"])
    assert "from 0 on" in capsys.readouterr().err
    with pytest.raises(ValueError, match="caching with batches of 1 failed: FileNotFoundError"):
        tool.measured(tool.arguments(["--recipe", str(tmp_path / "none.yaml")]), tmp_path, 1)


def test_the_commands_of_the_docs_are_understood(tool):
    texts = [tool.__doc__, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    lines = [line.split("bench/caching.py ")[1] for text in texts for line in text.splitlines() if line.strip().startswith("python tools/bench/caching.py ")]
    assert len(lines) >= 2
    for line in lines:
        assert tool.arguments(line.split("#")[0].split()).files
