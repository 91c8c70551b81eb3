"""`mousai audition` and `mousai library`: points of a joint text–music space, drawn, looked at and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from mousai.cli.options import Device, Dtype, Family, Json, between, checked_family, option, phases, progress_bar, report, share_processors


def audition(
    prompt: Annotated[str, typer.Argument(help="What to play.", metavar="PROMPT", show_default=False)],
    out: Annotated[Path, option("The folder to write to.", "--out", "-o")] = Path("audition"),
    count: Annotated[int, option("Vectors that are drawn.", "-n", callback=between(1, 100_000))] = 256,
    k: Annotated[int, option("Vectors that are picked.", callback=between(1, 100_000))] = 8,
    pick: Annotated[str, option("diverse, centre, kmeans, dbscan, density.")] = "diverse",
    seed: Annotated[int, option("Of the first vector, and of the music; the others count on.", callback=between(0, 2**32 - 1))] = 0,
    seconds: Annotated[Optional[float], option("Length of the music.", "--seconds", "-s")] = None,
    flow: Annotated[str, option("What draws vectors: a model folder, or the name of the shipped one.")] = "starter_flow",
    model: Annotated[str, option("What makes the music; one that is told no vectors makes takes of the words, of which each pick gets the nearest.", "--model", "-m")] = "starter",
    takes: Annotated[Optional[int], option("So many; two for each file unless given.", callback=between(1, 4096))] = None,
    render: Annotated[bool, option("Make music of the picks, or draw the map alone.", "--render/--no-render")] = True,
    library: Annotated[Optional[str], option("Name what of this folder (or manifest) is nearest to the picks.")] = None,
    blend: Annotated[Optional[tuple[int, int]], option("Also go from one pick to another, by their numbers.")] = None,
    blend_steps: Annotated[int, option("Steps between the two.", callback=between(1, 100))] = 3,
    map: Annotated[str, option("pca, umap.")] = "pca",
    html: Annotated[bool, option("The map also as a page to look around in.", "--html")] = False,
    steps: Annotated[Optional[int], option("Sampling steps of a vector; the flow's own number unless given.", callback=between(1, 5000))] = None,
    guidance: Annotated[Optional[float], option("How closely vectors follow the prompt; 1 = no guidance.", "-g", callback=between(0, 100))] = None,
    negative: Annotated[Optional[str], option("What it should not be.")] = None,
    sampler: Annotated[Optional[str], option("euler, midpoint, heun, dopri5.")] = None,
    format: Annotated[Optional[str], option("wav, flac, ogg, opus, mp3; wav unless given.", "--format", "-f")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Draw many points of the text-music space for a prompt, pick some, show a map, and make music of the picks alone."""
    share_processors()
    from mousai.jobs import audition as job
    from mousai.types import SamplingSettings

    asked = job.Audition(prompt, count, k, pick, seed, seconds, tuple(blend) if blend else None, blend_steps, map, html, takes)
    settings = SamplingSettings(steps=steps, guidance=guidance, negative=negative, sampler=sampler)
    with phases() as phase:
        found = job.audition(
            asked, out, flow=flow, model=model if render else None, library=library, format=format, settings=settings, device=device, dtype=dtype, phase=phase
        )
    report(found, job.summary(found, out), as_json)


def library(
    place: Annotated[str, typer.Argument(help="A folder, a .jsonl manifest, or WebDataset shards.", metavar="FOLDER", show_default=False)],
    text: Annotated[Optional[str], option("Which of it sounds like these words?")] = None,
    like: Annotated[Optional[Path], option("Which of it sounds like this file?")] = None,
    k: Annotated[int, option("So many are named.", callback=between(1, 10_000))] = 10,
    joint: Annotated[str, option("The joint encoder that hears: a folder, the shipped one, or with --family a Hugging Face name.")] = "starter_joint",
    family: Family = "mousai",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Hear a folder of music once, and say what of it sounds like a text or like a file."""
    share_processors()
    from mousai.conditioners.joint import JointConfig
    from mousai.jobs import library as job

    with progress_bar("files") as progress:
        found = job.library(place, text=text, like=like, k=k, joint=JointConfig(joint, checked_family(family)), device=device, progress=progress)
    report(found, job.in_words(found), as_json)
