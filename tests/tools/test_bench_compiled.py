"""The benchmark of compiled networks runs and prints its table."""

import importlib
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "tools" / "bench"


def test_a_table_of_lengths(tiny_cascade, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    tool = importlib.import_module("compiled")
    assert tool.main(["--model", str(tiny_cascade), "--prompt", "piano", "--seconds", "0.5", "0.8", "--rounds", "1", "--steps", "2", "--clock", "cpu"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 4 and all(len(row) == 6 for row in (rows[0], rows[2], rows[3]))
    assert (rows[2][0], rows[3][0], rows[2][5]) == ("| 0.5 s", "| 0.8 s", "0.0e+00 |")
    with pytest.raises(SystemExit):
        tool.main(["--rounds", "0"])
