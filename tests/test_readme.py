"""The commands of README.md and of every other page, in their order and as they are written but for the numbers that would take hours."""

from __future__ import annotations

import glob
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mousai.cli import main as cli
from mousai.codecs.magnitude.codec import MagnitudeCodec
from mousai.evaluation import prompts
from mousai.evaluation.genre import train_classifier

ROOT = Path(__file__).parent.parent
SHORTER = [
    (r" --soundfont \S+", ""),
    (r"--count \d{2,}", "--count 20"),  # of every style one to train on; four are held out
    (r"^(mousai data synth (?!.*--seconds).*)", r"\1 --seconds 4"),
    (r"^(mousai train .*) --minutes \d+", r"\1"),
    (r"^(mousai train .*)", r"\1 --set train.steps=2 --set train.batch_size=2"),
    (r"^(mousai generate .*) --seconds \d+", r"\1 --seconds 3"),
    (r"^(mousai generate --prompts .*)", r"\1 --seconds 2"),
    (r"^(mousai render .*) --(?:minutes|seconds) \d+", r"\1 --seconds 12"),
    (r"^(mousai extend .*) --seconds \d+", r"\1 --seconds 8"),
    (r"--per-class \d+ --seeds-per-prompt 1|(?<=evaluate prompts )(?!.*--per-class)", "--per-class 1 --seeds-per-prompt 1 "),
    (r"^(mousai evaluate prompts .*)", r"\1 --seconds 4 --split all"),
    (r"--listen \d+", "--listen 1"),
    (r" --steps \d+", ""),
    (r"^(mousai (?:generate|render|extend|evaluate prompts) (?!.*--status).*)", r"\1 --steps 2"),
    (r"--best-of \d+", "--best-of 2 --seconds 2"),
    (r"^(mousai audition .*) --seconds \d+", r"\1 --seconds 1.5"),
    (r"--bars \d+(?![\d-])", "--bars 8"),
    (r"^(mousai compose (?!.*--(?:bars|seconds|prompts) ).*)", r"\1 --bars 16"),
    (r"^(mousai compose --prompts .*)", r"\1 --bars 2"),
    (r"^(mousai compose .*) --seconds \d+", r"\1 --seconds 8"),
]
ELSEWHERE = {  # what is not run here, and why
    r"source |export |pip |tools/": "it makes environments, or is a tool that tests of its own look after",
    r"python tools/bench/": "it takes hours; tests/tools",
    r"accelerate |sbatch ": "it wants several processes, devices or machines; tests/launch",
    r".*laion/|.*stabilityai/": "it wants weights from the network",
    r".*models/stable-audio-3": "it wants weights of gigabytes; tests/released",
}
OWN = ("recording.wav", "take.wav", "music", "list.jsonl", "music.jsonl", "prompts.txt", "card.md", "night.yaml", "nights.jsonl")  # the reader's, as a page has to say
TOUR = ("README.md", "samples/README.md", "samples/scores/README.md")  # whoever follows these in a clone finds it as it was
TWENTY = "tools/bench/twenty_pieces.jsonl"


