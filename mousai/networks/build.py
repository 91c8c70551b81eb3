"""Which network is diffused with, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mousai.networks.network import Network
from mousai.networks.unet1d import UNet1d, UNet1dConfig


@dataclass(frozen=True)
class NetworkConfig:
    type: Literal["unet1d", "unetv0"] = "unet1d"  # ours, or audio-diffusion-pytorch's own of the same shape


def build_network(network: NetworkConfig, unet: UNet1dConfig) -> Network:
    """The network that `network` names, of the shape `unet`."""
    if network.type == "unet1d":
        return UNet1d(unet)
    from mousai.networks.unetv0 import UNetV0

    return UNetV0(unet)
