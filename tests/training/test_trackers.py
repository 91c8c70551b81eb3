"""Trackers that are not there, and what ending them must not end."""

from __future__ import annotations

import accelerate.tracking
import pytest
from accelerate import Accelerator
from accelerate.state import PartialState

from mousai.training.config import TrainConfig
from mousai.training.loop import accelerator_for
from mousai.training.report import Report


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(accelerate.tracking, "get_available_trackers", list)
    with pytest.raises(ImportError, match=r"train.trackers: tensorboard .* pip install 'mousai\[tensorboard\]'"):
        accelerator_for(TrainConfig(steps=1, trackers=("tensorboard",)), tmp_path)
    accelerator_for(TrainConfig(steps=1), tmp_path)


def test_the_processes_stay_together_after_the_loop(tmp_path, monkeypatch) -> None:
    """What follows the loop, the export of the model, waits for all of them."""
    monkeypatch.setattr(PartialState, "destroy_process_group", lambda *_: pytest.fail("the processes were taken apart"))
    accelerator, finished = Accelerator(cpu=True), []
    accelerator.trackers = [type("Tracker", (), {"finish": lambda _: finished.append(True)})()]
    with Report(TrainConfig(steps=1), tmp_path, accelerator, 0):
        pass
    assert finished == [True]
