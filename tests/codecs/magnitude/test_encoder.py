"""The learned encoder on top of the linear one: where it begins, what it may do, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mousai.codecs.magnitude.codec import MagnitudeCodec
from mousai.codecs.magnitude.encoder import LARGEST_STEP, EncoderConfig


@pytest.fixture
def learned(small, notes) -> MagnitudeCodec:
    torch.manual_seed(0)
    codec = MagnitudeCodec(replace(small, encoder=EncoderConfig(channels=16, blocks=1)))
    codec.initialise(notes(8).split(2))
    return codec.eval()


def test_it_begins_as_the_linear_one(learned, fitted, notes):
    assert torch.equal(learned.encode(notes(2)), fitted.encode(notes(2)))
    assert torch.equal(learned.latent_strengths, fitted.latent_strengths)


def test_it_learns_bounded_steps_and_its_latents_stay_at_unit_variance(learned, notes):
    learned.train()
    weights = [*learned.encoder.parameters(), *learned.decoder.parameters()]
    optimizer, generator = torch.optim.AdamW(weights, 1e-2), torch.Generator().manual_seed(0)
    audio = notes(8)[..., :4096]
    for _ in range(50):
        loss, _ = learned.loss(audio, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned.eval()
    features = learned.features(notes(8))
    latents, linear = learned.latents(features), learned.components.encode(features)
    step = learned.encoder.undone(latents) - linear
    assert 0.02 < step.abs().max() <= LARGEST_STEP + 1e-4
    assert latents.mean((0, 2)).abs().max() < 0.5 and 0.5 < latents.std((0, 2)).min() and latents.std((0, 2)).max() < 1.5
    assert torch.allclose(learned.linear(latents), learned.components.decode(linear + step), atol=1e-4)


def test_it_looks_at_one_latent_frame(learned, notes):
    torch.nn.init.normal_(learned.encoder.step.weight)
    features = learned.features(notes(1))
    block = learned.config.components.block
    whole = learned.latents(features)
    assert torch.allclose(learned.latents(features[..., 2 * block : 5 * block]), whole[..., 2:5], atol=1e-5)


def test_configs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected channels >= 1"):
        EncoderConfig(channels=0)
