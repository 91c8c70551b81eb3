"""The benchmark of batches runs both stages and a codec, and what a batch is reckoned to take is near what it takes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")

WAVEFORM = {
    "encoder": {"channels": 16, "multipliers": [1, 1], "factors": [4], "num_blocks": [1], "out_channels": 8, "n_fft": 1023, "hop_length": 256},
    "unet": {"in_channels": 128, "channels": [64, 64, 64], "factors": [1, 2, 2], "items": [1, 1, 1], "inject_channels": [0, 0, 8], "modulation_features": 32},
    "transform": {"type": "learned", "bands": 64, "window_length": 512, "stride": 256},
}  # fmt: skip
MDCT = {
    "stereo": "mid_side",
    "encoder": {"spectrum": "log_magnitude", "bottleneck": "none", "linear": "only", "multipliers": [1, 1], "factors": [4],
                "num_blocks": [0], "out_channels": 8, "n_fft": 1023, "hop_length": 256},
    "transform": {"type": "mdct", "bands": 256}, "prior": {"channels": 16, "blocks": 1},
    "unet": {"in_channels": 512, "channels": [64, 64], "factors": [1, 2], "items": [1, 1], "inject_channels": [16, 0], "modulation_features": 32},
}  # fmt: skip
ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "bench"))
    return importlib.import_module("batches")


def test_a_row_for_each_batch_of_each_stage(tool, capsys, tmp_path):
    recipes = [str(ROOT / "recipes" / "muse" / f"{name}.yaml") for name in ("small", "muse-dit-small")]
    assert tool.main(["--recipes", *recipes, "--frames", "1", "16", "--steps", "1", "--batches", "1", "3", "--rounds", "1", "--no-memory", "--codec", "starter", "--figure", str(tmp_path / "batches.png")]) == 0
    assert (tmp_path / "batches.png").read_bytes().startswith(b"\x89PNG")
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[0].strip("| "), row[2]) for row in rows] == [(name, b) for name in ("small, 1 frame", "muse-dit-small, 16 frames", "starter, 16 frames") for b in ("1", "3")]
    with pytest.raises(SystemExit):
        tool.arguments(["--recipes", "a", "b", "--frames", "1"])


def peak(run) -> int:
    """The most bytes of tensors that live at once in `run`, as torch's profiler counts them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    now = most = 0
    for event in sorted((event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@torch.no_grad()
def test_what_is_reckoned_is_near_what_is_taken():
    from mousai.networks.dit import DiT, DiTConfig
    from mousai.networks.stable_audio import StableAudioDiT, StableAudioDiTConfig
    from mousai.networks.stable_audio3 import StableAudio3DiT, StableAudio3DiTConfig
    from mousai.networks.unet1d import UNet1d, UNet1dConfig
    from mousai.recipe import part_from

    tokens = {"tokens": torch.randn(1, 5, 16), "mask": torch.ones(1, 5, dtype=torch.bool)}
    from mousai.networks.flow import NETWORKS, VectorNetworkConfig
    from mousai.networks.unetv0 import UNetV0

    unet = UNet1dConfig(in_channels=8, channels=(64, 64, 64), factors=(1, 2, 2), items=(1, 1, 1), attentions=(0, 0, 1), cross_attentions=(1, 1, 1), attention_heads=4, attention_features=16, embedding_features=16, modulation_features=64)
    cases = [
        (DiT(DiTConfig(8, features=128, layers=2, heads=4, embedding_features=16)), tokens),
        (UNet1d(unet), tokens),
        (UNetV0(unet), tokens),
        (StableAudioDiT(StableAudioDiTConfig(8, 2, 4, 32, 2, 64, 32, 16, 16)), tokens | {"vector": torch.randn(1, 16)}),
        (StableAudio3DiT(StableAudio3DiTConfig(8, 128, 2, 4, 16, 16, 9, 32, memory_tokens=4)), tokens | {"vector": torch.randn(1, 16)}),
    ]
    found = {type(network).__name__: peak(lambda: network(torch.randn(1, 8, 2000), torch.rand(1), **told)) / network.row_bytes(2000) for network, told in cases}
    for name, build in NETWORKS.items():
        flow, text = build(VectorNetworkConfig(name, 128, 3, 4), 16, 16), (torch.randn(8, 64, 16), torch.ones(8, 64, dtype=torch.bool))
        found[name] = peak(lambda: flow(torch.randn(8, 16), torch.rand(8), flow.cache(*text)[torch.arange(8)])) / flow.row_bytes(64) / 8
    for kind, config in (
        ("magnitude", {"unet": {"channels": [16, 32], "blocks": [1, 1], "patch": 4, "embedding": 16}}),
        ("dmae", WAVEFORM),
        ("dmae", MDCT),
        ("oobleck", {"features": 16, "latent_channels": 8, "decoder_features": 16, "factors": [2, 4, 8], "multipliers": [1, 2, 2]}),
        ("same", {"features": 16, "latent_channels": 8, "patch": 8, "multipliers": [4], "factors": [4], "depths": [2], "head_features": 16}),
    ):
        codec = part_from("codec", {"type": kind, **config}).build(0).eval()
        d = codec.latent_channels
        found[type(codec).__name__] = peak(lambda: codec.decode_windows([torch.randn(1, d, 100)], [0], [0], min(1, codec.default_steps), lambda done, total: None)) / codec.window_bytes(100)
    assert len(found) == 12 and all(0.4 < share < 1.3 for share in found.values()), found
