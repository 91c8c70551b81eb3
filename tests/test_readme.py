"""The commands of README.md and of pages of docs/, in their order and as they are written but for the numbers that would take hours."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mousai.cli import main as cli

ROOT = Path(__file__).parent.parent
SHORTER = [
    (r"data synth (.*)--count \d+$", r"data synth \1--count 18 --seconds 4"),
    (r"data synth (.*)--count \d+ --seconds 14", r"data synth \1--count 48 --seconds 14"),
    (r"^(mousai train .*) --minutes \d+", r"\1"),
    (r"^(mousai train .*)", r"\1 --set train.steps=2 --set train.batch_size=2"),
    (r"^(mousai render .*) --minutes \d+", r"\1 --seconds 20"),
    (r"^(mousai extend .*) --seconds \d+", r"\1 --seconds 8"),
    (r"^(mousai evaluate prompts .*)", r"\1 --per-class 1 --seeds-per-prompt 1 --seconds 4 --split all"),
    (r"--steps \d+", "--steps 2"),
    (r"^(mousai (?:render|extend) (?!.*--status).*)", r"\1 --steps 2"),
    (r"^(mousai render .*) --seconds 40", r"\1 --seconds 20"),
    (r"--best-of \d+", "--best-of 2 --seconds 2"),
    (r"^(mousai audition .*) --seconds \d+", r"\1 --seconds 1.5"),
    (r"--bars \d+(?![\d-])", "--bars 16"),
    (r"^(mousai compose --prompts .*)", r"\1 --bars 2"),
    (r"^(mousai compose .*) --seconds \d+", r"\1 --seconds 8"),
    (r"--count 8000", "--count 20"),
]
PAGES = {  # and how many commands each has at least
    "README.md": 20,
    "docs/training.md": 8,
    "docs/generate.md": 8,
    "docs/data.md": 4,
    "docs/muse.md": 12,
    "docs/symbolic.md": 12,
    "docs/music.md": 1,
    "docs/extending.md": 6,
}
# What makes environments, or needs several devices, a SoundFont, the network, or a run of the reader's own.
ELSEWHERE = re.compile(r"source |export |pip |python |tools/demo|tools/test|tools/chaos|accelerate |OMP_NUM_THREADS=1 accelerate |sbatch |.*--soundfont |.*laion/")


def commands(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not ELSEWHERE.match(line)]


def own_files(folder: Path) -> None:
    """What the pages say is the reader's own: a recording, a folder of them, a list, prompts."""
    (folder / "music").mkdir()
    for index, path in enumerate([folder / "recording.wav", *(folder / f"music/{name}.flac" for name in "abc")]):
        time = np.arange(48000 * 4) / 48000
        beat = np.exp(-8 * (time % 0.5))
        soundfile.write(path, 0.2 * beat * np.sin(2 * np.pi * (220 + 55 * index) * time), 48000)
    rows = [{"file": f"music/{name}.flac", "split": "valid" if name == "c" else "train", "genre": "calm"} for name in "abc"]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompts.txt").write_text("# two of them\nslow piano\n\ncalm strings\n")


def run(line: str) -> None:
    """A command in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.main(shlex.split(line)[1:])
    assert not caught.value.code, line


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs_after_the_one_before_it(page, tmp_path, monkeypatch):
    for folder in ("recipes", "samples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    if page != "README.md":
        own_files(tmp_path)
    if page == "docs/extending.md":
        monkeypatch.syspath_prepend(ROOT / "samples" / "extension")
    lines = commands(page)
    assert len(lines) >= PAGES[page] and all(line.startswith("mousai ") for line in lines)
    for line in lines:
        for pattern, replacement in SHORTER:
            line = re.sub(pattern, replacement, line)
        run(line)
    if page == "README.md" and (ROOT / ".git").exists():  # whoever takes the tour in a clone finds it as it was
        made = [f"{path.name}/" if path.is_dir() else path.name for path in tmp_path.iterdir() if not (path.is_symlink() or (ROOT / path.name).is_symlink())]
        ignored = subprocess.run(["git", "check-ignore", "--no-index", *made], cwd=ROOT, capture_output=True, text=True).stdout.split()
        assert set(made) == set(ignored)
