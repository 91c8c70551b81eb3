"""Weights of autoencoders in the key scheme of the released archinet checkpoints (networks/archinet.py), to and from ours."""

from __future__ import annotations

import torch

from mousai.audio.spectral import mel_filterbank
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.waveform import WaveformConfig
from mousai.networks.archinet import State, network_state, original_state, parts, three_times


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
        **{f"unet.{name}": value for name, value in network_state(core, config.network, config.unet).items()},
        "latent_mean": torch.zeros(one_each),
        "latent_std": torch.ones(one_each),
    }


def diffusion_ae_state(state: State, config: WaveformConfig) -> State:
    """The state dict of audio-diffusion-pytorch's `DiffusionAE` from that of `WaveformDMAE(config)`.

    Its latents are not standardised. ValueError for what audio-encoders-pytorch has nothing like.
    """
    encoder = config.encoder
    if encoder.linear != "none" or encoder.spectrum == "log_magnitude" or config.stereo != "left_right":
        raise ValueError(f"the original has no encoder with linear {encoder.linear}, spectrum {encoder.spectrum} and stereo {config.stereo}")
    part = {prefix: {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)} for prefix in ("encoder.", "unet.")}
    filters = (state["transform.analysis_filters.weight"], state["transform.synthesis_filters.weight"])
    net = {f"blocks.{index}.weight": value for index, value in enumerate(filters)}
    net |= {f"blocks.2.{name}": value for name, value in original_state(part["unet."], config.network, config.unet).items()}
    made = {f"encoder.{name}": value for name, value in (spectrum_buffers(encoder) | part["encoder."]).items()}
    return three_times(net) | made


def spectrum_buffers(config: EncoderConfig) -> State:
    """The windows and mel filters that the originals' encoders keep among their weights."""
    window = torch.hann_window(config.n_fft)
    if not config.is_mel:
        return {"stft.window": window}
    filters = mel_filterbank(config.sample_rate, config.n_fft, config.mel_bands).T.contiguous()
    return {"mel.to_spectrogram.window": window, "mel.to_mel_scale.fb": filters}


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
