"""What is compared: for each case a function of the peer and one of ours, that give the same tensor."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from pairs import ENCODERS, HOP, INJECT_DEPTH, Pair, build, condition, noise
from torch import Tensor
from torch.nn import functional as F

from mousai.codecs.dmae.encoders import Encoder
from mousai.diffusion.guidance import for_sampler, guided
from mousai.diffusion.process import V
from mousai.diffusion.samplers import Predict, ddim
from mousai.diffusion.schedules import schedule
from mousai.networks.step_cache import StepCache
from mousai.types import SamplingSettings

GUIDANCE = 3.0
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    preset: str
    device: torch.device
    dtype: torch.dtype
    batch: int = 1
    steps: int = 4  # of each of the two samplers, in a whole generation
    compile: bool = False
    checkpointing: bool = False  # ours, in the training step

    def autocast(self) -> torch.autocast | nullcontext:
        """Below float32 the peer's times need autocast."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)


@dataclass(frozen=True)
class Case:
    peer: Run
    ours: Run


def prepared(part: str, setting: Setting, dtype: torch.dtype | None = None) -> Pair:
    pair = build(part, setting.preset, setting.device, dtype or setting.dtype, setting.checkpointing)
    if setting.compile:
        pair.unet.compile(dynamic=False)
    return pair


def decode_step(setting: Setting, frames: int) -> Case:
    """One step of the decoder: v of `frames` latent frames' worth of stereo audio, with its latents injected."""
    pair = prepared("decoder", setting)
    x, latents = decoder_inputs(setting, frames)
    t = torch.tensor(0.7)
    cache = no_grad(lambda: pair.unet.cache(t[None], inject={INJECT_DEPTH: latents}))()

    def peer() -> Tensor:
        with setting.autocast():
            return pair.peer(x, time=t.repeat(setting.batch).to(x.device), channels=[None] * INJECT_DEPTH + [latents])

    return Case(no_grad(peer), no_grad(lambda: our_decoder(pair, setting, x, t, cache=cache)))


def our_decoder(pair: Pair, setting: Setting, x: Tensor, t: Tensor, **condition: object) -> Tensor:
    frames = pair.transform.analysis(x.to(setting.dtype))
    return pair.transform.synthesis(pair.unet(frames, t, **condition)).to(x.dtype)


def guided_step(setting: Setting, frames: int) -> Case:
    """One guided step of the generator at `frames` latent frames: the peer's two passes, our one of twice the batch."""
    pair = prepared("generator", setting)
    x, tokens, t = *generator_inputs(pair, setting, frames), torch.tensor(0.7)
    both = torch.cat([tokens, pair.null.expand_as(tokens)])
    cache = no_grad(lambda: pair.unet.cache(t[None], both))()
    ours = guided_predict(pair, cache, len(x))

    def peer() -> Tensor:
        with setting.autocast():
            return pair.peer(x, time=t.repeat(len(x)).to(x.device), embedding=tokens, embedding_scale=GUIDANCE)

    return Case(no_grad(peer), no_grad(lambda: ours(x, t)))


def guided_predict(pair: Pair, cache: StepCache, b: int) -> Predict:
    """Ours under guidance, as a generator has it: the cache is that of b conditions, then of what stands against them."""
    rows = guided(V, lambda x, t, which, first: pair.unet(x, t, cache=cache[which]), SamplingSettings(guidance=GUIDANCE))
    return for_sampler(rows, torch.arange(b), torch.arange(b, 2 * b))


def generation(setting: Setting, frames: int) -> Case:
    """Latents from noise, then audio from noise, `steps` each, with what ours prepares included; text is given."""
    from audio_diffusion_pytorch import VSampler

    generator, decoder = prepared("generator", setting), prepared("decoder", setting)
    x, tokens = generator_inputs(generator, setting, frames)
    audio_noise, _ = decoder_inputs(setting, frames)
    first, second = VSampler(generator.peer), VSampler(decoder.peer)

    def peer() -> Tensor:
        with setting.autocast():
            latents = first(x, num_steps=setting.steps, embedding=tokens, embedding_scale=GUIDANCE)
            return second(audio_noise, num_steps=setting.steps, channels=[None] * INJECT_DEPTH + [latents])

    def ours() -> Tensor:
        times = schedule("linear", setting.steps)
        both = torch.cat([tokens, generator.null.expand_as(tokens)])
        cache = generator.unet.cache(times[:-1], both)
        latents = ddim(V, guided_predict(generator, cache, len(x)), x, times)
        cache = decoder.unet.cache(times[:-1], inject={INJECT_DEPTH: latents})
        return ddim(V, lambda x, t: our_decoder(decoder, setting, x, t, cache=cache), audio_noise, times)

    return Case(no_grad(peer), no_grad(ours))


