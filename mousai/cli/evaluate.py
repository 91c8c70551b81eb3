"""`mousai evaluate`: the commands that measure a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from mousai.cli.options import Compile, Device, Dtype, Family, Flow, Json, Steps, Wordless, between, checked_family, option, phases, print_help, progress_bar, report, sampling_options

app = typer.Typer(help="Measure a model; writes figures as JSON and Markdown, and pictures, into a folder.")
app.callback(invoke_without_command=True)(print_help)

Evaluated = Annotated[str, typer.Argument(help="A model folder, or the name of the shipped one.", metavar="MODEL", show_default=False)]
Recordings = Annotated[str, option("A folder, a .jsonl manifest, or WebDataset shards.", "--data", "-d")]
Practice = Annotated[str, option("A practice set of `mousai data synth`.", "--data", "-d")]
Figures = Annotated[Path, option("The folder to write to.", "--out", "-o")]
Split = Annotated[str, option("Of this split alone; all = every track.")]
Seed = Annotated[int, option("What is drawn follows from it.", callback=between(0, 2**31))]


def _evaluate(job: str, as_json: bool, out: Path, split: str, **settings: Any) -> None:
    """Runs a job that measures a model and prints what it wrote."""
    from mousai.jobs import evaluate, evaluate_prompts

    jobs = {"codec": evaluate.evaluate_codec, "joins": evaluate.evaluate_joins, "prompts": evaluate_prompts.evaluate_prompts}
    with phases() as phase:
        found = jobs[job](out=out, split=None if split == "all" else split, phase=phase, **settings)
    report(found, (out / f"{found['evaluates']}.md").read_text(encoding="utf-8").rstrip(), as_json)


@app.command("codec")
def evaluate_codec(
    model: Evaluated,
    data: Recordings,
    out: Figures,
    split: Split = "valid",
    seconds: Annotated[float, option("Length of a clip.", callback=between(1, 600))] = 5.0,
    clips: Annotated[Optional[int], option("Clips; one of each track unless given.", callback=between(1, 100_000))] = None,
    steps: Steps = None,
    batch: Annotated[int, option("Clips decoded at once.", "--batch", "-b", callback=between(1, 4096))] = 4,
    latent_noise: Annotated[Optional[float], option("Beside it latents with so much noise; their own spread is 1.", callback=between(0, 10))] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """What a listener follows through a codec, and how near decode(encode(x)) comes to x, beside noises, another clip and Griffin-Lim."""
    chosen = dict(model=model, data=data, seconds=seconds, clips=clips, steps=steps, batch=batch, latent_noise=latent_noise, seed=seed)
    chosen |= dict(device=device, dtype=dtype)
    _evaluate("codec", as_json, out, split, **chosen)


@app.command("joins")
def evaluate_joins(
    model: Evaluated,
    data: Recordings,
    out: Figures,
    split: Split = "valid",
    seconds: Annotated[float, option("Greatest length of a piece.", callback=between(1, 3600))] = 60.0,
    pieces: Annotated[int, option("Pieces.", callback=between(1, 10_000))] = 8,
    steps: Steps = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Whether more changes where the codec's windows are joined than elsewhere in the same pieces."""
    _evaluate("joins", as_json, out, split, model=model, data=data, seconds=seconds, pieces=pieces, steps=steps, seed=seed, device=device, dtype=dtype)


@app.command("seams")
def evaluate_seams(
    files: Annotated[list[Path], typer.Argument(help="Pieces of `mousai render`, or their .job.json; with --every any audio.", metavar="FILE...", show_default=False)],
    out: Figures,
    every: Annotated[Optional[float], option("Seconds from boundary to boundary; as the file says unless given.", callback=between(0, 86400, above=True))] = None,
    first: Annotated[Optional[float], option("Where the first boundary lies, in seconds; --every unless given.", callback=between(0, 86400, above=True))] = None,
    overlap: Annotated[Optional[float], option("Seconds that windows overlap, around each boundary; 0 unless given.", callback=between(0, 86400))] = None,
    as_json: Json = False,
) -> None:
    """Whether more changes where the windows of long pieces meet than elsewhere in the same pieces."""
    from mousai.jobs.evaluate_seams import evaluate_seams

    with progress_bar("seconds") as progress:
        found = evaluate_seams(files, out, every=every, first=first, overlap=overlap, progress=progress)
    report(found, (out / "seams.md").read_text(encoding="utf-8").rstrip(), as_json)


