"""The command line as a user meets it: quick and light help, one line and exit code 2 for wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mousai
from mousai.cli import main as cli, options

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """`python -m mousai` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "mousai", *arguments], capture_output=True, text=True, timeout=120, env=environment, **settings)


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """The one line that a command says before it exits with code 2, run in this process."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    assert caught.value.code == 2, captured.err
    assert captured.out == "" and len(captured.err.splitlines()) == 1 and captured.err.startswith("mousai: ")
    return captured.err


HEAVY = ("torch", "numpy", "scipy", "transformers", "torchaudio", "librosa", "matplotlib", "accelerate")


@pytest.mark.parametrize("program", ["import mousai; dir(mousai); mousai.__version__", "from mousai.cli import main as cli\ntry: cli.main(['--help'])\nexcept SystemExit as end: assert end.code == 0"])
def test_import_and_help_load_nothing_heavy(program: str) -> None:
    check = f"\nimport sys\nassert not [name for name in {HEAVY} if name in sys.modules]"
    done = subprocess.run([sys.executable, "-c", program + check], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_help_is_quick() -> None:
    """In processor time, which a busy machine stretches less than the clock's."""
    spent = []
    for _ in range(3):
        before = os.times()
        assert run("--help").returncode == 0
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(spent) < 0.5


def test_version_and_help_name_the_verbs() -> None:
    assert run("--version").stdout.strip() == mousai.__version__
    text = run("--help").stdout
    for verb in ("generate", "encode", "decode", "train", "cache", "data", "info", "doctor", "evaluate"):
        assert f" {verb} " in text


