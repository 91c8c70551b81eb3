"""What a run writes about itself, and how it is read when it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from mousai.training.config import TrainConfig
from mousai.training.log import cut_log, read_log
from mousai.training.report import Report

DAMAGED = ['{"step": 3, "lo', "[1, 2]", '{"loss": 1.0}', '{"step": "4"}', '{"step": true}', '{"step": 4, "loss": "x"}', "\0\0\0", "[" * 100_000]


def test_damaged_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    lines = ['{"step": 1, "loss": 2.0}', *DAMAGED, '{"step": 2, "loss": 1.5}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert read_log(tmp_path / "log.jsonl") == ([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}], len(DAMAGED))
    (tmp_path / "log.jsonl").write_bytes(b'\xff\xfe\n{"step": 1}\n')
    assert read_log(tmp_path / "log.jsonl") == ([{"step": 1}], 1)
    assert read_log(tmp_path / "none.jsonl") == ([], 0)


def test_what_comes_again_is_cut(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 0.123457}\n{"step": 5, "loss": 1.5}\n{"st')
    cut_log(tmp_path / "log.jsonl", 4)
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": 0.123457}\n'
    cut_log(tmp_path / "none.jsonl", 4)
    assert not (tmp_path / "none.jsonl").exists()


def test_the_loss_and_its_parts_are_means_over_the_same_steps(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    with Report(TrainConfig(steps=4, log_every=2), tmp_path, accelerator, 0) as report:
        for step in range(1, 5):
            micro = [{"prior": torch.tensor(float(step))}, {"prior": torch.tensor(float(step) + 1), "rare": torch.tensor(7.0)}]
            report.step(step, 10.0 * step, 0.5, 1e-3, micro[: 1 + step % 2])
    rows, _ = read_log(tmp_path / "log.jsonl")
    assert [row["loss"] for row in rows] == [15.0, 35.0]
    assert [row["prior"] for row in rows] == pytest.approx([(1 + 2 + 2) / 3, (3 + 4 + 4) / 3], rel=1e-5)
    assert rows[0]["rare"] == 7.0