def commands(page: str) -> list[str]:
    """The commands of a page's shell blocks that can be run here, a line each."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash|sh|shell)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"^(?:[A-Z_]+=\S* )+", "", line.strip()) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines = [shlex.join(shlex.split(line, comments=True)) for line in lines]
    return [line for line in lines if line and not any(re.match(pattern, line) for pattern in ELSEWHERE)]


PAGES = [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "samples").rglob("*.md")))]
PAGES = [page for page in PAGES if commands(page)]


def own_files(page: str, folder: Path) -> None:
    """What a page says that the reader has: recordings, a list of them, prompts, files that the page shows, a model trained by another page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (folder / "music").mkdir()
    for index, path in enumerate([folder / "recording.wav", *(folder / f"music/{name}.flac" for name in "abc")]):
        seconds = np.arange(48000 * 24) / 48000
        beat = np.exp(-8 * (seconds % 0.5))
        soundfile.write(path, 0.2 * beat * np.sin(2 * np.pi * (220 + 55 * index) * seconds), 48000)
    (folder / "take.wav").symlink_to("recording.wav")
    rows = [{"file": f"music/{name}.flac", "split": "valid" if name == "c" else "train", "genre": "calm"} for name in "abc"]
    for name in ("list.jsonl", *(["music.jsonl"] if "a manifest of recordings of your own" in text else ())):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompts.txt").write_text("# two of them\nslow piano\n\ncalm strings\n")
    (folder / "card.md").write_text("# A composer\n")
    for kind, name in (("yaml", "night.yaml"), ("json", "nights.jsonl")):
        if f"`{name}`" in text:
            shown = re.search(rf"`{re.escape(name)}`:\n\n```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]
            (folder / name).write_text(shorter(shown, 8))
    if "runs/generator/model" in text and "--out runs/generator" not in text:
        (folder / "runs/generator").mkdir(parents=True)
        (folder / "runs/generator/model").symlink_to(ROOT / "mousai/starter")


def shorter(pieces: str, seconds: int) -> str:
    """Pieces of which each section lasts so long, and a transition a second."""
    return re.sub(r"\btransition: \d+", "transition: 1", re.sub(r'\b(?:minutes|seconds)("?): [\d.]+', rf"seconds\1: {seconds}", pieces))


def run(line: str) -> None:
    """A command in this process, from its words with patterns of files as a shell has them; how long it took is printed."""
    began = time.process_time()
    words = [name for word in shlex.split(line) for name in (sorted(glob.glob(word)) if "*" in word else ()) or [word]]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        if words[0] == "python":
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(words[1], run_name="__main__")
        cli.main(words[1:])
    print(f"{time.process_time() - began:.1f} s: {line}")
    assert not caught.value.code, line


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_after_the_one_before_it(page, tmp_path, monkeypatch):
    for folder in ("recipes", "samples", "tools"):  # copies, for the clone that this is of is to stay as it is
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    for name in ("samples/day.yaml", "samples/nights.jsonl", TWENTY):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        (tmp_path / name).write_text(shorter("\n".join(lines[: 2 if name == TWENTY else None]), 20 if name == TWENTY else 8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MagnitudeCodec, "INITIAL_ITEMS", 24)  # for 192 crops
    monkeypatch.setattr(prompts, "train_classifier", lambda clips, steps, **how: train_classifier(clips, 20, **how))  # for 400: it is to answer, not to be right
    if page != "README.md":
        own_files(page, tmp_path)
    there = set(tmp_path.rglob("*"))
    if page == "docs/extending.md":
        monkeypatch.syspath_prepend(tmp_path / "samples" / "extension")
    for line in commands(page):
        for pattern, replacement in SHORTER:
            line = re.sub(pattern, replacement, line)
        run(line)
    if page in TOUR and (ROOT / ".git").exists():
        assert not unknown_to_git({str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - there if path.is_file()})


def unknown_to_git(made: set[str]) -> set[str]:
    """Which of these files would show in the `git status` of a clone; behind what is a link here git does not look."""
    made = {name for name in made if not (ROOT / Path(name).parts[0]).is_symlink()}
    ignored = subprocess.run(["git", "check-ignore", "--no-index", "-z", "--stdin"], cwd=ROOT, input="\0".join(made), capture_output=True, text=True).stdout
    return made - set(ignored.split("\0"))


def test_no_page_and_no_block_falls_out_of_what_is_run():
    found = [line for page in PAGES for line in commands(page)]
    assert len(found) > 120 and all(re.match(r"mousai |python tools/ship_part\.py ", line) for line in found)
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "samples").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"```(?:bash|sh|shell)\b", text)) == len(re.findall(r"^```(?:bash|sh|shell)\n(?:.*\n)*?```$", text, re.MULTILINE)), path
        assert str(path.relative_to(ROOT)) in PAGES or not re.search(r"^mousai [a-z]+ ", text, re.MULTILINE), path


@pytest.mark.parametrize("page", PAGES)
def test_what_is_the_readers_own_is_said_to_be(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for name in OWN:
        for line in commands(page):
            words = [word.rstrip("/") for word in shlex.split(line)]
            if name in words and words[words.index(name) - 1] == "--out":
                break  # made here
            assert name not in words or re.search(rf"`{re.escape(name)}/?`", text), f"{page}: {line}"
