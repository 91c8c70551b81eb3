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
GRID = {
    "type": "grid_prior", "latent": 16, "told": 8, "cells": 24, "dit": {"in_channels": 17, "features": 16, "layers": 1, "heads": 2}, "styles": [*STYLES, "lieder"],
    "sample": {"steps": 3, "resamples": 1},
}  # fmt: skip


@pytest.fixture(scope="session")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 scores and their manifest."""
    folder = tmp_path_factory.mktemp("practice")
    return synthesise(folder, 20, seed=1, seconds=20.0, workers=1, format="mid").manifest


def composer_folder(folder: Path, seed: int = 0) -> Path:
    """The model folder of a composer that has learned nothing."""
    parts = {kind: part_from(kind, part) for kind, part in (("phrases", VAE), ("prior", PRIOR), ("grid", GRID))}
    state = {f"{kind}.{name}": value for kind, part in parts.items() for name, value in part.build(seed).state_dict().items()}
    settings = {kind: part.to_dict() for kind, part in parts.items()}
    checkpoint.save_model(folder, settings, state, "untrained")
    checkpoint.save_model(folder, settings | {"trained_for": phrases_fingerprint(folder)}, state, "untrained")
    return folder


@pytest.fixture(scope="session")
def tiny() -> tuple[dict, dict, dict]:
    """A phrase VAE and the two priors as recipes have them."""
    return VAE, PRIOR, GRID


@pytest.fixture(scope="session")
def make_composer() -> Callable[[Path, int], Path]:
    return composer_folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return composer_folder(tmp_path_factory.mktemp("composer") / "tiny")
