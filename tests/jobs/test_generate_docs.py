"""The code of docs/generate.md, on a tiny model in the shipped one's place: its commands in turn, its Python from top to bottom."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from mousai import checkpoint
from mousai.audio import io
from mousai.cli import main as cli
from mousai.types import SamplingSettings

PAGE = (Path(__file__).parents[2] / "docs" / "generate.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def place(tiny_cascade, tmp_path, monkeypatch):
    monkeypatch.setitem(checkpoint.SHIPPED, "starter", tiny_cascade)
    monkeypatch.chdir(tmp_path)


def test_every_command_runs(tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("calm\n# fast\nslow piano\n")
    io.write(tmp_path / "recording.wav", 0.1 * torch.randn(2, 150_000, generator=torch.Generator().manual_seed(0)))
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(lines) == 10
    for line in lines:
        with pytest.raises(SystemExit) as caught:
            cli.main(shlex.split(line)[1:])
        assert not caught.value.code, capsys.readouterr().err
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    promised = {"slow-piano-melancholic-0.wav", "songs/fast-techno-140-bpm-8.flac", "strings.ogg", "strings.png", "calm-0.wav", "piano.flac"}
    assert promised | {"latents/recording.safetensors", "recording.flac", "solo-guitar-0.wav", "drum-break-0.wav"} <= written


def test_every_python_block_runs(tmp_path):
    assert len(blocks("py")) == 6 and not blocks("python")
    exec(compile("\n".join(blocks("py")), "docs/generate.md", "exec"), {})
    assert {path.name for path in tmp_path.rglob("*.*")} == {"slow-piano-3.flac", "fast-techno-4.flac", "decoded.wav"}


def test_the_page_has_every_setting_as_it_is():
    for each in fields(SamplingSettings):
        bounds = "" if each.metadata["range"] is None else "{:g} … {:g}".format(*each.metadata["range"])
        assert f"| `--{each.name.replace('_', '-')}` | {each.metadata['help']} | {bounds} |" in PAGE


def test_what_the_page_says_of_numbers():
    from mousai.audio import splice
    from mousai.pipelines import cascade, recording
    from mousai.request.clip import DEFAULT_SECONDS, MAX_SECONDS

    assert (DEFAULT_SECONDS, MAX_SECONDS) == (10, 600) and "10 unless given, at most 600" in PAGE
    assert cascade.CLIPS_AT_ONCE["cpu"][0] == 4 and cascade.CLIPS_AT_ONCE["cuda"][0] == 16 and "four on a CPU and sixteen on a GPU" in PAGE
    assert recording.CONTEXT_SECONDS == 15 and splice.FADE_SECONDS == 0.03 and "15 s on each side" in PAGE and "over 30 ms" in PAGE
