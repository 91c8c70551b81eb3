"""Models whose every part is from outside mousai, made as a user makes them: trained, cached, trained, exported."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "samples" / "extension"
TAKES = {"slow piano": (220, 0), "fast guitar": (440, 1), "calm": (110, 2)}


@pytest.fixture(scope="session", autouse=True)
def importable():
    """Where the parts can be imported from, in this process and those that it starts."""
    places = [str(EXTENSION), str(Path(__file__).parent)]
    sys.path[:0] = places
    yield
    for place in places:
        sys.path.remove(place)


@pytest.fixture(scope="session")
def music(tmp_path_factory) -> Path:
    """A manifest of three short takes."""
    import torch

    folder = tmp_path_factory.mktemp("music")
    time = torch.arange(96_000) / 48_000
    for name, (hertz, seed) in TAKES.items():
        noise = torch.randn(2, len(time), generator=torch.Generator().manual_seed(seed))
        sound = 0.1 * torch.sin(2 * torch.pi * hertz * time) + 0.01 * noise
        soundfile.write(folder / f"{name}.wav", sound.T.numpy(), 48_000)
    lines = [json.dumps({"file": f"{name}.wav", "caption": name, "split": "train"}) for name in TAKES]
    (folder / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.jsonl"


@pytest.fixture(scope="session")
def codec_run(importable, music, tmp_path_factory) -> Path:
    """The folder of a run that trained the codec."""
    from mousai.jobs.train import train

    out = tmp_path_factory.mktemp("runs") / "blocks"
    train(EXTENSION / "codec.yaml", out, [f"data.sources=[{music}]", "train.steps=2", "data.crop_samples=16384"])
    return out


@pytest.fixture(scope="session", params=["flow", "known"])
def run(request, codec_run, music, tmp_path_factory) -> Path:
    """The folder of a run that trained a generator over it: the flow of samples/extension/, or one that knows what to make."""
    from mousai.jobs.cache import cache
    from mousai.jobs.train import train
    from mousai.trust import trusting

    folder = tmp_path_factory.mktemp("runs")
    settings = [f"codec.path={codec_run / 'model'}", f"data.cache={folder / 'cache'}", f"data.sources=[{music}]", "data.crop_frames=64"]
    settings += ["generator={type: known:Known}"] if request.param == "known" else []
    settings += ["train.steps=3"]
    with trusting():
        cache(EXTENSION / "generator.yaml", settings)
        train(EXTENSION / "generator.yaml", folder / "run", settings)
    return folder / "run"


@pytest.fixture(scope="session")
def system(run):
    """What the run made, loaded."""
    import mousai

    return mousai.load(run / "model", "cpu", trust=True)
