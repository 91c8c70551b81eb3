"""README.md's commands, in their order and as they are written but for the numbers that would take hours, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mousai.cli import main as cli

ROOT = Path(__file__).parent.parent
SHORTER = [
    (r"data synth (.*)--count \d+", r"data synth \1--count 48"),
    (r"^(mousai train .*) --minutes \d+", r"\1 --set train.steps=2 --set train.batch_size=2"),
    (r"^(mousai render .*) --minutes \d+", r"\1 --seconds 20"),
    (r"^(mousai extend .*) --seconds \d+", r"\1 --seconds 8"),
    (r"^(mousai evaluate prompts .*)", r"\1 --per-class 1 --seeds-per-prompt 1 --seconds 4 --split all"),
    (r"--steps \d+", "--steps 2"),
]
ELSEWHERE = ("source", "pip", "tools/demo", "tools/test", "accelerate")  # what makes environments, and needs several devices


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for line in block.splitlines()]
    return [line for line in lines if not line.startswith(ELSEWHERE)]


@pytest.mark.slow
def test_every_command_runs_after_the_one_before_it(tmp_path, monkeypatch, capsys):
    for folder in ("recipes", "samples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    lines = commands()
    assert len(lines) >= 20 and all(line.startswith("mousai ") for line in lines)
    for line in lines:
        for pattern, replacement in SHORTER:
            line = re.sub(pattern, replacement, line)
        with pytest.raises(SystemExit) as caught:
            cli.main(shlex.split(line)[1:])
        assert not caught.value.code, f"{line}\n{capsys.readouterr().err}"
