"""`mousai evaluate flow`: whether the vectors that a flow draws for texts are those of music that the texts are of, and as various."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mousai import config
from mousai.checks import check_number
from mousai.data.sources import open_source
from mousai.evaluation.clips import draw_clips
from mousai.evaluation.phases import Phase, counted, silent
from mousai.evaluation.vectors import REAL, SPECIFIC, VAGUE, directions, of_classes, of_real, of_texts
from mousai.generators.muq_flow import VectorFlow, blind_floor
from mousai.jobs.evaluate import folder_for, save
from mousai.jobs.evaluate_joint import LEAST_SECONDS, texts_of
from mousai.pipelines.muse import Flow, load_flow
from mousai.randomness import generator_of
from mousai.types import SamplingSettings

LABEL = "style"  # the field of a track that says its class
LOSS_TIMES = 64  # at which the loss of a clip is measured


def evaluate_flow(
    flow: str | Path, data: str | Path, out: str | Path, *, split: str | None = "valid", takes: int = 16, seconds: float = 10.0,
    settings: SamplingSettings = SamplingSettings(), seed: int = 0, device: str = "auto", phase: Phase = silent,
) -> dict[str, Any]:  # fmt: skip
    """Vectors of each clip's text, `takes` of them, and of each class's name, beside those of the clips of a practice set.

    Means of classes are those of the clips of the same split. Writes flow.json and flow.md.
    """
    check_number("takes", takes, 2, 1000, whole=True)
    system = load_flow(flow, device)
    source = open_source(data, split)
    chosen = draw_clips(source, seconds, None, system.joint.sample_rate, 1, seed, LEAST_SECONDS)
    known = {track.key: track.metadata for track in source}
    classes = [known[clip.key].get(LABEL) for clip in chosen]
    if None in classes:
        raise ValueError(f"{source.name}: a track has no field '{LABEL}'; a practice set from `mousai data synth` has it")
    texts = texts_of(source, chosen, seed)
    out = folder_for(out)
    real = torch.cat([system.joint.audio(clip.audio[None]) for clip in counted(chosen, phase("hearing clips"))]).cpu()
    means = directions(classes, real)
    progress = phase("drawing vectors")
    drawn = system.vectors([text for text in texts for _ in range(takes)], list(range(seed, seed + takes * len(texts))), settings, progress)
    vague = {name: system.vectors(name.replace("_", " "), list(range(seed, seed + 4 * takes)), settings) for name in means}
    report = {
        "evaluates": "flow", "flow": system.name, "fingerprint": system.fingerprint, "space": system.space, "licences": system.licences,
        "data": str(data), "split": split, "seed": seed, "seconds": seconds, "takes": takes, "clips": len(chosen),
        "settings": config.to_dict(system.settings(settings)), "loss": losses(system, real, texts, seed),
        "rows": {SPECIFIC: of_texts(drawn.unflatten(0, (len(texts), takes)), real, classes, means), VAGUE: of_classes(vague, real, classes, means), REAL: of_real(real, classes, means)},
    }  # fmt: skip
    return save(out, report, text_of(report))


@torch.no_grad()
def losses(system: Flow, real: Tensor, texts: Sequence[str], seed: int) -> dict[str, float] | None:
    """The training loss of real vectors `(n, e)` with their texts, beside those of the best networks that hear no text."""
    generator = system.generator
    if not isinstance(generator, VectorFlow):
        return None
    condition = system.conditioner.encode(list(texts))
    rounds = [generator.loss(real[..., None].to(system.device), condition, generator_of((seed, number)))[0] for number in range(LOSS_TIMES)]
    scaled = generator.scale * F.normalize(real, dim=-1)
    variances = torch.linalg.eigvalsh(scaled.double().T.cov(correction=0))
    features = real.shape[1]
    found = {"loss": float(torch.stack(rounds).mean()), "floor": blind_floor(torch.full((features,), generator.scale**2 / features)), "floor_known": blind_floor(variances)}
    return found | {"share": found["loss"] / found["floor"], "share_known": found["loss"] / found["floor_known"]}


def text_of(report: dict[str, Any]) -> str:
    rows, loss = report["rows"], report["loss"]
    lines = ["| vectors of | cosine to the true | to the class's mean | spread |", "|---|---|---|---|"]
    for name, row in rows.items():
        true = f"{row['cosine_true']:.3f}" if "cosine_true" in row else "1" if name == REAL else ""
        lines.append(f"| {name} | {true} | {row['cosine_class']:.3f} | {row['spread']:.3f} |")
    found = rows[SPECIFIC]
    asked = [
        f"- by {how}: recall@1 {100 * row['recall_1']:.1f} %, @10 {100 * row['recall_10']:.1f} %, median place {row['median_place']:g} of {row['candidates']}"
        for how, row in (("one vector", found["retrieval"]), (f"the mean of {report['takes']}", found["retrieval_mean"]))
    ]
    said = "" if loss is None else (
        f"Loss {loss['loss']:.4f}; text-blind, of unit vectors in any direction {loss['floor']:.4f} (share {loss['share']:.3f}), "
        f"of these vectors' own covariance {loss['floor_known']:.4f} (share {loss['share_known']:.3f}).\n\n"
    )  # fmt: skip
    return (
        f"# flow: {report['flow']} ({report['fingerprint']})\n\ndata {report['data']}, split {report['split'] or 'all'}, {report['clips']} clips, {report['takes']} vectors a text, seed {report['seed']}\n\n"
        f"{said}{chr(10).join(lines)}\n\nThe right clip among all:\n\n{chr(10).join(asked)}\n"
    )
