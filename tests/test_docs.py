"""The code blocks of README.md and docs/: command lines are parsed by the real command line, Python blocks are run."""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from mousai.cli import main as cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "recipes").rglob("*.md")), *sorted((ROOT / "samples").rglob("*.md"))]

TESTED_ELSEWHERE = {"docs/diffusion.md"}  # tests/diffusion/test_docs.py


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Where each block of a language stands, and its text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: found.start()].count("\n") + 2
            yield f"{page.relative_to(ROOT)}:{line}", found[1]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of the shell blocks, in words, comments and variables before it left out."""
    for place, text in blocks("(?:bash|sh|shell)"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield f"{place} {shlex.join(words)[:60]}", words


def programs() -> Iterator[tuple[str, str]]:
    """The Python blocks of each page, which run from top to bottom as one program."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        found = [text for place, text in blocks("python") if place.split(":")[0] == name]
        if found and name not in TESTED_ELSEWHERE:
            yield name, "\n".join(found)


COMMANDS, PROGRAMS = dict(commands()), dict(programs())


def parse(arguments: list[str]) -> None:
    """Goes through the arguments of `mousai` as a call would, and runs nothing."""
    command, name = get_command(cli.app), "mousai"
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(command.context_class(command, info_name=name), arguments)
    command.make_context(name, arguments)


@pytest.mark.parametrize("place", COMMANDS)
def test_a_command_line_is_one_that_exists(place: str) -> None:
    words = COMMANDS[place]
    if "mousai" in words and words[0] in ("mousai", "accelerate", "torchrun", "python", ".venv/bin/mousai", ".venv/bin/python"):
        parse([word for word in words[words.index("mousai") + 1 :] if word not in ("--debug", "--trust")])  # which may stand anywhere
    elif words[0].startswith(("tools/", ".ci/", "./")):
        assert os.access(ROOT / words[0], os.X_OK), f"{words[0]} is not there"
    for word in words:
        if re.match(r"(recipes|tools|samples|docs|tests)/[\w/.-]*\.\w+$", word):
            assert (ROOT / word).exists(), f"{word} is not there"


def test_a_command_line_that_does_not_exist_is_noticed() -> None:
    for line in ("mousai genrate x", "mousai train --out x", "mousai info --what"):
        with pytest.raises(TyperException):
            parse(line.split()[1:])
    parse(["data", "synth", "--out", "x"])


def test_verbs_and_options_that_the_text_names_exist() -> None:
    """Such as `mousai info FILE --json`, in the midst of a sentence; arguments may be left away there."""
    named = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        named += [(page, span) for span in re.findall(r"`mousai ([a-z][^`\n]*)`", text)]
    assert len(named) > 50
    for page, span in named:
        command, words = get_command(cli.app), shlex.split(span.partition(" -- ")[0])
        while words and words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        options = {"--debug", "--trust", "--download", "--allow-pipe"}.union(*((*each.opts, *each.secondary_opts) for each in command.params))
        assert not hasattr(command, "commands") or not words, f"{page}: mousai {span}"
        assert all(word in options for word in words if re.match("--?[a-z]", word)), f"{page}: mousai {span}"


@pytest.fixture(scope="module")
def processes() -> Any:
    """Makes processes that have imported what takes seconds, and nothing of this one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "mousai.pipelines.load", "mousai.jobs.train", "mousai.jobs.generate"])
    return context


@pytest.mark.parametrize("place", PROGRAMS)
def test_the_python_blocks_of_a_page_run(place: str, tmp_path: Path, processes: Any) -> None:
    begin = f"import os, sys\nos.chdir({str(tmp_path)!r})\nsys.stdout = sys.stderr = open('said', 'w', buffering=1)\n"
    process = processes.Process(target=exec, args=(begin + PROGRAMS[place], {"__name__": "__main__"}))
    process.start()
    process.join(600)
    process.kill()
    assert process.exitcode == 0, (tmp_path / "said").read_text()
