"""Released archinet checkpoints as mousai models, and mousai's models as checkpoints of audio-diffusion-pytorch.

    python tools/convert_archinet.py pytorch_model.bin --recipe recipes/paper/dmae_v2.yaml --out models/dmae_v2 \\
        --sources music.jsonl
    python tools/convert_archinet.py models/dmae_v2 --out dmae_v2.pt
    python tools/convert_archinet.py models/generator --part generator --out generator.safetensors

A file becomes a model folder. The recipe gives the shape, of a waveform autoencoder or of a generator, whose folder then
holds the recipe's codec too. Latents are standardised by what `--sources` (folders, manifests or tar patterns) measure, as
a generator wants them; without sources they stay as the encoder gives them.

A model folder becomes a file with the state dict of a `DiffusionAE`, or of a `DiffusionModel` with a `UNetV0` that has
classifier-free guidance, which load it strictly. Latents there are not standardised.

Either way one forward pass of both is compared before anything is written; exit status 2 where they lie further than
1e-4 apart. audio-encoders-pytorch, which the original autoencoder needs, comes with `pip install 'mousai[test]'`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from mousai import checkpoint, files  # noqa: E402
from mousai.codecs.dmae.archinet import diffusion_ae_state, dmae_state  # noqa: E402
from mousai.codecs.dmae.config import inject_depth  # noqa: E402
from mousai.codecs.dmae.waveform import WaveformConfig, WaveformDMAE  # noqa: E402
from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig  # noqa: E402
from mousai.jobs.export import calibrated_codec, cascade  # noqa: E402
from mousai.networks import archinet  # noqa: E402
from mousai.networks.archinet import State  # noqa: E402
from mousai.networks.unetv0 import arguments  # noqa: E402
from mousai.recipe import Recipe, load_part, load_recipe  # noqa: E402

TOLERANCE = 1e-4


def to_model(file: Path, recipe_path: Path, out: Path, sources: list[str]) -> float:
    """Writes the model folder `out` and returns how far its output lies from the original's; ValueError or OSError for wrong input."""
    chosen = [f"data.sources={sources}", "data.split=null"] if sources else []
    recipe = load_recipe(recipe_path, chosen)
    released = archinet.read(file)
    if recipe.generator is not None:
        settings, weights, difference = generator_from(released, recipe, str(file))
    else:
        settings, weights, difference = codec_from(released, recipe, str(file), bool(sources))
    settings["provenance"] = {"converted_from": file.name, "calibrated_on": sources}
    checkpoint.save_model(out, settings, weights, f"# A mousai model\n\nConverted from `{file.name}`, whose licence it keeps.\n")
    return difference


def codec_from(released: State, recipe: Recipe, where: str, measured: bool) -> tuple[dict, State, float]:
    """Config and weights of a model folder, and the difference."""
    shape = recipe.codec.config
    if not isinstance(shape, WaveformConfig):
        raise ValueError(f"expected a recipe that trains a dmae of the waveform, as released ones are, came {recipe.codec.type}")
    state, codec = dmae_state(released, shape), recipe.codec.build()
    checkpoint.load_strict(codec, state, where)
    found = archinet.parts(released)
    encoder = {f"encoder.{name}": value for name, value in found["encoder"].items()}
    difference = autoencoder_difference(codec, archinet.three_times(found["net"]) | encoder)
    if measured:
        return *calibrated_codec(recipe, state, where), difference
    return {"codec": recipe.codec.to_dict()}, {f"codec.{name}": value for name, value in state.items()}, difference


def generator_from(released: State, recipe: Recipe, where: str) -> tuple[dict, State, float]:
    """Config and weights of a model folder with the recipe's codec, and the difference."""
    shape = recipe.generator.config
    check_generator(shape)
    net = archinet.parts(released)["net"]
    null = archinet.null_embedding(net)
    state = {f"unet.{name}": value for name, value in archinet.network_state(net, shape.network, shape.unet).items()} | {"null.weight": null}
    generator = recipe.generator.build()
    checkpoint.load_strict(generator, state, where)
    guided = archinet.with_null_embedding(archinet.plain_unet(net), null)  # without a text encoder, which conditions come from here
    return *cascade(recipe, state, where), generator_difference(generator, archinet.three_times(guided))


def to_checkpoint(folder: Path, part: str, out: Path) -> float:
    """Writes the state dict `out` and returns how far its output lies from ours; ValueError or OSError for wrong input."""
    if out.suffix not in (".pt", ".bin", ".ckpt", ".safetensors"):
        raise ValueError(f"{out}: expected a file of type .pt, .bin, .ckpt or .safetensors")
    module = load_part(part, folder)
    if isinstance(module, WaveformDMAE):
        state = diffusion_ae_state(module.state_dict(), module.config)
        difference = autoencoder_difference(module, state)
    elif isinstance(module, LatentDiffusion):
        shape = module.config
        check_generator(shape)
        net = archinet.original_state(module.unet.state_dict(), shape.network, shape.unet)
        state = archinet.three_times(archinet.with_null_embedding(net, module.null.weight.detach()))
        difference = generator_difference(module, state)
    else:
        raise ValueError(f"{folder}: audio-diffusion-pytorch has nothing like a {type(module).__name__}")
    if out.suffix == ".safetensors":
        files.write_tensors(out, {name: value.clone() for name, value in state.items()})  # which may not share storage there
    else:
        with files.writing(out) as part_file:
            torch.save(state, part_file)
    return difference


