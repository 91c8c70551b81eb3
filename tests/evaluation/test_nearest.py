"""A copy is found in the training set, at its place, whatever its level; another piece is not near."""

from __future__ import annotations

import pytest
import torch

from mousai.audio import io
from mousai.data.synth.render import make
from mousai.evaluation.nearest import TrainingSet, nearest, outline, stretches, training_set

RATE = 48000


def piece(index: int, seconds: float = 9.0) -> torch.Tensor:
    return torch.from_numpy(make(0, index, seconds)[0])


@pytest.fixture(scope="module")
def pieces() -> list[torch.Tensor]:
    return [piece(index) for index in range(4)]


def test_a_copy_is_found_where_it_is_from(pieces) -> None:
    training = TrainingSet(("a", "b", "c"), tuple(outline(each) for each in pieces[:3]))
    start = round(2.5 * RATE)
    noise = 0.01 * torch.randn(2, 5 * RATE, generator=torch.Generator().manual_seed(0))
    copy = 0.3 * (pieces[1][:, start : start + 5 * RATE] + pieces[1].std() * noise)
    copied, new = nearest([outline(copy), outline(pieces[3])], training)
    assert copied.track == "b" and copied.seconds == pytest.approx(2.5, abs=0.1)
    assert copied.distance_db < 0.5 * new.distance_db


def test_a_stretch_of_silence_and_one_of_noise() -> None:
    assert stretches(torch.zeros(20, 60)).shape == (60 - 46, 480) and stretches(torch.zeros(20, 46)).shape == (0, 480)
    assert stretches(torch.full((20, 60), 7.0)).abs().max() == 0
    noisy = outline(torch.randn(2, 5 * RATE, generator=torch.Generator().manual_seed(1)))
    [found] = nearest([noisy], TrainingSet(("x",), (noisy,)))
    assert found.distance_db == pytest.approx(0, abs=1e-3) and found.seconds == 0


def test_too_short_a_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 4.1 s"):
        nearest([torch.zeros(20, 30)], TrainingSet((), ()))


def test_a_training_set_is_outlined_once(pieces, tmp_path) -> None:
    lines = []
    for number, audio in enumerate(pieces[:3]):
        io.write(tmp_path / f"{number}.wav", audio, RATE)
        lines.append(f'{{"file": "{number}.wav", "split": "{"valid" if number == 2 else "train"}"}}\n')
    (tmp_path / "manifest.jsonl").write_text("".join(lines))
    said = []
    phase = lambda what: lambda done, total: said.append((done, total))  # noqa: E731
    first = training_set(tmp_path / "manifest.jsonl", phase)
    assert first.names == ("0.wav", "1.wav") and said == [(1, 2), (2, 2)]
    assert torch.allclose(first.outlines[1], outline(pieces[1]), atol=0.1)  # kept in half precision
    again = training_set(tmp_path / "manifest.jsonl", phase)
    assert len(said) == 2 and torch.equal(again.outlines[0], first.outlines[0])
    [kept] = tmp_path.glob("stretches-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.raises(ValueError, match="is damaged"):
        training_set(tmp_path / "manifest.jsonl")
