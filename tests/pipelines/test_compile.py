"""Compiled networks make the same music, and are compiled once for any length."""

from __future__ import annotations

import sys

import pytest
import torch

import mousai
from mousai.pipelines.cascade import load


def test_a_model_is_loaded_compiled_and_says_so(tiny_cascade, monkeypatch):
    compiled = []
    monkeypatch.setenv("CXX", sys.executable)  # a program that is there
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(options) or function)
    cascade = load(tiny_cascade, device="cpu", compile=True)
    assert compiled == [{"dynamic": True}] * 2 and cascade.facts["dtype"] == "float32 compiled"
    plain = load(tiny_cascade, device="cpu")
    assert len(compiled) == 2 and plain.facts["dtype"] == "float32"
    assert torch.equal(cascade.generate("piano", seconds=0.5), plain.generate("piano", seconds=0.5))


def test_a_part_that_cannot_be_compiled_stays_as_it_is(tiny_cascade, monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)  # a program that is there
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    cascade = load(tiny_cascade, device="cpu")
    parts = type("Codec", (), {"latent_channels": 8, "hop": 1, "sample_rate": 1})(), None, type("Generator", (), {"latent_channels": 8})()
    assert mousai.Cascade(*parts).compile().compiled and not cascade.compiled


def test_without_a_compiler_it_is_refused_in_one_line(tiny_cascade, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, none of g\+\+") as caught:
        load(tiny_cascade, device="cpu", compile=True)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_lengths_do_not_compile_again(tiny_cascade):
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    cascade = load(tiny_cascade, device="cpu")
    counter = CompileCounterWithBackend("eager")
    for part in (cascade.codec, cascade.generator):
        part.unet.compile(backend=counter)
    cascade.generate("piano", seconds=1.0)
    once = counter.frame_count
    for seconds, settings in ((1.7, {}), (3.1, {"steps": 7}), (0.6, {"codec_steps": 2, "schedule": "cosine"})):
        cascade.generate("guitar", seconds=seconds, seed=3, **settings)
    assert counter.frame_count == once == 2  # one for each network


@pytest.mark.slow
def test_compiled_equals_eager(tiny_cascade):
    torch._dynamo.reset()
    plain, compiled = load(tiny_cascade, device="cpu"), load(tiny_cascade, device="cpu", compile=True)
    for prompts, seconds in (("piano", 1.0), (["piano", "slow guitar"], 1.5), ("calm", 0.7)):
        wanted = plain.generate(prompts, seconds=seconds, seed=5)
        torch.testing.assert_close(compiled.generate(prompts, seconds=seconds, seed=5), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
