"""The benchmark of guidance runs and prints a row for each way."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "tools" / "bench"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("guidance")


def test_every_way_has_its_row(tool, tiny_cascade, capsys):
    assert tool.main(["--model", str(tiny_cascade), "--guidance", "1", "4", "--steps", "2", "--frames", "8"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["1", "none"], *(["4", name] for name in tool.WAYS)]
    plain, projected = (next(row for row in rows if row[1] == name) for name in ("plain", "apg 1"))
    assert plain[2:] != projected[2:] and all(float(row[4]) > 0 for row in rows)
