"""The command line: each command parses, calls one job and prints what it did.

Heavy libraries are imported inside the commands. Exit codes: 0 done, 1 the doctor found something broken, 2 wrong input
(one line on stderr, `--debug` shows the traceback), 130 interrupted.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.exceptions import TyperException

import mousai
from mousai.cli import compose as cli_compose, data as cli_data, evaluate as cli_evaluate, muse as cli_muse, render as cli_render
from mousai.cli.options import Compile, Device, Dtype, Flow, Json, Listen, Model, Settings, Wordless, between, option, prepare_output, print_help, progress_bar, report, sampling_options, share_processors, stop_if_signalled
from mousai.checks import is_out_of_memory
from mousai.launch.interrupt import insist
from mousai.trust import DOWNLOADS, PIPES, allowing, trusting
from mousai.words import real_time, say

LINE_LETTERS = 2000  # of a complaint
ALLOWING = {"--download": DOWNLOADS, "--allow-pipe": PIPES}
ANYWHERE = ("--debug", "--trust", *ALLOWING)  # options that may stand before or behind a command
MEMORY_ADVICE = "use less --seconds, a smaller --batch, or --dtype bfloat16"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Text to music with a cascade of latent diffusion models.")
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_evaluate.app, name="evaluate")


def main(arguments: list[str] | None = None) -> None:
    """Runs one command and exits; the entry point of `mousai` and of `python -m mousai`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)  # behind it stands no option
    said = {flag for flag in ANYWHERE if flag in arguments[:end]}
    debug, allowed = "--debug" in said, [what for flag, what in ALLOWING.items() if flag in said]
    arguments = [argument for argument in arguments[:end] if argument not in ANYWHERE] + arguments[end:]
    prepare_output()
    signal.signal(signal.SIGTERM, _terminate)
    insist()
    try:
        with trusting("--trust" in said), allowing(*allowed):
            code = app(arguments, prog_name="mousai", standalone_mode=False)
    except TyperException as error:
        code = _complain(error.format_message() + _hint(error, arguments), error.exit_code)
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        for line in getattr(error, "problems", None) or [_in_words(error)]:  # of a job file, all that is wrong
            code = _complain(line, 2)
    except (RuntimeError, MemoryError) as error:
        if debug or not (is_out_of_memory(error) or _is_of_a_peer(error)):
            raise
        code = 130 if _is_of_a_peer(error) else _complain(f"not enough memory: {MEMORY_ADVICE}", 2)
    if code == 130:
        _complain("interrupted; what was finished is kept", code)
    sys.exit(code or 0)


def _hint(error: TyperException, arguments: list[str]) -> str:
    """What to do about a prompt or file that was taken for an option."""
    taken = next((argument for argument in arguments if re.match(r"-[^\W\d]\S|--?\S* \S", argument)), None)
    if taken is None or type(error).__name__ != "NoSuchOption":
        return ""
    return f"; what begins with a dash and is no option goes behind --: mousai {arguments[0]} … -- {taken!r}"


def _terminate(number: int, frame: object) -> None:
    sys.exit(128 + number)  # as an exception, so that half-written files are removed on the way


def _complain(text: str, code: int) -> int:
    line = " ".join(text.split())
    say(f"mousai: {line if len(line) <= LINE_LETTERS else line[:LINE_LETTERS] + '…'}", to=sys.stderr)
    return code


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _is_of_a_peer(error: BaseException) -> bool:
    """Whether another process of this launch has ended, and with it what both were doing."""
    kind, together = type(error).__name__, int(os.environ.get("WORLD_SIZE", "1")) > 1
    return together and (kind in ("DistBackendError", "DistNetworkError", "DistStoreError") or bool(re.search("gloo|Connection (closed|reset) by peer", str(error))))


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, option("Print the version.", "--version")] = False,
    debug: Annotated[bool, option("Show the traceback of an error; may stand anywhere.", "--debug")] = False,
    trust: Annotated[bool, option("Let model folders run code outside mousai; may stand anywhere.", "--trust")] = False,
    download: Annotated[bool, option("Let a text encoder that a model names be fetched; may stand anywhere.", "--download")] = False,
    allow_pipe: Annotated[bool, option("Let a data source be the output of a command, pipe:…; may stand anywhere.", "--allow-pipe")] = False,
) -> None:
    if version:
        say(mousai.__version__)
    else:
        print_help(context)


