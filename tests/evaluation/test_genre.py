"""The style classifier learns the practice set, stays right on damaged sound, and survives saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mousai.data.synth.render import make
from mousai.data.synth.styles import STYLES
from mousai.evaluation.features import NUM_STATISTICS, decibels, mel_power, statistics
from mousai.evaluation.genre import (
    NOISE,
    LabelledClips,
    corrupt,
    load_classifier,
    read_clips,
    save_classifier,
    train_classifier,
)
from mousai.evaluation.metrics import long_term_noise
from mousai.jobs.synth import synthesise

SECONDS = 3.0


LABELS = tuple(STYLES)[:8]  # half of them: fewer clips teach them


def clips_of(rounds: range) -> tuple[LabelledClips, torch.Tensor]:
    """A clip of each label a round."""
    made = [make(11, r * len(STYLES) + i, SECONDS) for r in rounds for i in range(len(LABELS))]
    audio = torch.from_numpy(np.stack([clip for clip, _ in made]))
    targets = torch.tensor([LABELS.index(metadata["style"]) for _, metadata in made])
    return LabelledClips(mel_power(audio), targets, LABELS), audio


@torch.no_grad()
def accuracy(model, clips: LabelledClips, corruption: torch.Generator | None = None) -> float:
    """Share of clips named rightly, clean or corrupted with a generator's draws."""
    log_power = decibels(clips.power) if corruption is None else corrupt(clips.power, corruption)
    return (model(statistics(log_power)).argmax(-1) == clips.targets).float().mean().item()


@pytest.fixture(scope="module")
def trained():
    return train_classifier(clips_of(range(7))[0], steps=150, batch=32)


@pytest.fixture(scope="module")
def unseen():
    return clips_of(range(20, 22))


def test_unseen_clips_are_named_rightly(trained, unseen) -> None:
    clips, audio = unseen
    assert accuracy(trained, clips) >= 0.75
    generator = torch.Generator().manual_seed(0)
    assert np.mean([accuracy(trained, clips, generator) for _ in range(4)]) >= 0.7
    named = trained.name(audio)
    assert np.mean([name == clips.labels[target] for name, target in zip(named, clips.targets)]) >= 0.75


def test_steady_noise_is_not_named_after_its_spectrum(trained, unseen) -> None:
    generator = torch.Generator().manual_seed(0)
    colored = torch.stack([long_term_noise(audio, generator) for audio in unseen[1]])
    assert np.mean([name == NOISE for name in trained.name(colored)]) >= 0.8
    assert NOISE in trained.name(torch.randn(1, 2, 96000, generator=generator))


def test_the_level_of_a_clip_does_not_matter(trained, unseen) -> None:
    _, audio = unseen
    torch.testing.assert_close(trained.probabilities(audio[:3]), trained.probabilities(0.03 * audio[:3]), atol=1e-4, rtol=1e-3)


def test_a_saved_classifier_says_the_same(trained, unseen, tmp_path) -> None:
    save_classifier(trained, tmp_path / "genre.safetensors")
    loaded = load_classifier(tmp_path / "genre.safetensors")
    assert loaded.config == trained.config
    assert torch.equal(loaded.probabilities(unseen[1][:2]), trained.probabilities(unseen[1][:2]))
    assert [path.name for path in tmp_path.iterdir()] == ["genre.safetensors"]


def test_what_is_no_classifier_is_refused(tmp_path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match="no genre classifier"):
        load_classifier(tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not a genre classifier"):
        load_classifier(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="not a genre classifier, or cut"):
        load_classifier(tmp_path / "y.safetensors")


def test_training_repeats_itself_and_leaves_the_global_stream_alone() -> None:
    clips, _ = clips_of(range(1))
    before = torch.random.get_rng_state()
    one, two = train_classifier(clips, steps=3, batch=8), train_classifier(clips, steps=3, batch=8)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))


def test_clips_are_read_from_a_manifest(tmp_path) -> None:
    manifest = synthesise(tmp_path, len(STYLES) + 1, seconds=1.5, workers=1, format="flac").manifest
    clips = read_clips(manifest, "valid", seconds=1.0)
    assert clips.labels == tuple(sorted(STYLES)) and clips.labels[clips.targets[0]] == "piano"
    expected = mel_power(torch.from_numpy(make(0, len(STYLES), 1.5)[0])[None, :, :48000])
    torch.testing.assert_close(decibels(clips.power), decibels(expected), atol=0.5, rtol=0)  # 16-bit rounding
    with pytest.raises(ValueError, match="at least 9 s"):
        read_clips(manifest, "train", seconds=9)
    with pytest.raises(ValueError, match="no field 'artist'"):
        read_clips(manifest, "train", label="artist")
    with pytest.raises(ValueError, match="no clip with split 'test'"):
        read_clips(manifest, "test")


def test_statistics_see_rhythm_and_any_length() -> None:
    frames = torch.arange(600)
    hertz = 48000 / 512 * 8 / 256  # the eighth modulation bin, 2.9 Hz
    wave = 10 * torch.sin(2 * torch.pi * hertz * frames / (48000 / 512))
    log_power = (wave - 30).expand(1, 80, -1)
    features = statistics(log_power)
    assert features.shape == (1, NUM_STATISTICS)
    rhythm = features[0, 400:].unflatten(0, (10, 24))
    assert (rhythm.argmax(-1) == 7).all()
    assert statistics(log_power[..., :40]).isfinite().all()
    torch.testing.assert_close(features[0, :80], torch.full((80,), -30.0), atol=0.5, rtol=0)


def test_corruption_differs_between_clips_and_follows_its_generator(unseen) -> None:
    power = unseen[0].power[:1].repeat(3, 1, 1)
    one, two = corrupt(power, torch.Generator().manual_seed(1)), corrupt(power, torch.Generator().manual_seed(1))
    assert torch.equal(one, two) and (one[0] - one[1]).abs().mean() > 1 and one.isfinite().all()


def test_too_short_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2048 samples"):
        mel_power(torch.zeros(1, 2, 100))
