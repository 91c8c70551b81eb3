"""`mousai data`: the commands that look at a data set, listen to one, or make one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from mousai.cli.options import Json, between, option, print_help, progress_bar, report

app = typer.Typer(help="Look at a data set, or make one for practice.")
app.callback(invoke_without_command=True)(print_help)


@app.command("scan")
def data_scan(
    source: Annotated[str, typer.Argument(help="A folder of audio or of MIDI files, a .jsonl manifest, or WebDataset shards.")],
    split: Annotated[Optional[str], option("Of this split alone.")] = None,
    workers: Annotated[Optional[int], option("Threads; one a core unless given.", callback=between(1, 1024))] = None,
    as_json: Json = False,
) -> None:
    """Decode every file of a data set and report hours, rates, damage and how much is labelled; of MIDI files what they hold."""
    from mousai.jobs.data import scan
    from mousai.jobs.scan_scores import scan_scores
    from mousai.symbolic.sources import holds_scores

    of_scores = holds_scores(source)
    if of_scores and workers is not None:
        raise ValueError("--workers: scores are read one after another; leave it away")
    with progress_bar("files") as progress:
        found = scan_scores(source, split, progress) if of_scores else scan(source, split, workers, progress)
    report(vars(found), str(found), as_json)


@app.command("annotate")
def data_annotate(
    source: Annotated[str, typer.Argument(help="A folder of audio, or a .jsonl manifest.")],
    out: Annotated[Path, option("The manifest to write; the same command again goes on.", "--out", "-o")],
    workers: Annotated[Optional[int], option("Processes; one a core unless given.", callback=between(1, 1024))] = None,
    beat_this: Annotated[Optional[Path], option("A checkpoint of beat_this, which then hears the beats.", "--beat-this")] = None,
    as_json: Json = False,
) -> None:
    """Hear tempo, beats, bars and key of each recording, and write a manifest that says them where they are clear."""
    from mousai.jobs.annotate import annotate

    with progress_bar("files") as progress:
        found = annotate(source, out, workers, progress, beat_this)
    report(vars(found), str(found), as_json)


@app.command("synth")
def data_synth(
    out: Annotated[Path, option("The folder to write to; the same command again goes on.", "--out", "-o")],
    count: Annotated[int, option("Clips.", callback=between(1, 10_000_000))] = 800,
    seed: Annotated[int, option("The clips follow from it.", callback=between(0, 2**63 - 1))] = 0,
    seconds: Annotated[float, option("Length of a clip.", callback=between(1, 600))] = 12.0,
    workers: Annotated[Optional[int], option("Processes; one a core unless given.", callback=between(1, 1024))] = None,
    format: Annotated[str, option("opus, ogg, flac, wav; mid for scores alone, without sound.")] = "opus",
    soundfont: Annotated[Optional[str], option("An .sf2 or .sf3 file that plays it, or `auto` for an installed one; else the set's own instruments.")] = None,
    stems: Annotated[bool, option("Each part to a file of its own, too.")] = False,
    scores: Annotated[bool, option("Each piece's MIDI file beside it, too.")] = False,
    as_json: Json = False,
) -> None:
    """Compose and render a practice set that is free of licences, with captions."""
    from mousai.jobs.synth import synthesise

    with progress_bar("clips") as progress:
        made = synthesise(out, count, seed, seconds, workers, format, progress, soundfont, stems, scores)
    played = f", played by {made.soundfont}" if made.soundfont else ""
    report(vars(made), f"{made.made} clips made, {made.kept} kept, {made.hours:.2f} h in all{played}: {made.manifest}", as_json)