def training_step(setting: Setting, frames: int) -> Case:
    """Forward and backward of the generator's objective; gives the loss. The optimizer is the same for both."""
    pair = prepared("generator", setting, torch.float32)
    pair.unet.train(), pair.peer.train()
    data, tokens = generator_inputs(pair, setting, frames)
    fresh = noise(*data.shape, device=setting.device, seed=5)
    t = torch.linspace(0.1, 0.9, setting.batch).to(setting.device)
    x, target = V.add_noise(data, fresh, t), V.target(data, fresh, t)

    def peer() -> Tensor:
        with setting.autocast():
            predicted = pair.peer(x, time=t, embedding=tokens)
        return backward(pair.peer, F.mse_loss(predicted.float(), target))

    def ours() -> Tensor:
        with setting.autocast():
            predicted = pair.unet(x, t, tokens=tokens)
        return backward(pair.unet, F.mse_loss(predicted.float(), target))

    return Case(peer, ours)


def cached_training(setting: Setting, frames: int) -> Case:
    """Our training step on audio that is encoded on the fly (in the place of the peer) and on cached latents."""
    torch.manual_seed(0)
    with setting.device:
        encoder = Encoder(ENCODERS[setting.preset]).eval()
    unet = prepared("generator", setting, torch.float32).unet.train()
    config = unet.config
    audio = 0.1 * noise(setting.batch, 2, frames * HOP, device=setting.device)
    tokens = condition(config, setting.batch, setting.device)
    t = torch.linspace(0.1, 0.9, setting.batch).to(setting.device)
    fresh = noise(setting.batch, config.in_channels, frames, device=setting.device, seed=5)

    def encoded() -> Tensor:
        with torch.no_grad(), setting.autocast():
            return encoder(audio)

    def step(latents: Tensor) -> Tensor:
        with setting.autocast():
            predicted = unet(V.add_noise(latents, fresh, t), t, tokens=tokens)
        return backward(unet, F.mse_loss(predicted.float(), V.target(latents, fresh, t)))

    cached = encoded()
    return Case(lambda: step(encoded()), lambda: step(cached))


def attention(setting: Setting, frames: int) -> Case:
    """One self-attention over `frames` frames: 512 channels, heads of 64 features, as at the paper's depth 2."""
    from a_unet.blocks import Attention

    from mousai.networks.attention import SelfAttention

    heads = 12 if setting.preset == "paper" else 2
    needed, free = 2 * 4 * setting.batch * heads * frames**2, available_bytes(setting.device)
    if needed > 0.7 * free:
        asked = f"{frames} frames and {heads} heads need {needed / 2**30:.0f} GiB in the reference"
        raise ValueError(f"{asked}, {free / 2**30:.0f} GiB are free: take --preset small (2 heads) or fewer frames")
    torch.manual_seed(0)
    theirs = Attention(512, head_features=64, num_heads=heads).to(setting.device, setting.dtype)
    ours = SelfAttention(512, heads, 64).to(setting.device, setting.dtype)
    state = theirs.state_dict()
    ours.load_state_dict({name.replace("attention.blocks.0", "to_out"): value for name, value in state.items()})
    x = noise(setting.batch, frames, 512, device=setting.device).to(setting.dtype)
    return Case(no_grad(lambda: theirs(x).float()), no_grad(lambda: ours(x).float()))


def available_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def backward(model: torch.nn.Module, loss: Tensor) -> Tensor:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return loss.detach()


def decoder_inputs(setting: Setting, frames: int) -> tuple[Tensor, Tensor]:
    x = noise(setting.batch, 2, frames * HOP, device=setting.device)
    return x, noise(setting.batch, 32, frames, device=setting.device, seed=3)


def generator_inputs(pair: Pair, setting: Setting, frames: int) -> tuple[Tensor, Tensor]:
    x = noise(setting.batch, pair.unet.config.in_channels, frames, device=setting.device, seed=4)
    return x, condition(pair.unet.config, setting.batch, setting.device)


def no_grad(run: Run) -> Run:
    return torch.no_grad()(run)


CASES: dict[str, Callable[[Setting, int], Case]] = {
    "decode_step": decode_step,
    "guided_step": guided_step,
    "generation": generation,
    "training_step": training_step,
    "cached_training": cached_training,
    "attention": attention,
}
