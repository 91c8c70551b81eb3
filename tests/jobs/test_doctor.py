"""The doctor on this environment, and on environments that something is wrong with."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from mousai import checkpoint
from mousai.cli import main as cli
from mousai.conditioners import text
from mousai.jobs import doctor
from mousai.jobs.doctor import Finding


def test_this_environment(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    found = {finding["name"]: finding for finding in report["findings"]}
    for name in ("python", "torch", "device", "torchaudio", "audio", "packages", "processes"):
        assert found[name]["verdict"] != "broken", found[name]
    assert f"torch {importlib.metadata.version('torch')}" in found["packages"]["text"]
    assert found["torch"]["text"].startswith(torch.__version__)
    assert "2 launched are really 2" in found["processes"]["text"]
    assert report["broken"] == [finding["name"] for finding in report["findings"] if finding["verdict"] == "broken"]
    assert caught.value.code == (1 if report["broken"] else 0)


def test_what_is_broken_is_said_with_advice_and_code_1(monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: iter([Finding("a", "ok", "fine"), Finding("b", "broken", "bad", "do this")]))
    with pytest.raises(SystemExit) as caught:
        cli.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 1
    assert lines[0].split() == ["ok", "a", "fine"] and lines[2].split() == ["→", "do", "this"] and lines[-1] == "broken: b"


def test_processes_that_do_not_find_one_another(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "COUNT_PROCESSES", "import os; print('processes 1 summed 1 pid', os.getpid())")
    (finding,) = doctor.processes()
    assert finding.verdict == "broken" and "('1', '1'" in finding.text and finding.advice


def test_processes_that_fail(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "COUNT_PROCESSES", "raise SystemExit(3)")
    (finding,) = doctor.processes()
    assert finding.verdict == "broken" and "failed with code" in finding.text


def test_packages_that_are_missing_or_too_old(monkeypatch) -> None:
    requirements = ["torch>=99", "no-such-distribution>=1", "pytest>=99; extra == 'test'", "other-missing; extra == 'x'", "numpy>=1"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    found = {finding.name: finding for finding in doctor.packages()}
    assert found["torch"].verdict == "broken" and "needs >=99" in found["torch"].text
    assert found["no-such-distribution"].verdict == "broken" and "pip install 'no-such-distribution>=1'" in found["no-such-distribution"].advice
    assert found["pytest"].verdict == "note"
    assert "other-missing" not in found
    assert found["packages"].text == f"numpy {importlib.metadata.version('numpy')}"


def test_the_shipped_model_missing_damaged_and_whole(monkeypatch, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    monkeypatch.setattr(doctor, "STARTER", folder)
    assert [finding.verdict for finding in doctor.shipped_model()] == ["broken"]
    checkpoint.save_model(folder, {}, {"codec.x": torch.zeros(10)}, "")
    (finding,) = doctor.shipped_model()
    assert finding.verdict == "ok" and checkpoint.fingerprint(folder) in finding.text
    (folder / "model.safetensors").write_bytes(b"x")
    (finding,) = doctor.shipped_model()
    assert finding.verdict == "broken" and "model.safetensors is damaged" in finding.text and finding.advice


def test_the_text_encoder_not_installed_and_altered(monkeypatch) -> None:
    monkeypatch.setattr(text, "MINILM_SHA256", "0" * 64)
    verdicts = [finding.verdict for finding in doctor.text_encoder()]
    assert verdicts == ["broken"]
    monkeypatch.setattr(text, "MINILM_PACKAGE", "no_such_package_of_ours")
    (finding,) = doctor.text_encoder()
    assert finding.verdict == "note" and "mousai[starter]" in finding.advice


def test_an_import_that_fails_is_told_in_one_line(monkeypatch) -> None:
    def fail() -> None:
        raise OSError("libx.so: cannot open\nshared object file")

    assert doctor.tried(fail) == (None, "OSError: libx.so: cannot open shared object file")
