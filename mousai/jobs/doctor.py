"""What is installed, what will be used, and what is wrong in words that one can act on."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from mousai import checkpoint, compat

Verdict = Literal["ok", "note", "broken"]
STARTER = checkpoint.model_folder("starter")
PROCESSES = 2
# Prints how many processes Accelerate sees and how many took part in a sum over all of them.
COUNT_PROCESSES = """
import os, torch
import torch.distributed as dist
from accelerate import PartialState
state = PartialState(cpu=True)
ones = torch.ones(())
dist.all_reduce(ones)
print(f"processes {state.num_processes} summed {int(ones)} pid {os.getpid()}", flush=True)
state.destroy_process_group()
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: "ok", a "note" (mousai works, perhaps not everything) or "broken", with what to do."""

    name: str
    verdict: Verdict
    text: str
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Every finding, one after the other as it is made; the slow ones last."""
    for check in (interpreter, packages, device, torchaudio, audio_formats, text_encoder, scores, soundfont, shipped_model, processes):
        yield from check()


def interpreter() -> Iterator[Finding]:
    text = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}, {_cores()} cores"
    yield Finding("python", "ok", text)


def packages() -> Iterator[Finding]:
    """mousai's own requirements, from its metadata, against what is installed."""
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("mousai") or ()]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("mousai", "broken", "is not installed as a package", "run: pip install -e '.[starter]'")
        return
    yield Finding("mousai", "ok", f"{importlib.metadata.version('mousai')} at {Path(__file__).resolve().parent.parent}")
    good = []
    for requirement in requirements:
        optional = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not optional:
                yield Finding(requirement.name, "broken", "is not installed", f"run: pip install '{_plain(requirement)}'")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            good.append(f"{requirement.name} {version}")
        else:
            verdict: Verdict = "note" if optional else "broken"
            text = f"{version} is installed, mousai needs {requirement.specifier}"
            yield Finding(requirement.name, verdict, text, f"run: pip install '{_plain(requirement)}'")
    yield Finding("packages", "ok", ", ".join(dict.fromkeys(good)))


def device() -> Iterator[Finding]:
    """The build of torch, and the device and precision that commands use unless told otherwise."""
    torch, problem = tried(lambda: importlib.import_module("torch"))
    if problem:
        yield Finding("torch", "broken", problem, "run: pip install --force-reinstall 'torch>=2.11,<2.14'")
        return
    from mousai.device import choose_device, choose_dtype

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    yield Finding("torch", "ok", f"{torch.__version__}, built for {built}, {torch.get_num_threads()} threads")
    chosen = choose_device()
    precision = str(choose_dtype("auto", chosen)).removeprefix("torch.")
    if chosen.type == "cuda":
        memory = torch.cuda.get_device_properties(chosen).total_memory / 2**30
        text = f"{chosen} ({torch.cuda.get_device_name(chosen)}, {memory:.0f} GiB) in {precision}, {torch.cuda.device_count()} such"
        yield Finding("device", "ok", text)
    elif Path("/dev/nvidiactl").exists():
        text = f"cpu in {precision}, though this machine has an NVIDIA device"
        advice = "this torch has no CUDA in it: install a CUDA build" if not torch.version.cuda else "see what nvidia-smi says; the driver may be older than torch's CUDA"
        yield Finding("device", "note", text, advice)
    else:
        yield Finding("device", "ok", f"cpu in {precision}")


def torchaudio() -> Iterator[Finding]:
    _, problem = tried(lambda: importlib.import_module("torchaudio"))
    if problem:
        advice = "run: pip install --force-reinstall 'torchaudio>=2.11,<2.12'"
        yield Finding("torchaudio", "broken", f"cannot be imported: {problem}", advice)
    elif compat.torchaudio_extension_error is not None:
        reason = _one_line(compat.torchaudio_extension_error)
        yield Finding("torchaudio", "ok", f"works without its compiled extension, which mousai does not need ({reason})")
    else:
        yield Finding("torchaudio", "ok", "works with its compiled extension")


