"""Weights of U-Nets in the key scheme of the released archinet checkpoints, to and from ours.

The scheme is that of audio-diffusion-pytorch and a-unet: positions in nested lists of blocks, the U-Net three times
over the same storage (`net.`, `diffusion.net.`, `sampler.net.`), often with `model.` in front. Any one copy will do.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mousai.networks.build import NetworkConfig
from mousai.networks.unet1d import UNet1dConfig

State = dict[str, Tensor]
COPIES = ("net.", "diffusion.net.", "sampler.net.")
# The two layers of the time MLP are one and the same.
TIED = {f"blocks.1.blocks.1.0.{name}": f"blocks.1.blocks.0.0.{name}" for name in ("weight", "bias")}


def read(path: str | Path) -> State:
    """The tensors of a checkpoint file, `.safetensors` or a `torch.save` file without code in it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint file, nothing there: {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file ({error}); fetch it again") from error
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read as plain tensors ({reason}); expected a file of torch.save") from error
    data = data.get("state_dict", data) if isinstance(data, dict) else data
    if not isinstance(data, dict) or not any(isinstance(value, Tensor) for value in data.values()):
        raise ValueError(f"{path} holds no state dict: expected names and tensors")
    return {name: value for name, value in data.items() if isinstance(value, Tensor)}


def parts(state: State) -> dict[str, State]:
    """The checkpoint's U-Net as `net` (one copy of it) and its `encoder`, without their prefixes."""
    state = {name.removeprefix("model."): value for name, value in state.items()}
    found = {}
    for copy in COPIES:
        net = {name.removeprefix(copy): value for name, value in state.items() if name.startswith(copy)}
        if net:
            found["net"] = net
            break
    else:
        raise ValueError(f"no U-Net in the checkpoint: expected keys beginning with one of {COPIES} (after 'model.')")
    encoder = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    return found | ({"encoder": encoder} if encoder else {})


def three_times(net: State) -> State:
    """A network's weights as a `DiffusionModel` keeps them: once for each of `COPIES`, over the same storage."""
    return {f"{copy}{name}": value for copy in COPIES for name, value in net.items()}


def plain_unet(net: State) -> State:
    """A `UNetV0` without a guidance or text plug-in between its time conditioning and its core."""
    core = next((prefix for prefix in ("blocks.2.", "blocks.2.blocks.1.", "blocks.2.blocks.1.blocks.1.")
                 if f"{prefix}net.block.blocks.0.block.weight" in net), None)  # fmt: skip
    if core is None:
        raise ValueError("not a UNetV0 with time conditioning: expected the key 'blocks.2.net.block.blocks.0.block.weight'")
    time = {name: value for name, value in net.items() if name.startswith(("blocks.0.", "blocks.1."))}
    return time | {f"blocks.2.{name.removeprefix(core)}": value for name, value in net.items() if name.startswith(core)}


def null_embedding(net: State) -> Tensor:
    """The learned embedding `(n, e)` of "no condition" of a `UNetV0` built with classifier-free guidance."""
    for name in ("blocks.2.blocks.0.blocks.0.weight", "blocks.2.blocks.1.blocks.0.blocks.0.weight"):
        if name in net:
            return net[name]
    raise ValueError("no learned null embedding in the checkpoint: it was not made for classifier-free guidance")


def with_null_embedding(net: State, null: Tensor) -> State:
    """A plain `UNetV0` with the guidance plug-in around its core; the opposite of `plain_unet` and `null_embedding`."""
    core = {name.replace("blocks.2.", "blocks.2.blocks.1.", 1): value for name, value in net.items() if name.startswith("blocks.2.")}
    time = {name: value for name, value in net.items() if not name.startswith("blocks.2.")}
    return time | {"blocks.2.blocks.0.blocks.0.weight": null} | core


def unet_state(net: State, config: UNet1dConfig) -> State:
    """The state dict of `UNet1d(config)` from a `UNetV0`, with or without plug-ins (no learned transform around it)."""
    net = plain_unet(net)
    names = dict(unet_names(config))
    missing = [theirs for theirs in names.values() if theirs not in net]
    if missing:
        raise ValueError(f"the checkpoint lacks {len(missing)} keys of this config, the first is {missing[0]!r}")
    known = {*names.values(), *TIED}
    extra = [name for name in net if name not in known]
    if extra:
        raise ValueError(f"the checkpoint has {len(extra)} keys that this config does not, the first is {extra[0]!r}")
    state = {ours: net[theirs] for ours, theirs in names.items()}
    return {ours: value.squeeze(-1) if ours.endswith("inject.weight") else value for ours, value in state.items()}


def network_state(net: State, network: NetworkConfig, unet: UNet1dConfig) -> State:
    """The state dict of `build_network(network, unet)` from a `UNetV0`'s."""
    return {f"net.{name}": value for name, value in plain_unet(net).items()} if network.type == "unetv0" else unet_state(net, unet)


def original_state(state: State, network: NetworkConfig, unet: UNet1dConfig) -> State:
    """The state dict of a plain `UNetV0` from that of `build_network(network, unet)`."""
    return {name.removeprefix("net."): value for name, value in state.items()} if network.type == "unetv0" else unetv0_state(state, unet)


def unetv0_state(state: State, config: UNet1dConfig) -> State:
    """The state dict of a plain `UNetV0` from that of `UNet1d(config)`."""
    net = {theirs: state[ours][..., None] if ours.endswith("inject.weight") else state[ours] for ours, theirs in unet_names(config)}
    return net | {again: net[first] for again, first in TIED.items()}


def unet_names(config: UNet1dConfig, root: str = "blocks.2.net.") -> Iterator[tuple[str, str]]:
    """Our parameters' names and theirs; `root` is the prefix of their outermost block."""
    yield "time.weights", "blocks.0.weights"
    yield from affine("time.to_out", "blocks.0.to_out")
    yield from affine("time.mlp", "blocks.1.blocks.0.0")
    for depth in range(len(config.channels)):
        in_channels = config.channels[depth - 1] if depth else config.in_channels
        out_channels = in_channels if depth else (config.out_channels or config.in_channels)
        ours, inner = f"levels.{depth}", int(depth + 1 < len(config.channels))
        layers = item_layers(config, depth)
        down = 1 + len(layers) * config.items[depth]  # where their inner block sits
        if in_channels != out_channels:
            yield from affine(f"{ours}.skip_adapter", f"{root}skip_adapter.block")
        yield from affine(f"{ours}.down", f"{root}block.blocks.0.block")
        for side, first in (("down", 1), ("up", down + inner)):
            for item in range(config.items[depth]):
                for offset, layer in enumerate(layers):
                    position = first + item * len(layers) + offset
                    yield from layer_names(f"{ours}.items_{side}.{item}", f"{root}block.blocks.{position}", layer)
        last = down + inner + len(layers) * config.items[depth]
        yield from affine(f"{ours}.up", f"{root}block.blocks.{last}.block.1")
        yield from affine(f"{ours}.skip", f"{root}skip.blocks.0.1")
        root = f"{root}block.blocks.{down}."


def item_layers(config: UNet1dConfig, depth: int) -> list[str]:
    """One item's layers in their list of blocks; attentions carry their number."""
    return (
        ["resnet", "modulation"]
        + ["inject"] * (config.at("inject_channels", depth) > 0)
        + [f"attentions.{i}" for i in range(config.at("attentions", depth))]
        + [f"cross_attentions.{i}" for i in range(config.at("cross_attentions", depth))]
    )


def layer_names(ours: str, theirs: str, layer: str) -> Iterator[tuple[str, str]]:
    if layer == "resnet":
        for index in range(2):
            yield from affine(f"{ours}.norm{index + 1}", f"{theirs}.block.blocks.0.blocks.{index}.0")
            yield from affine(f"{ours}.conv{index + 1}", f"{theirs}.block.blocks.0.blocks.{index}.2")
    elif layer == "modulation":
        yield from affine(f"{ours}.modulation", f"{theirs}.blocks.0.block.blocks.0.1")
    elif layer == "inject":
        yield from affine(f"{ours}.inject", f"{theirs}.block.blocks.0")
    else:
        theirs = f"{theirs}.blocks.0.block"
        yield from affine(f"{ours}.{layer}.norm", f"{theirs}.norm")
        yield from affine(f"{ours}.{layer}.norm_context", f"{theirs}.norm_context")
        yield f"{ours}.{layer}.to_q.weight", f"{theirs}.to_q.weight"
        yield f"{ours}.{layer}.to_kv.weight", f"{theirs}.to_kv.weight"
        yield f"{ours}.{layer}.to_out.weight", f"{theirs}.attention.blocks.0.weight"


def affine(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{theirs}.weight"
    yield f"{ours}.bias", f"{theirs}.bias"
