"""Weights in the key scheme of the released archinet checkpoints, brought into ours.

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

from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.waveform import WaveformConfig
from mousai.networks.unet1d import UNet1dConfig

State = dict[str, Tensor]
COPIES = ("net.", "diffusion.net.", "sampler.net.")


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


def dmae_state(state: State, config: WaveformConfig) -> State:
    """The state dict of `WaveformDMAE(config)` from a `DiffusionAE`'s; its latents stay as they are, not yet standardised."""
    found = parts(state)
    if "encoder" not in found:
        raise ValueError("no encoder in the checkpoint: expected keys beginning with 'encoder.' (after 'model.')")
    filters, core = split_transform(found["net"])
    one_each = (config.encoder.out_channels, 1)
    return {
        **{f"encoder.{name}": value for name, value in encoder_state(found["encoder"], config.encoder).items()},
        **{f"transform.{name}": value for name, value in filters.items()},
        **{f"unet.{name}": value for name, value in unet_state(core, config.unet).items()},
        "latent_mean": torch.zeros(one_each),
        "latent_std": torch.ones(one_each),
    }


def unet_state(net: State, config: UNet1dConfig) -> State:
    """The state dict of `UNet1d(config)` from a `UNetV0` (time conditioning, no learned transform around it).

    A guidance or text plug-in between the time conditioning and the core is passed over.
    """
    core = next((prefix for prefix in ("blocks.2.", "blocks.2.blocks.1.", "blocks.2.blocks.1.blocks.1.")
                 if f"{prefix}net.block.blocks.0.block.weight" in net), None)  # fmt: skip
    if core is None:
        raise ValueError("not a UNetV0 with time conditioning: expected the key 'blocks.2.net.block.blocks.0.block.weight'")
    names = dict(unet_names(config, f"{core}net."))
    missing = [theirs for theirs in names.values() if theirs not in net]
    if missing:
        raise ValueError(f"the checkpoint lacks {len(missing)} keys of this config, the first is {missing[0]!r}")
    known = set(names.values()) | {"blocks.1.blocks.1.0.weight", "blocks.1.blocks.1.0.bias"}  # the tied layer again
    extra = [name for name in net if name.startswith((core, "blocks.0.", "blocks.1.")) and name not in known]
    if extra:
        raise ValueError(f"the checkpoint has {len(extra)} keys that this config does not, the first is {extra[0]!r}")
    state = {ours: net[theirs] for ours, theirs in names.items()}
    return {ours: value.squeeze(-1) if ours.endswith("inject.weight") else value for ours, value in state.items()}


def null_embedding(net: State) -> Tensor:
    """The learned embedding `(n, e)` of "no condition" of a `UNetV0` built with classifier-free guidance."""
    for name in ("blocks.2.blocks.0.blocks.0.weight", "blocks.2.blocks.1.blocks.0.blocks.0.weight"):
        if name in net:
            return net[name]
    raise ValueError("no learned null embedding in the checkpoint: it was not made for classifier-free guidance")


def unet_names(config: UNet1dConfig, root: str) -> Iterator[tuple[str, str]]:
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


def encoder_state(encoder: State, config: EncoderConfig) -> State:
    """The state dict of `Encoder(config)` from an `ME1d` or a `MelE1d`; the windows and mel filters are made anew."""
    for name, length in (("stft.window", config.n_fft), ("mel.to_spectrogram.window", config.n_fft),
                         ("mel.to_mel_scale.fb", config.n_fft // 2 + 1)):  # fmt: skip
        if name in encoder and (len(encoder[name]) != length or config.is_mel != name.startswith("mel.")):
            raise ValueError(f"the checkpoint's {name} has length {len(encoder[name])}, which does not fit {config}")
    return {name: value for name, value in encoder.items() if not name.startswith(("stft.", "mel."))}


def split_transform(net: State) -> tuple[State, State]:
    """The learned transform's filters (`analysis_filters`, `synthesis_filters`) and the U-Net inside it."""
    try:
        filters = {
            "analysis_filters.weight": net["blocks.0.weight"],
            "synthesis_filters.weight": net["blocks.1.weight"],
        }
    except KeyError as error:
        raise ValueError(f"no learned transform around the checkpoint's U-Net: the key {error} is missing") from error
    return filters, {name.removeprefix("blocks.2."): value for name, value in net.items() if name.startswith("blocks.2.")}