@app.command("joint")
def evaluate_joint(
    joint: Annotated[str, typer.Argument(help="A joint encoder: a folder, the shipped starter_joint, or with --family a Hugging Face name.", metavar="JOINT", show_default=False)],
    data: Recordings,
    out: Figures,
    split: Split = "valid",
    family: Family = "mousai",
    seconds: Annotated[float, option("Length of a clip.", callback=between(1, 600))] = 10.0,
    clips: Annotated[Optional[int], option("Clips; one of each track unless given.", callback=between(1, 100_000))] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether a joint text–music encoder finds the recording of a text, and the text of a recording, beside chance."""
    from mousai.conditioners.joint import JointConfig
    from mousai.jobs.evaluate_joint import evaluate_joint as run

    with phases() as phase:
        found = run(JointConfig(joint, checked_family(family)), data, out, split=None if split == "all" else split, seconds=seconds, clips=clips, seed=seed, device=device, phase=phase)
    report(found, (out / "joint.md").read_text(encoding="utf-8").rstrip(), as_json)


@app.command("flow")
def evaluate_flow(
    flow: Annotated[str, typer.Argument(help="A flow of vectors: a folder, or the shipped starter_flow.", metavar="FLOW", show_default=False)],
    data: Practice,
    out: Figures,
    split: Split = "valid",
    takes: Annotated[int, option("Vectors of each text.", callback=between(2, 1000))] = 16,
    steps: Steps = None,
    guidance: Annotated[Optional[float], option("1 = no guidance; the flow's own unless given.", "-g", callback=between(0, 100))] = None,
    sampler: Annotated[Optional[str], option("euler, midpoint, heun, dopri5.")] = None,
    seconds: Annotated[float, option("Length of a clip.", callback=between(1, 600))] = 10.0,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Whether the vectors that a flow draws for texts are those of music that the texts are of, and as various."""
    from mousai.jobs.evaluate_flow import evaluate_flow as run
    from mousai.types import SamplingSettings

    settings = SamplingSettings(steps=steps, guidance=guidance, sampler=sampler)
    with phases() as phase:
        found = run(flow, data, out, split=None if split == "all" else split, takes=takes, seconds=seconds, settings=settings, seed=seed, device=device, phase=phase)
    report(found, (out / "flow.md").read_text(encoding="utf-8").rstrip(), as_json)


@app.command("prompts")
@sampling_options("negative", "resamples")
def evaluate_prompts(
    model: Evaluated,
    data: Practice,
    out: Figures,
    split: Split = "valid",
    classifier: Annotated[Optional[Path], option("A saved classifier; one is trained on the set unless given.")] = None,
    per_class: Annotated[int, option("Clips of each class.", callback=between(1, 10_000))] = 6,
    seeds_per_prompt: Annotated[int, option("Clips of each prompt, with a seed each.", callback=between(1, 10_000))] = 2,
    styles: Annotated[Optional[str], option("Only these styles of the set, such as piano,jazz,rock.", metavar="A,B,…")] = None,
    tempos: Annotated[bool, option("Ask for tempos over the set's whole range that are not the captions' own.", "--tempos")] = False,
    keys: Annotated[bool, option("Ask for keys that are not the captions' own.", "--keys")] = False,
    seconds: Annotated[float, option("Length of a clip.", callback=between(1, 600))] = 8.0,
    sampling: Optional[dict[str, Any]] = None,
    batch: Annotated[Optional[int], option("Clips made at once.", "--batch", "-b", callback=between(1, 4096))] = None,
    through_codec: Annotated[bool, option("Beside them the practice set after encoding and decoding.", "--through-codec")] = False,
    beside: Annotated[Optional[list[str]], option("Beside them what this model makes of the same prompts; may be given often.", "--beside", metavar="MODEL")] = None,
    recordings: Annotated[Optional[str], option("Beside them crops of these: a folder, a .jsonl manifest, or WebDataset shards.", "--recordings")] = None,
    flow: Flow = "auto",
    wordless: Wordless = False,
    listen: Annotated[int, option("Write a page to listen blind to so many of the prompts, by all of these.", "--listen", callback=between(0, 1000))] = 0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    as_json: Json = False,
) -> None:
    """Whether the music has a beat, a key and a style, and whether they are those of the prompts; beside real music and other models."""
    chosen = dict(model=model, data=data, classifier=classifier, per_class=per_class, seeds_per_prompt=seeds_per_prompt, seconds=seconds)
    chosen |= dict(styles=[style.strip() for style in styles.split(",")] if styles else ())
    chosen |= dict(tempos=tempos, keys=keys, batch=batch, through_codec=through_codec, beside=beside or (), recordings=recordings, flow=flow, wordless=wordless, listen=listen, **sampling)
    _evaluate("prompts", as_json, out, split, **chosen, seed=seed, device=device, dtype=dtype, compile=compile)