def check_generator(shape: LatentDiffusionConfig) -> None:
    """ValueError for a generator that audio-diffusion-pytorch has nothing like."""
    came = {"a dit": shape.dit is not None, "music": shape.music is not None, "subtract_input": shape.subtract_input}
    came[f"objective {shape.objective}"] = shape.objective != "v"
    if any(came.values()):
        raise ValueError(f"audio-diffusion-pytorch's generator is a U-Net that predicts v of latents alone; came {', '.join(name for name in came if came[name])}")


@torch.no_grad()
def autoencoder_difference(codec: WaveformDMAE, original: State) -> float:
    """The largest difference between our latents and v and those of a `DiffusionAE` of this state; ValueError above the tolerance."""
    from audio_diffusion_pytorch import DiffusionAE, LTPlugin, UNetV0

    config, transform, shape = codec.config, codec.config.transform, arguments(codec.config.unet)
    depth = inject_depth(config.unet)
    del shape["context_channels"]  # a DiffusionAE says them itself
    wrapped = LTPlugin(UNetV0, num_filters=transform.bands, window_length=transform.window_length, stride=transform.stride)
    theirs = DiffusionAE(net_t=wrapped, in_channels=config.channels, encoder=original_encoder(config), inject_depth=depth, **shape)
    checkpoint.load_strict(theirs.eval(), original, "DiffusionAE")
    length = 2 * max(codec.hop, config.unet.total_factor * transform.hop)
    length *= 1 + config.encoder.n_fft // length  # what its encoder takes at least
    audio, x = draw(2, config.channels, length).mul(0.1).chunk(2)
    t, latents = torch.tensor([0.4]), codec.eval().latents(audio)
    expected = theirs.net(x, time=t, channels=[None] * depth + [theirs.encode(audio)])
    v = codec.predict(x, t, inject={depth: latents})
    return checked(max(distance(latents, theirs.encode(audio)), distance(v, expected)))


def original_encoder(config: WaveformConfig) -> nn.Module:
    """audio-encoders-pytorch's encoder of this shape."""
    try:
        from audio_encoders_pytorch import ME1d, MelE1d, TanhBottleneck
    except ImportError as error:
        raise ValueError(f"the original encoder is in audio-encoders-pytorch ({error}): pip install 'mousai[test]'") from error
    encoder = config.encoder
    shape = {name: list(getattr(encoder, name)) for name in ("multipliers", "factors", "num_blocks")}
    shape |= {name: getattr(encoder, name) for name in ("in_channels", "channels", "out_channels", "patch_size", "resnet_groups")}
    shape["bottleneck"] = TanhBottleneck() if encoder.bottleneck == "tanh" else []
    if not encoder.is_mel:
        return ME1d(stft_num_fft=encoder.n_fft, stft_hop_length=encoder.hop_length, **shape)
    mel = {"channels": encoder.mel_bands, "sample_rate": encoder.sample_rate, "normalize_log": encoder.spectrum == "log_mel"}
    mel |= {"n_fft": encoder.n_fft, "win_length": encoder.n_fft, "hop_length": encoder.hop_length}
    return MelE1d(**{f"mel_{name}": value for name, value in mel.items()}, **shape)


@torch.no_grad()
def generator_difference(generator: LatentDiffusion, original: State) -> float:
    """The largest difference between our v, known and unknown, and that of a `DiffusionModel` of this state; ValueError above the tolerance."""
    from audio_diffusion_pytorch import DiffusionModel, UNetV0

    config, unet = generator.config, generator.eval().unet
    theirs = DiffusionModel(
        net_t=UNetV0, in_channels=config.unet.in_channels, use_embedding_cfg=True, embedding_max_length=config.max_tokens, **arguments(config.unet)
    )
    checkpoint.load_strict(theirs.eval(), original, "DiffusionModel")
    x, t = draw(1, config.unet.in_channels, 4 * config.unet.total_factor), torch.tensor([0.4])
    tokens, null = draw(1, config.max_tokens, config.unet.embedding_features), generator.null.weight[None]
    known, unknown = (unet(x, t, tokens=told) for told in (tokens, null))
    guided = theirs.net(x, time=t, embedding=tokens, embedding_scale=2.0)
    return checked(max(distance(known, theirs.net(x, time=t, embedding=tokens)), distance(2 * known - unknown, guided)))


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max())


def checked(difference: float) -> float:
    """The difference; ValueError where it is above the tolerance, or no number."""
    if not difference <= TOLERANCE:
        raise ValueError(f"one forward pass lies {difference:.1e} from the original's, more than {TOLERANCE}; nothing was written")
    return difference


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a released checkpoint, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="the model folder, or the checkpoint, to write")
    parser.add_argument("--recipe", type=Path, help="the shape of a released checkpoint")
    parser.add_argument("--sources", nargs="+", default=[], help="audio that says the scale of its latents")
    parser.add_argument("--part", choices=["codec", "generator"], default="codec", help="of a model folder")
    options = parser.parse_args()
    try:
        if options.source.is_dir():
            difference = to_checkpoint(options.source, options.part, options.out)
        elif options.recipe is None:
            raise ValueError(f"{options.source}: --recipe is needed, which says the checkpoint's shape; only a model folder has its own")
        else:
            difference = to_model(options.source, options.recipe, options.out, options.sources)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {options.out}; the largest difference of one forward pass is {difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
