"""`mousai evaluate joint`: whether a joint encoder finds the recording of a text, and the text of a recording."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mousai import config
from mousai.conditioners.joint import Joint, JointConfig, JointConditioner
from mousai.data.captions import caption
from mousai.data.sources import Source, open_source
from mousai.evaluation.clips import Clip, draw_clips
from mousai.evaluation.phases import Phase, counted, silent
from mousai.evaluation.retrieval import retrieval, table
from mousai.jobs.evaluate import folder_for, save
from mousai.randomness import seed_of

LEAST_SECONDS = 1.0
TO_MUSIC, TO_TEXT = "text → music", "music → text"


def evaluate_joint(
    joint: JointConfig, data: str | Path, out: str | Path, *, split: str | None = "valid", seconds: float = 10.0, clips: int | None = None,
    seed: int = 0, device: str = "auto", phase: Phase = silent,
) -> dict[str, Any]:  # fmt: skip
    """The places at which texts find their clips and clips their texts, one clip a track (or `clips` of them).

    Of tracks whose texts are equal each has all of these clips. A text says all that is known of a track, in an order drawn from
    `seed`. Writes joint.json and joint.md.
    """
    from mousai.device import choose_device

    encoder = Joint(joint).to(choose_device(device))
    source = open_source(data, split)
    chosen = draw_clips(source, seconds, clips, encoder.sample_rate, 1, seed, LEAST_SECONDS)
    texts = texts_of(source, chosen, seed)
    out = folder_for(out)
    sounds = torch.cat([encoder.audio(clip.audio[None]) for clip in counted(chosen, phase("hearing clips"))]).cpu()
    distinct = list(dict.fromkeys(texts))
    words = encoder.texts(distinct).cpu()
    own = torch.tensor([[text == other for other in distinct] for text in texts])
    rows = {TO_MUSIC: retrieval(words @ sounds.T, own.T), TO_TEXT: retrieval(sounds @ words.T, own)}
    report = {
        "evaluates": "joint", "joint": config.to_dict(joint), "space": encoder.space, "licence": JointConditioner.licence_of(joint),
        "data": str(data), "split": split, "seed": seed, "seconds": seconds, "rows": rows, "cosines": cosines(sounds, words[own.int().argmax(1)]),
        "clips": [{**clip.to_dict(), "text": text} for clip, text in zip(chosen, texts)],
    }  # fmt: skip
    return save(out, report, text_of(report))


def texts_of(source: Source, chosen: list[Clip], seed: int) -> list[str]:
    """What is known of each clip's track, in words; ValueError where nothing is."""
    known = {track.key: track.metadata for track in source}
    texts = [caption({name: value for name, value in known[clip.key].items() if name != "caption"}, random.Random(seed_of(seed, clip.key)), drop=0.0) for clip in chosen]
    texts = [text or known[clip.key].get("caption", "") for clip, text in zip(chosen, texts)]
    if not any(texts):
        raise ValueError(f"{source.name}: nothing is known of its tracks that a text could say")
    return texts


def cosines(sounds: Tensor, words: Tensor) -> dict[str, float]:
    """Mean cosines of clips with their own texts and with others', and between clips."""
    cross, between = sounds @ words.T, sounds @ sounds.T
    off = ~torch.eye(len(sounds), dtype=torch.bool)
    return {"own": float(cross.diag().mean()), "others": float(cross[off].mean()) if off.any() else 0.0, "between_clips": float(between[off].mean()) if off.any() else 1.0}


def text_of(report: dict[str, Any]) -> str:
    cosine = report["cosines"]
    return (
        f"# joint: {report['joint']['name']} ({report['space']})\n\n"
        f"data {report['data']}, split {report['split'] or 'all'}, {len(report['clips'])} clips of {report['seconds']:g} s, seed {report['seed']}\n\n"
        f"Chance in brackets.\n\n{table(report['rows'])}\n\n"
        f"Mean cosine of a clip with its own text {cosine['own']:.3f}, with others' {cosine['others']:.3f}; between clips {cosine['between_clips']:.3f}.\n"
    )