@app.command()
@sampling_options()
def generate(
    prompts: Annotated[Optional[list[str]], typer.Argument(help="What to play, a clip for each.", metavar="PROMPT...", show_default=False)] = None,
    prompts_file: Annotated[Optional[Path], option("A file with a prompt a line.", "--prompts")] = None,
    seconds: Annotated[Optional[float], option("Length; 10 unless a recording gives it.", "--seconds", "-s")] = None,
    seed: Annotated[int, option("Of the first clip; the others count on from it.")] = 0,
    out: Annotated[Optional[Path], option("A folder, or a file name for one prompt; this folder unless given.", "--out", "-o")] = None,
    format: Annotated[Optional[str], option("wav, flac, ogg, opus, mp3; wav unless the file name says another.", "--format", "-f")] = None,
    spectrogram: Annotated[bool, option("Draw a picture beside each file.", "--spectrogram")] = False,
    model: Model = "starter",
    sampling: Optional[dict[str, Any]] = None,
    init: Annotated[Optional[Path], option("A recording to vary.")] = None,
    strength: Annotated[Optional[float], option("How much of --init is made anew, above 0 to 1; 0.7 unless given.")] = None,
    inpaint: Annotated[Optional[Path], option("A recording of which a span is made anew.")] = None,
    begin: Annotated[Optional[float], option("Where the span begins, in seconds.", "--from")] = None,
    end: Annotated[Optional[float], option("Where it ends.", "--to")] = None,
    loudness: Annotated[Optional[float], option("LUFS of each clip, its true peak at -1 dBTP at most; as the model makes it unless given.")] = None,
    listen: Listen = None,
    batch: Annotated[Optional[int], option("Clips made at once.", "--batch", "-b")] = None,
    best_of: Annotated[Optional[int], option("Make so many takes of each prompt and keep the one nearest to its text.")] = None,
    joint: Annotated[Optional[str], option("The joint encoder that judges takes; starter_joint unless given.")] = None,
    flow: Flow = "auto",
    wordless: Wordless = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    as_json: Json = False,
) -> None:
    """Make music: a file for each prompt, with its recipe inside. What is not said is the model's own."""
    import time

    share_processors()
    from mousai.jobs import generate as job
    from mousai.request.clip import Request, read_prompts

    if (begin is None) != (end is None):
        raise ValueError("--from and --to belong together")
    texts = [*(prompts or ()), *(read_prompts(prompts_file) if prompts_file else ())]
    request = Request(texts, seconds, seed, batch, init, strength, inpaint, None if begin is None else (begin, end), loudness, listen, wordless=wordless, **sampling)
    how = {"flow": flow, "device": device, "dtype": dtype, "compile": compile, "spectrogram": spectrogram, "best_of": best_of, "joint": joint, "say": lambda line: say(f"mousai: {line}", to=sys.stderr)}
    made, began = [], time.perf_counter()
    try:
        with progress_bar("steps") as progress:
            for clip in job.generate(request, model, out, format, **how, progress=progress):
                made.append(clip)
                if not as_json:
                    say(clip.path, *([clip.spectrogram] if clip.spectrogram else []))
    finally:
        if made:
            summary = job.summary(made, time.perf_counter() - began)
            report(summary | {"wanted": len(request)}, job.in_words(summary), as_json)


app.command()(cli_muse.audition)
app.command()(cli_muse.library)
app.command()(cli_render.render)
app.command()(cli_render.extend)
app.command()(cli_render.replay)
app.command()(cli_compose.compose)


