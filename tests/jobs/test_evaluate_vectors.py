"""`mousai evaluate joint` and `evaluate flow` by tiny models of random weights, and the bench of solvers."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.cli import main as cli
from mousai.pipelines.muse import load_flow

BENCH = Path(__file__).parents[2] / "tools" / "bench"


@pytest.fixture
def clips(tmp_path):
    """Six sounds of three styles, all held out."""
    rows = []
    for index in range(6):
        io.write(tmp_path / f"{index}.wav", 0.1 * torch.randn(1, 20000, generator=torch.Generator().manual_seed(index)), 16000)
        rows.append({"file": f"{index}.wav", "split": "valid", "style": "abc"[index % 3], "genre": ["piano"], "mood": ["calm", "slow", "fast", "dance", "melancholic", "calm"][index]})
    rows[5]["style"] = rows[0]["style"]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps({**row, "mood": [row["mood"]]}) + "\n" for row in rows))
    return tmp_path / "set.jsonl"


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    return end.value.code


def test_joint_writes_places_beside_chance(tiny_joint, clips, tmp_path, capsys):
    assert run("evaluate", "joint", tiny_joint, "--data", clips, "--out", tmp_path / "out", "--seconds", 1) == 0
    report = json.loads((tmp_path / "out/joint.json").read_text())
    to_music, to_text = report["rows"].values()
    assert to_text["questions"] == 6 and to_text["candidates"] == len({row["text"] for row in report["clips"]})
    texts = [row["text"] for row in report["clips"]]
    assert to_music["recall_1_chance"] == pytest.approx(sum(map(texts.count, texts)) / 6 / 6)  # a text may belong to more than one clip
    assert to_text["recall_1_chance"] == pytest.approx(1 / len(set(texts)))
    assert "| text → music |" in capsys.readouterr().out
    assert run("evaluate", "joint", tiny_joint, "--data", clips, "--out", tmp_path / "out", "--family", "what") == 2


def test_flow_writes_loss_cosines_spreads_and_places(tiny_flow, clips, tmp_path, capsys):
    assert run("evaluate", "flow", tiny_flow, "--data", clips, "--out", tmp_path / "out", "--seconds", 1, "--takes", 3) == 0
    report = json.loads((tmp_path / "out/flow.json").read_text())
    assert report["clips"] == 6 and set(report["rows"]) == {"a clip's whole text", "a class's name", "real clips"}
    found = report["rows"]["a clip's whole text"]
    assert found["spread"] > 0 and found["retrieval"]["candidates"] == 6
    assert report["loss"]["floor"] == pytest.approx(torch.pi / 2, rel=1e-5) and report["loss"]["share"] > 0.5
    said = capsys.readouterr().out
    assert "text-blind" in said and f"| a clip's whole text | {found['cosine_true']:.3f} | {found['cosine_class']:.3f} | {found['spread']:.3f} |" in said
    assert run("evaluate", "flow", tiny_flow, "--data", clips, "--out", tmp_path / "out", "--takes", 3, "--sampler", "ddim") == 2


def test_evaluations_are_counted_and_fine_steps_converge(tiny_flow, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    bench = importlib.import_module("flow_steps")
    flow = load_flow(tiny_flow)
    rows = bench.measured(flow, ["slow piano", "fast guitar"], torch.eye(12)[:2], seed=0)
    by = {(row["solver"], row["evaluations"]): row for row in rows}
    assert ("heun", 2) in by and ("heun", 1) not in by and ("euler", 1) in by
    assert by["heun", 64]["off"] < by["heun", 4]["off"] + 1e-6 and by["euler", 64]["off"] < by["euler", 1]["off"]
    adaptive = [row for row in rows if row["solver"] == "dopri5"]
    assert len(adaptive) == 1 and adaptive[0]["evaluations"] > 6 and adaptive[0]["off"] < 1e-3
    bench.draw(rows, tmp_path / "steps.png", "tiny")
    assert (tmp_path / "steps.png").stat().st_size > 10000 and "| dopri5 |" in bench.table(rows)
