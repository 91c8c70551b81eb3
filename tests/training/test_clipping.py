"""ZClip against plain statistics, what it does to a spike, and that a run that is stopped goes on with it to the bit."""

import math

import pytest
import torch

from mousai import checkpoint
from mousai.training.clipping import ALPHA, WARMUP, ZClip
from mousai.training.loop import gradient_norm


def test_its_first_statistics_are_those_of_the_norms_so_far():
    norms = torch.rand(WARMUP, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zclip = ZClip(2.0)
    for norm in norms[:-1].tolist():
        zclip.update(norm)
    assert zclip.limit == math.inf
    zclip.update(norms[-1].item())
    assert zclip.mean == pytest.approx(norms.mean().item()) and zclip.variance == pytest.approx(norms.var(correction=0).item())
    assert zclip.limit == pytest.approx(zclip.mean + 2 * zclip.variance**0.5)


def test_a_spike_is_clipped_to_what_was_usual_before_it_and_hardly_moves_it():
    zclip = ZClip(2.5)
    for step in range(100):
        zclip.update(1.0 + 0.1 * (-1) ** step)
    limit, mean = zclip.limit, zclip.mean
    assert limit == pytest.approx(1.25, abs=0.02)
    zclip.update(1000.0)
    assert zclip.mean == pytest.approx(mean + (1 - ALPHA) * (limit - mean)) and zclip.limit < 1.3

    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[300.0, 400.0]])
    assert gradient_norm(layer, 0.0, limit) == 500 and layer.weight.grad.norm() == pytest.approx(limit, rel=1e-4)
    assert gradient_norm(layer, 0.5, limit) == pytest.approx(limit, rel=1e-4) and layer.weight.grad.norm() == pytest.approx(0.5, rel=1e-4)


def test_a_run_that_is_stopped_equals_one_that_is_not_with_its_statistics(tmp_path, run_tiny):
    main, given = run_tiny.main, ("zclip=0.1", "clip=0", "steps=40", "lr=1e-4", "save_every=100", "valid_every=0")
    whole = main(tmp_path / "whole", *given)
    assert main(tmp_path / "two", *given, faults={32: "SIGTERM"})["reason"] == "signal"
    assert main(tmp_path / "two", *given)["weights"] == whole["weights"]
    assert main(tmp_path / "without", *given[1:])["weights"] != whole["weights"]  # some of the last steps were clipped
    step, _, meta = checkpoint.load_state(tmp_path / "two/state")
    assert step == 40 == meta["zclip"]["count"] and meta["zclip"]["mean"] > 0
    assert meta["zclip"] == checkpoint.load_state(tmp_path / "whole/state")[2]["zclip"]
    with pytest.raises(ValueError, match="zclip: expected above 0 or null, came 0"):
        main(tmp_path / "other", "zclip=0")