def audio_formats() -> Iterator[Finding]:
    soundfile, problem = tried(lambda: importlib.import_module("soundfile"))
    if problem:
        yield Finding("audio", "broken", f"soundfile cannot be imported: {problem}", "install libsndfile, or: pip install --force-reinstall soundfile")
        return
    wanted = {"WAV": ("WAV", "PCM_24"), "FLAC": ("FLAC", "PCM_24"), "Ogg Vorbis": ("OGG", "VORBIS"), "Opus": ("OGG", "OPUS")}
    lacking = [name for name, (kind, subtype) in wanted.items() if not soundfile.check_format(kind, subtype)]
    if lacking:
        text = f"{soundfile.__libsndfile_version__} cannot write {', '.join(lacking)}"
        yield Finding("audio", "note", text, "pip install --force-reinstall soundfile brings a newer libsndfile")
    else:
        yield Finding("audio", "ok", f"{soundfile.__libsndfile_version__} reads and writes {', '.join(wanted)}")


def text_encoder() -> Iterator[Finding]:
    """That transformers' encoders can be imported at all, and the packaged MiniLM weights."""
    from mousai.conditioners import text

    def encoders() -> None:
        from transformers import AutoModel, T5EncoderModel  # noqa: F401

    _, problem = tried(encoders)
    if problem:
        advice = "a torchvision that does not fit this torch is the usual cause: pip uninstall torchvision"
        yield Finding("transformers", "broken", f"its text encoders cannot be imported: {problem}", advice)
    if importlib.util.find_spec(text.MINILM_PACKAGE) is None:
        yield Finding("text encoder", "note", "that of the shipped model is not installed", "run: pip install 'mousai[starter]'")
        return
    try:
        folder = text.minilm_folder()
    except (ValueError, OSError) as error:
        yield Finding("text encoder", "broken", str(error), "see the command above, or: pip install --force-reinstall 'mousai[starter]'")
    else:
        yield Finding("text encoder", "ok", f"the MiniLM weights are whole, at {folder}")


def scores() -> Iterator[Finding]:
    """What reads and writes MIDI files."""
    lacking = [name for name in ("symusic", "miditok") if importlib.util.find_spec(name) is None]
    if lacking:
        yield Finding("scores", "note", f"{' and '.join(lacking)} not installed: no MIDI files", "run: pip install 'mousai[symbolic]'")
    else:
        yield Finding("scores", "ok", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("symusic", "miditok")))


def soundfont() -> Iterator[Finding]:
    """Which SoundFont `auto` means here."""
    from mousai.data.synth.soundfont import locate

    if importlib.util.find_spec("tinysoundfont") is None:
        yield Finding("SoundFont", "note", "tinysoundfont is not installed: mousai's own instruments play", "docs/data.md says how to install it")
        return
    try:
        yield Finding("SoundFont", "ok", f"{locate('auto')} by tinysoundfont {importlib.metadata.version('tinysoundfont')}")
    except FileNotFoundError:
        advice = "name a file with --soundfont, or install one (Debian: apt install musescore-general-soundfont-small)"
        yield Finding("SoundFont", "note", "none where distributions keep them: mousai's own instruments play", advice)


def shipped_model() -> Iterator[Finding]:
    problems = checkpoint.verify(STARTER)
    problems += [problem for name, folder in checkpoint.SHIPPED.items() if name != "starter" for problem in checkpoint.verify(folder)]
    for problem in problems:
        yield Finding("shipped model", "broken", problem, "install mousai again, or: git checkout -- mousai/starter")
    if not problems:
        yield Finding("shipped model", "ok", f"whole, fingerprint {checkpoint.fingerprint(STARTER)}, at {STARTER}")


def processes() -> Iterator[Finding]:
    """Launches two processes as training does, and counts them."""
    advice = "training in several processes would not work: see that nothing blocks connections to localhost"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES), "--no-python"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    try:
        done = subprocess.run([*command, sys.executable, "-c", COUNT_PROCESSES], capture_output=True, text=True, timeout=120, env=environment)
    except subprocess.TimeoutExpired:
        yield Finding("processes", "broken", f"{PROCESSES} processes did not find one another in 120 s", advice)
        return
    seen = set(re.findall(r"processes (\d+) summed (\d+) pid (\d+)", done.stdout))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("processes", "broken", f"launching {PROCESSES} failed with code {done.returncode}: {reason}", advice)
    elif len(seen) != PROCESSES or any(counts[:2] != (str(PROCESSES),) * 2 for counts in seen):
        yield Finding("processes", "broken", f"{PROCESSES} were launched, but they report {sorted(seen)}", advice)
    else:
        yield Finding("processes", "ok", f"{PROCESSES} launched are really {PROCESSES}, and sum over both")


def tried(action: Callable[[], object]) -> tuple[object, str]:
    """What `action` returns, and why it failed where it did: a broken library may raise any of these on import."""
    try:
        return action(), ""
    except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
        return None, _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
