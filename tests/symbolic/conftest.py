"""Tiny composers and a few scores of the practice set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mousai import checkpoint
from mousai.data.synth.styles import STYLES
from mousai.jobs.synth import synthesise
from mousai.recipe import part_from, phrases_fingerprint

VAE = {"type": "phrase_vae", "features": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "latent": 16}
PRIOR = {"type": "phrase_prior", "latent": 16, "head_features": 32, "head_layers": 1, "mamba": {"features": 32, "layers": 1, "state": 4, "head_features": 16}, "styles": [*STYLES, "lieder"]}


@pytest.fixture(scope="session")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 scores and their manifest."""
    folder = tmp_path_factory.mktemp("practice")
    return synthesise(folder, 20, seed=1, seconds=20.0, workers=1, format="mid").manifest


def composer_folder(folder: Path, seed: int = 0) -> Path:
    """The model folder of a composer that has learned nothing."""
    phrases, prior = part_from("phrases", VAE), part_from("prior", PRIOR)
    made = phrases.build(seed), prior.build(seed)
    state = {f"{kind}.{name}": value for kind, module in zip(("phrases", "prior"), made) for name, value in module.state_dict().items()}
    settings = {"phrases": phrases.to_dict(), "prior": prior.to_dict()}
    checkpoint.save_model(folder, settings, state, "untrained")
    checkpoint.save_model(folder, settings | {"trained_for": phrases_fingerprint(folder)}, state, "untrained")
    return folder


@pytest.fixture(scope="session")
def tiny() -> tuple[dict, dict]:
    """A phrase VAE and a prior as recipes have them."""
    return VAE, PRIOR


@pytest.fixture(scope="session")
def make_composer() -> Callable[[Path, int], Path]:
    return composer_folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return composer_folder(tmp_path_factory.mktemp("composer") / "tiny")
