"""The paper's recipes have the published sizes (arXiv 2301.11757); built without memory."""

from pathlib import Path

import pytest
import torch
from torch import nn

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes" / "paper"


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "parameters", "hop"), [("dmae_v2", 185_107_872, 1024), ("dmae_v3", 86_270_688, 512)])
def test_autoencoders(name, parameters, hop):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    with torch.device("meta"):
        codec = recipe.codec.build()
    assert size(codec) == parameters
    assert (codec.hop, codec.latent_channels, codec.sample_rate) == (hop, 32, 48000)


def test_generator_and_the_whole_cascade():
    from transformers import T5Config, T5EncoderModel

    recipe = load_recipe(RECIPES / "generator.yaml")
    t5_base = T5Config(vocab_size=32128, d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12)
    with torch.device("meta"):
        generator = recipe.generator.build()
        text = T5EncoderModel(t5_base)
        codec = load_recipe(RECIPES / "dmae_v2.yaml").codec.build()
    assert size(generator) == 562_557_248
    assert recipe.conditioner.config.name == "google-t5/t5-base"
    assert recipe.generator.config.unet.embedding_features == t5_base.d_model
    assert size(generator) + size(text) + size(codec) == 857_293_664
