"""Batches that would not fit are split, before by what is reckoned and after by what happens, and clips are the same."""

from __future__ import annotations

import logging

import pytest
import torch

import mousai
from mousai.pipelines import batches
from mousai.pipelines.muse import load_flow

PROMPTS = ["slow piano", "fast guitar", "calm", "slow piano", "dance"]


@pytest.fixture(scope="module")
def cascade(tiny_cascade):
    return mousai.load(tiny_cascade, "cpu")


def sizes(cascade, monkeypatch) -> list[int]:
    """How many clips each call of the generator makes."""
    found, sample = [], cascade.generator.sample
    monkeypatch.setattr(cascade.generator, "sample", lambda part, *rest, **more: found.append(len(part)) or sample(part, *rest, **more))
    return found


def test_a_batch_is_what_its_clips_are_alone_and_each_text_is_read_once(cascade, monkeypatch):
    read, encode = [], cascade.conditioner.encode
    monkeypatch.setattr(cascade.conditioner, "encode", lambda texts: read.append(list(texts)) or encode(texts))
    together = cascade.generate(PROMPTS, 0.2, 3, batch=5)
    assert read == [["slow piano", "fast guitar", "calm", "dance"]]
    for index, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(cascade.generate(prompt, 0.2, 3 + index)[0], together[index], atol=1e-6, rtol=1e-6)


def test_a_batch_that_would_not_fit_is_split_before(cascade, monkeypatch, caplog):
    plain, made = cascade.generate(PROMPTS, 0.2, 3, batch=5), sizes(cascade, monkeypatch)
    each = cascade.clip_bytes(10, guided=True)
    sampling, decoding = cascade.generator.network.row_bytes(10), cascade.codec.window_bytes(10)
    assert each == max(2 * sampling, decoding) and cascade.clip_bytes(10, guided=False) == max(sampling, decoding) and min(sampling, decoding) > 0
    monkeypatch.setattr(batches, "memory_left", lambda device: int(2.5 * each / batches.SHARE))
    with caplog.at_level(logging.WARNING):
        split = cascade.generate(PROMPTS, 0.2, 3, batch=5)
    assert made == [2, 2, 1] and [record.getMessage() for record in caplog.records] == [
        f"a batch of 5 clips would take about {5 * each / 2**30:.3g} GiB, {int(2.5 * each / batches.SHARE) / 2**30:.3g} GiB are free: 2 at once"
    ]
    torch.testing.assert_close(split, plain, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …")], ids=["gpu", "cpu"])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(cascade, monkeypatch, caplog, error):
    plain, made, done = cascade.generate(PROMPTS, 0.2, 3, batch=5), sizes(cascade, monkeypatch), []
    sample = cascade.generator.sample

    def small(part, *rest, **more):
        if len(part) > 2:
            raise error
        return sample(part, *rest, **more)

    monkeypatch.setattr(cascade.generator, "sample", small)
    with caplog.at_level(logging.WARNING):
        split = cascade.generate(PROMPTS, 0.2, 3, batch=5, callback=lambda *count: done.append(count))
    assert made == [2, 2, 1] and caplog.messages == ["a batch of 5 clips did not fit into memory: 2 at once"]
    assert done[-1][0] == done[-1][1]
    torch.testing.assert_close(split, plain, atol=1e-6, rtol=1e-6)


def test_a_single_clip_that_does_not_fit_is_refused_in_one_line_and_other_errors_are_their_own(cascade, monkeypatch):
    def fails(*_, **__):
        raise fails.error

    monkeypatch.setattr(cascade.generator, "sample", fails)
    fails.error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(ValueError, match="^a single clip does not fit into the memory of cpu: ask for fewer seconds"):
        cascade.generate(PROMPTS, 0.2, batch=4)
    fails.error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes do not match"):
        cascade.generate(PROMPTS, 0.2, batch=4)


def test_vectors_that_would_not_fit_are_drawn_in_parts(tiny_flow, monkeypatch, caplog):
    flow = load_flow(tiny_flow)
    plain, each = flow.vectors("slow piano", range(7)), flow.vector_bytes(4, guided=True)
    assert each == 2 * flow.vector_bytes(4, guided=False) > 0
    monkeypatch.setattr(batches, "memory_left", lambda device: int(3.5 * each / batches.SHARE))
    with caplog.at_level(logging.WARNING):
        split = flow.vectors("slow piano", range(7))
    assert caplog.messages[0].startswith("a batch of 7 vectors would take about ") and caplog.messages[0].endswith("are free: 3 at once")
    torch.testing.assert_close(split, plain, atol=1e-6, rtol=1e-6)


def test_memory_that_is_left_is_the_containers(tmp_path, monkeypatch):
    from mousai import device

    monkeypatch.setattr(device, "CGROUP", tmp_path)
    monkeypatch.setattr(device, "MEMORY", tmp_path / "meminfo")
    cpu = torch.device("cpu")
    assert device.memory_left(cpu) is None and device.memory_left(torch.device("meta")) is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")
    assert device.memory_left(cpu) == 4000 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    for most, left in (("max\n", 4000 * 1024), ("11000\n", 10000)):
        (tmp_path / "memory.max").write_text(most)
        assert device.memory_left(cpu) == left
