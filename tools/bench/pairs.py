"""The same network twice, audio-diffusion-pytorch's and ours, on one set of weights (shared storage)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import mousai  # noqa: F401  (makes torchaudio, which the peer imports, loadable)
from mousai.codecs.dmae.archinet import split_transform
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.networks.archinet import null_embedding, unet_state
from mousai.networks.transforms import LearnedTransform, TransformConfig
from mousai.networks.unet1d import UNet1d, UNet1dConfig
from mousai.networks.unetv0 import arguments

DECODERS = {
    "paper": UNet1dConfig(  # DMAE v2: arXiv 2301.11757, 64 times compression
        in_channels=256,
        channels=(256, 512, 512, 512, 1024, 1024, 1024),
        factors=(1, 2, 2, 2, 2, 2, 2),
        items=(1, 2, 2, 2, 2, 2, 2),
        inject_channels=(0, 0, 0, 0, 32, 0, 0),
    ),
    "small": UNet1dConfig(
        in_channels=64,
        channels=(64, 64, 128, 128, 128),
        factors=(1, 2, 2, 2, 2),
        items=(1, 1, 1, 1, 1),
        inject_channels=(0, 0, 0, 0, 32),
        modulation_features=256,
    ),
}
TRANSFORMS = {
    "paper": TransformConfig(bands=128, window_length=64, stride=64),
    "small": TransformConfig(bands=32, window_length=64, stride=64),
}
ENCODERS = {
    "paper": EncoderConfig(),
    "small": EncoderConfig(channels=64, num_blocks=(1, 2)),
}
GENERATORS = {
    "paper": UNet1dConfig(
        in_channels=32,
        channels=(128, 256, 512, 512, 1024, 1024),
        factors=(1, 2, 2, 2, 2, 2),
        items=(2, 2, 2, 4, 8, 8),
        attentions=(0, 0, 1, 1, 1, 1),
        cross_attentions=(1, 1, 1, 1, 1, 1),
        attention_heads=12,
        embedding_features=768,
    ),
    "small": UNet1dConfig(
        in_channels=32,
        channels=(32, 64, 128),
        factors=(1, 2, 2),
        items=(1, 1, 2),
        attentions=(0, 1, 1),
        cross_attentions=(1, 1, 1),
        attention_heads=2,
        embedding_features=64,
        modulation_features=256,
    ),
}
TOKENS = 64  # condition tokens, as in the paper
INJECT_DEPTH = 4
HOP = 1024  # samples a latent frame, in both decoders
SAMPLE_RATE = 48000


@dataclass
class Pair:
    """The peer's whole network, and our U-Net with what stands around it."""

    peer: nn.Module
    unet: UNet1d
    transform: LearnedTransform | None = None
    null: Tensor | None = None


def peer_network(config: UNet1dConfig, transform: TransformConfig | None = None) -> nn.Module:
    """`UNetV0` of `config`, in the learned transform if there is one, else with classifier-free guidance."""
    from audio_diffusion_pytorch import LTPlugin, UNetV0

    shape = dict(dim=1, **arguments(config))
    if transform is None:
        return UNetV0(in_channels=config.in_channels, use_embedding_cfg=True, embedding_max_length=TOKENS, **shape)
    wrap = LTPlugin(UNetV0, transform.bands, transform.window_length, transform.stride)
    return wrap(in_channels=config.in_channels // transform.bands, **shape)


def build(part: str, preset: str, device: torch.device, dtype: torch.dtype, checkpointing: bool = False) -> Pair:
    """The "decoder" or the "generator" of a preset; below float32 the peer keeps float32 weights and runs in autocast."""
    torch.manual_seed(0)
    config = (DECODERS if part == "decoder" else GENERATORS)[preset]
    transform = TRANSFORMS[preset] if part == "decoder" else None
    with device:
        peer = peer_network(config, transform).eval()
    filters, core = split_transform(peer.state_dict()) if transform else ({}, peer.state_dict())
    with torch.device("meta"):
        unet = UNet1d(replace(config, checkpointing=checkpointing)).eval()
    unet.load_state_dict(unet_state(core, config), assign=True)
    pair = Pair(peer, unet if dtype == torch.float32 else unet.to(dtype))
    if transform:
        pair.transform = LearnedTransform(transform, channels=config.in_channels // transform.bands).to(device)
        pair.transform.load_state_dict(filters, assign=True)
        pair.transform.to(dtype)
    else:
        pair.null = null_embedding(peer.state_dict())
    return pair


def condition(config: UNet1dConfig, batch: int, device: torch.device) -> Tensor:
    """Condition tokens `(batch, TOKENS, e)`, none of them padding: the peer attends to padding."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, TOKENS, config.embedding_features, generator=generator).to(device)


def noise(*shape: int, device: torch.device, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)