def test_lazy_names_are_found_and_others_are_not() -> None:
    assert "load" in dir(mousai) and "Cascade" in dir(mousai)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        mousai.lode


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["genrate", "x"], "generate"),
        (["info", "--jsn"], "--json"),
        (["train"], "recipe"),
        (["train", "none.yaml", "--out", "run"], "none.yaml"),
        (["train", "x.yaml", "--out", "run", "--time-limit", "-1"], "above 0"),
        (["train", "x.yaml", "--out", "run", "--time-limit", "nan"], "came nan"),
        (["data", "synth", "--out", "x", "--count", "0"], "from 1 to"),
        (["data", "synth", "--out", "x", "--count", "many"], "--count"),
        (["data", "scan", "no-such-folder"], "no-such-folder"),
        (["data", "scan", "x", "--workers", "0"], "from 1 to"),
        (["cache", "none.yaml"], "none.yaml"),
        (["train", "."], "--out"),
        (["train", ".", "--out", "run"], "is a folder"),
        (["info", "no-such-model"], "no-such-model"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(arguments: list[str], words: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in fails(capsys, *arguments)
    assert os.listdir(tmp_path) == []


def test_wrong_input_of_a_whole_process(tmp_path: Path) -> None:
    done = run("info", str(tmp_path / "none"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and len(done.stderr.splitlines()) == 1
    debugged = run("info", str(tmp_path / "none"), "--debug", cwd=tmp_path)
    assert debugged.returncode == 1 and "Traceback" in debugged.stderr


@pytest.mark.parametrize(("error", "code", "words"), [(KeyboardInterrupt(), 130, "interrupted"), (OSError(28, "No space left on device", "x.wav"), 2, "x.wav: No space left on device"), (MemoryError(), 2, "not enough memory"), (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "not enough memory"), (ImportError("no module x\nin two lines"), 2, "no module x in two lines")])
def test_what_is_thrown_in_a_job_ends_in_one_line(error: BaseException, code: int, words: str, monkeypatch, capsys) -> None:
    def fail(place: str) -> None:
        raise error

    monkeypatch.setattr("mousai.jobs.info.describe", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main(["info", "x"])
    assert caught.value.code == code
    captured = capsys.readouterr().err
    assert words in captured and len(captured.splitlines()) == 1


def test_a_process_whose_peers_have_died_ends_in_one_line(monkeypatch, capsys) -> None:
    def fail(place: str) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4242")

    monkeypatch.setattr("mousai.jobs.info.describe", fail)
    with pytest.raises(RuntimeError, match="closed by peer"):  # alone it is a fault of ours
        cli.main(["info", "x"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as caught:
        cli.main(["info", "x"])
    assert caught.value.code == 130 and capsys.readouterr().err == "mousai: interrupted; what was finished is kept\n"


def test_a_fault_of_ours_is_not_dressed_up_as_wrong_input(monkeypatch) -> None:
    monkeypatch.setattr("mousai.jobs.info.describe", lambda place: {}["x"])
    with pytest.raises(KeyError):
        cli.main(["info", "x"])


def test_what_others_wrote_is_escaped_wherever_it_is_shown(tmp_path: Path) -> None:
    """By a process whose output holds ASCII alone: that stops nothing either."""
    (tmp_path / "list.jsonl").write_text(json.dumps({"file": "a.wav", "split": "\x1b[31mred \x9b1m 音"}))
    import soundfile

    soundfile.write(tmp_path / "a.wav", [[0.1, 0.1]] * 800, 8000)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "MOUSAI_CACHE": str(tmp_path / "cache")}
    for arguments in (["data", "scan", "list.jsonl"], ["data", "scan", "list.jsonl", "--json"], ["data", "scan", "no\x1b[31m"]):
        done = subprocess.run([sys.executable, "-m", "mousai", *arguments], cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True)
        said = done.stdout + done.stderr
        assert b"\x1b" not in said and b"\x9b" not in said and b"Traceback" not in said and said.isascii() and b"[31m" in said, said
    assert done.returncode == 2


@pytest.mark.parametrize("delay", ["mousai.cli.main", "torch"])
def test_an_interruption_while_importing_is_one_line(tmp_path: Path, delay: str) -> None:
    """A library that takes its time, in which Ctrl-C is pressed."""
    program = f"""if True:
        import os, runpy, signal, sys
        class Slow:
            def find_spec(self, name, path=None, target=None):
                if name == {delay!r}:
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Slow())
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["mousai", "generate", "calm", "--out", {str(tmp_path)!r}]
        runpy.run_module("mousai", run_name="__main__", alter_sys=True)"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.startswith("mousai: interrupted") and len(done.stderr.splitlines()) == 1, done.stderr


def test_libraries_speak_in_their_own_name_and_matplotlib_of_no_home() -> None:
    program = "import logging\nfrom mousai.cli.options import prepare_output\nprepare_output()\nlogging.getLogger('tokenizers.x').warning('no \\x1b[31m home')\nlogging.getLogger('mousai.data').warning('skipped x')\nimport matplotlib"
    environment = {key: value for key, value in os.environ.items() if key != "MPLCONFIGDIR" and not key.startswith("XDG_")} | {"HOME": "/dev/null/nobody"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.stderr == "tokenizers: no \\x1b[31m home\nmousai: skipped x\n"
    program = "import warnings\nfrom mousai.cli.options import prepare_output\nprepare_output()\nwarnings.warn_explicit('old\\n \x1b[31m way', FutureWarning, '/lib/site-packages/torch/nn/x.py', 3)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "torch: old \\x1b[31m way\n"


def test_synth_says_what_it_made(tmp_path: Path) -> None:
    done = run("data", "synth", "--out", str(tmp_path / "set"), "--count", "2", "--seconds", "1", "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["made"] == 2 and made["kept"] == 0
    assert len(Path(made["manifest"]).read_text().splitlines()) == 2
    assert json.loads(run("data", "synth", "--out", str(tmp_path / "set"), "--count", "2", "--seconds", "1", "--json").stdout)["kept"] == 2
    refused = run("data", "synth", "--out", str(tmp_path / "other"), "--soundfont", str(tmp_path / "none.sf2"))
    assert refused.returncode == 2 and "expected an .sf2 or .sf3 file" in refused.stderr and not (tmp_path / "other").exists()


def test_a_long_job_says_which_part_begins_and_every_minute_how_far_it_is(monkeypatch, capsys) -> None:
    with options.phases() as begin:
        tell = begin("measuring noise: clips")
        tell(1, 3)
        monkeypatch.setattr(options, "LINE_SECONDS", -1.0)
        tell(2, 3)
        begin("drawing")
    assert capsys.readouterr().err.splitlines() == ["mousai: measuring noise", "mousai: measuring noise: clips 2 of 3", "mousai: drawing"]