@app.command()
def encode(
    files: Annotated[list[Path], typer.Argument(help="Audio files.", metavar="FILE...")],
    out: Annotated[Optional[Path], option("A folder, or a .safetensors name for one file; this folder unless given.", "--out", "-o")] = None,
    model: Model = "starter",
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Turn audio into a codec's latents."""
    share_processors()
    from mousai.jobs.codec import encode as run

    _follow(run, as_json, files, model, out, device=device, dtype=dtype)


@app.command()
def decode(
    files: Annotated[list[Path], typer.Argument(help="Files of latents.", metavar="FILE...")],
    out: Annotated[Optional[Path], option("A folder, or a file name for one file; this folder unless given.", "--out", "-o")] = None,
    format: Annotated[Optional[str], option("wav, flac, ogg, opus, mp3; wav unless the file name says another.", "--format", "-f")] = None,
    steps: Annotated[Optional[int], option("Sampling steps; the codec's own number unless given.")] = None,
    seed: Annotated[int, option("Of the noise that decoding starts from.")] = 0,
    model: Model = "starter",
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Turn a codec's latents into audio, as long as what was encoded."""
    share_processors()
    from mousai.jobs.codec import decode as run

    _follow(run, as_json, files, model, out, format, steps=steps, seed=seed, device=device, dtype=dtype)


def _follow(run: Callable[..., Iterator[Any]], as_json: bool, *arguments: Any, **settings: Any) -> None:
    """Prints the files of an encoding or decoding as they come; as JSON, all of them at the end."""
    made: list[Any] = []
    try:
        with progress_bar("seconds") as progress:
            for file in run(*arguments, **settings, progress=progress):
                made.append(file)
                if not as_json:
                    say(f"{file.path}  {file.seconds:.1f} s in {file.took:.1f} s, {real_time(file.seconds / max(file.took, 1e-9))}")
    finally:
        if made and as_json:
            report({"files": [vars(file) | {"seconds": file.seconds} for file in made]}, "", as_json)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A YAML file; recipes/ has some.")],
    out: Annotated[Path, option("The folder of the run; the same one again goes on where it stopped.", "--out", "-o")],
    settings: Settings = None,
    minutes: Annotated[Optional[float], option("Plan the run: as many steps as fit, and the schedule for them.", callback=between(0, 1e6, above=True))] = None,
    time_limit: Annotated[Optional[float], option("Save and stop after so many minutes.", callback=between(0, 1e6, above=True))] = None,
    as_json: Json = False,
) -> None:
    """Train a codec on audio, or a generator on a cache of latents; also under `accelerate launch -m mousai train …`."""
    from mousai.jobs.train import train as run

    outcome = run(recipe, out, settings or (), minutes=minutes, time_limit_minutes=time_limit)
    report({**vars(outcome), "out": out}, f"step {outcome.step}, {outcome.reason}: {out}", as_json)
    stop_if_signalled(outcome.reason)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a training run; it may go on meanwhile.", metavar="RUN")],
    as_json: Json = False,
) -> None:
    """Make the model of a training run's newest state, RUN/model, anew."""
    from mousai.jobs.export import export as job

    path = job(run)
    report({"model": path}, str(path), as_json)


@app.command()
def cache(
    recipe: Annotated[Path, typer.Argument(help="The recipe of a generator; its data.cache says where the latents go.")],
    settings: Settings = None,
    batch_size: Annotated[Optional[int], option("Segments of one length encoded at once; what suits the device unless given.", callback=between(1, 4096))] = None,
    latents_of: Annotated[Optional[Path], option("Take latents from this cache of the same codec where it has them.")] = None,
    as_json: Json = False,
) -> None:
    """Encode a recipe's recordings to latents, once, for training a generator; the same command again adds what is new."""
    from mousai.jobs.cache import cache as run

    done = run(recipe, settings or (), batch_size=batch_size, latents_of=latents_of)
    text = f"{done.items} items, {done.added} of them new, {done.seconds / 3600:.2f} h, {done.skipped} files skipped: {done.folder}"
    report(vars(done), text, as_json)
    stop_if_signalled(done.reason)


@app.command()
def info(
    place: Annotated[str, typer.Argument(help="A model folder, the name of the shipped one, the folder of a training run, a cache, a MIDI or an audio file.")] = "starter",
    plot: Annotated[bool, option("Draw the curves of a training run, to curves.png in its folder.", "--plot")] = False,
    out: Annotated[Optional[Path], option("Draw them to this PNG file.", "--out", "-o")] = None,
    as_json: Json = False,
) -> None:
    """Say what a model is, how far a training run is, or how an audio file was made."""
    from mousai.config import format_yaml
    from mousai.jobs import info as job

    found = job.describe(place)
    if plot or out is not None:
        found = {**found, "curves": str(job.plot(place, out))}
    report(found, format_yaml(found).rstrip(), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, which device is used and what is wrong; exit code 1 if something is broken."""
    from dataclasses import asdict

    from mousai.jobs.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            say(f"{finding.verdict:<7}{finding.name:<15}{finding.text}")
            if finding.advice:
                say(f"{'':<7}{'':<15}→ {finding.advice}")
    broken = [finding.name for finding in findings if finding.verdict == "broken"]
    summary = f"\nbroken: {', '.join(broken)}" if broken else "\nnothing is broken"
    report({"findings": [asdict(finding) for finding in findings], "broken": broken}, summary, as_json)
    if broken:
        raise typer.Exit(1)
