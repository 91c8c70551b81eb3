"""tools/environment and tools/demo, with a Python that notes what it is asked to do and installs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
  -c*) exit ${UNSUITABLE:-0} ;;
  --version*) echo "Python 3.11" ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv" >> "$LOG" ;;
  "-m pip") [ "$3" = --version ] && exit 0
    echo "pip ${@: -1}" >> "$LOG"; if [ "${@: -1}" = "$BREAKS_AT" ]; then echo "no space left" >&2; exit 1; fi ;;
esac
"""
MADE = ["venv", "pip torch", "pip .[starter,test]", "pip tinysoundfont"]


class Checkout:
    """A copy of what tools/environment reads, and the log of what it did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.python = folder, folder / "log", folder / "fake" / "python"
        for name in ("tools/environment", "setup.cfg", "pyproject.toml", "constraints.txt"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        self.python.parent.mkdir()
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)

    def make(self, **settings: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "LOG": str(self.log), "PYTHON": str(self.python), **settings}
        return subprocess.run([self.folder / "tools/environment"], cwd="/", env=environment, capture_output=True, text=True)

    def did(self) -> list[str]:
        """What was done since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "a folder"  # with a space
    folder.mkdir()
    return Checkout(folder)


def test_it_is_made_once(checkout: Checkout) -> None:
    done = checkout.make()
    assert done.returncode == 0 and checkout.did() == MADE and ".venv is ready" in done.stderr
    again = checkout.make()
    assert (again.returncode, again.stdout, again.stderr, checkout.did()) == (0, "", "", [])


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml", "constraints.txt"])
def test_it_is_brought_up_to_date_when_its_requirements_change(checkout: Checkout, name: str) -> None:
    checkout.make()
    checkout.did()
    with open(checkout.folder / name, "a") as file:
        file.write("# a change\n")
    assert checkout.make().returncode == 0 and checkout.did() == MADE[1:]
    assert checkout.make().returncode == 0 and checkout.did() == []


@pytest.mark.parametrize("package", ["torch", ".[starter,test]"])
def test_a_half_made_one_is_made_anew(checkout: Checkout, package: str) -> None:
    failed = checkout.make(BREAKS_AT=package)
    assert failed.returncode == 2 and "no space left" in failed.stderr and "could not be installed" in failed.stderr
    checkout.did()
    (checkout.folder / ".venv" / "rubbish").touch()
    done = checkout.make()
    assert done.returncode == 0 and "half made" in done.stderr and checkout.did() == MADE
    assert not (checkout.folder / ".venv" / "rubbish").exists()


def test_it_does_without_soundfonts(checkout: Checkout) -> None:
    done = checkout.make(BREAKS_AT="tinysoundfont")
    assert done.returncode == 0 and "tinysoundfont could not be installed" in done.stderr and ".venv is ready" in done.stderr
    assert checkout.did() == MADE and checkout.make().returncode == 0 and checkout.did() == []


def test_one_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    checkout.make()
    checkout.did()
    (checkout.folder / ".venv/bin/python").unlink()
    assert checkout.make().returncode == 0 and checkout.did() == MADE


def test_one_that_was_moved_with_its_checkout_is_mended(checkout: Checkout) -> None:
    checkout.make()
    checkout.did()
    moved = checkout.folder.parent / "elsewhere"
    checkout.folder.rename(moved)
    checkout.folder, checkout.log, checkout.python = moved, moved / "log", moved / "fake/python"
    assert checkout.make().returncode == 0 and checkout.did() == MADE


def test_an_unsuitable_python_is_refused(checkout: Checkout) -> None:
    done = checkout.make(UNSUITABLE="1")
    assert done.returncode == 2 and "is no Python 3.11" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_the_demo_passes_its_words_on_and_asks_for_some(checkout: Checkout) -> None:
    shutil.copy(ROOT / "tools/demo", checkout.folder / "tools/demo")
    environment = {**os.environ, "LOG": str(checkout.log), "PYTHON": str(checkout.python)}

    def demo(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([checkout.folder / "tools/demo", *words], env=environment, capture_output=True, text=True)

    assert demo().returncode == 2 and not (checkout.folder / ".venv").exists()
    checkout.make()
    mousai = checkout.folder / ".venv/bin/mousai"
    mousai.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$PWD" "$@"\n')
    mousai.chmod(0o755)
    done = demo("slow piano, melancholic", "--seed", "3")
    assert done.stdout.splitlines() == [str(checkout.folder), *"generate --seconds 10 --spectrogram --out out".split(), "slow piano, melancholic", "--seed", "3"]
