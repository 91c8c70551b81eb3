"""The beats of a trained tracker: what they come to, and the way from a checkpoint to a manifest, by tiny random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mousai.audio import beat_this as module
from mousai.audio import io
from mousai.audio.beat_this import beats_of, tracker
from mousai.audio.hearing import Heard
from mousai.jobs.annotate import annotate


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as beat_this has them, of a tiny network whose weights are random."""
    model = pytest.importorskip("beat_this.model.beat_tracker", reason="needs the extra beat-this")
    settings = {"transformer_dim": 16, "ff_mult": 1, "n_layers": 1, "stem_dim": 4, "head_dim": 4}
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in model.BeatThis(**settings).state_dict().items()}
    path = tmp_path_factory.mktemp("beats") / "tiny.ckpt"
    torch.save({"hyper_parameters": {**settings, "lr": 1e-3}, "state_dict": weights}, path)
    return path


def bursts() -> torch.Tensor:
    """Noise that comes every half second."""
    return 0.3 * torch.randn(2, 14 * 22050, generator=torch.Generator().manual_seed(0)) * (torch.arange(14 * 22050) % 11025 < 2000)


def grid(bpm: float, first: float, count: int) -> np.ndarray:
    return np.round((first + 60 / bpm * np.arange(count)) * 50) / 50  # as the network has them


def test_beats_on_whole_frames_of_the_network_are_a_steady_grid() -> None:
    times = grid(123.0, 0.4, 40)
    found = beats_of(np.delete(times, [7, 20]), times[2::3])  # two of them were not heard
    assert found is not None and found.steady and len(found.times) == 40
    assert found.bpm == pytest.approx(123.0, rel=1e-3) and found.times[0] == pytest.approx(0.4, abs=0.01)
    assert (found.bars, found.first, found.bars_clear) == (3, 2, 1.0)
    assert Heard(found, None).fields() | {"downbeats": None} == {
        "bpm": pytest.approx(123.0, rel=1e-3), "first_beat": found.times[0], "beats": None, "metre": "3/4", "downbeats": None, "key": None,
    }  # fmt: skip


def test_beats_that_become_faster_are_a_list_and_few_or_broken_off_ones_are_none() -> None:
    times = np.cumsum(np.linspace(0.6, 0.4, 30))
    found = beats_of(times, times[::4])
    assert found is not None and not found.steady and found.times == pytest.approx(times.tolist(), abs=1e-3) and found.bars == 4
    assert beats_of(times[:5], times[:1]) is None
    assert beats_of(np.r_[times, times + 60], times[::4]) is None
    assert not Heard(beats_of(times, np.array([])), None).bars_are_clear


def test_a_checkpoint_hears_what_the_package_does(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from beat_this.inference import Audio2Beats

    audio, given = bursts()[0], []
    monkeypatch.setattr(module, "beats_of", lambda *found: given.append(found))
    tracker.cache_clear()
    tracker(checkpoint)(audio)
    expected = Audio2Beats(str(checkpoint))(audio.numpy(), 22050)
    assert len(expected[0]) and all(np.array_equal(*pair) for pair in zip(given[0], expected, strict=True))


def test_a_manifest_says_by_what_its_beats_were_heard(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    io.write(tmp_path / "music/a.flac", bursts(), 22050)
    for _ in range(2):
        done = annotate(tmp_path / "music", tmp_path / "heard.jsonl", workers=1, beat_this=checkpoint)
    assert done.heard == 0 and json.loads((tmp_path / "heard.jsonl").read_text())["heard"]["of"][0].startswith("beat_this tiny.ckpt ")
    assert annotate(tmp_path / "music", tmp_path / "heard.jsonl", workers=1).heard == 1  # by another ear


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"not weights", "is no checkpoint of beat_this")])
def test_what_is_no_checkpoint_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    pytest.importorskip("beat_this", reason="needs the extra beat-this")
    path = tmp_path / "final0"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        annotate(tmp_path, tmp_path / "heard.jsonl", beat_this=path)
    assert "\n" not in str(caught.value)
