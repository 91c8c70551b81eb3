"""The last steps of a long piece: its loudness, chapters, metadata, picture and job file; and a recording that stays as it is."""

from __future__ import annotations

import json
import math

import matplotlib.image
import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import soundfile
import torch

from mousai import load
from mousai.audio import io
from mousai.audio.growing import GrowingWav
from mousai.jobs.evaluate_seams import evaluate_seams
from mousai.jobs.render.finish import FACTS, finish
from mousai.jobs.render.job import render
from mousai.jobs.render.plan import targets_of
from mousai.pictures.overview import Overview
from mousai.pipelines.long_form import Rendering
from mousai.request.piece import Piece

RATE = 48000
SETTINGS = {"steps": 2, "codec_steps": 1, "window": 1.5, "format": "wav"}


@pytest.fixture(scope="module")
def cascade(tiny_cascade):
    return load(tiny_cascade)


@pytest.fixture
def no_picture(monkeypatch):
    monkeypatch.setattr(Overview, "add", lambda *_: None)
    monkeypatch.setattr(Overview, "save", lambda _, path: path.write_bytes(b"picture"))


def music(seconds, drums=0.15, seed=0):
    """Plucked tones over noise and drums that stick out of them, `(2, s)`."""
    noise, size = torch.Generator().manual_seed(seed), round(seconds * RATE)
    drum = scipy.signal.sosfilt(scipy.signal.butter(4, 9000, fs=RATE, output="sos"), torch.randn(RATE, generator=noise).numpy())
    audio, time = 0.02 * torch.randn(2, size + RATE, generator=noise), torch.arange(RATE) / RATE
    for beat in range(0, size, RATE // 2):
        tone = 0.2 * (-4 * time).exp() * (2 * torch.pi * 110 * 2 ** torch.randint(0, 3, (1,), generator=noise) * time).sin()
        audio[:, beat : beat + RATE] += tone + drums * (-60 * time).exp() * torch.from_numpy(drum).float()
    return audio[:, :size]


def finished(folder, cascade, audio, **more):
    """The target and what its job says, of a piece whose audio is `audio`."""
    values = {"prompt": "slow piano", "seconds": audio.shape[-1] / RATE} if "sections" not in more else {}
    (target,) = targets_of([Piece.from_dict(values | SETTINGS | more)], folder, None)
    made_from = dict.fromkeys(FACTS, "so") | {"asked": target.asked, "recording": None}
    with GrowingWav(folder / "audio.wav", RATE, 2) as wav:
        wav.append(audio)
        made = finish(target, Rendering(cascade, target.piece), wav, made_from, lambda *_: None)
    assert made == json.loads(target.job.read_text(), parse_constant=pytest.fail)
    assert not list(folder.glob("*.tmp-*"))
    return target, made


def true_peak_db(audio):
    return 20 * math.log10(np.abs(scipy.signal.resample_poly(audio.numpy(), 4, 1, axis=1)).max())


@pytest.mark.parametrize("target_lufs, ceiling, drums", [(-14, -1, 0.15), (-14, -1, 0.4), (-23, -6, 0.15), (-9, -0.3, 0.02)])
def test_the_target_s_loudness_under_the_ceiling(target_lufs, ceiling, drums, cascade, tmp_path, no_picture):
    target, made = finished(tmp_path, cascade, music(12, drums), loudness=target_lufs, true_peak=ceiling)
    audio = io.read(target.file, RATE, 2)
    assert abs(pyloudnorm.Meter(RATE).integrated_loudness(audio.T.numpy()) - target_lufs) < 0.5
    assert true_peak_db(audio) <= ceiling + 0.1
    after = made["loudness"]["after"]
    assert after["integrated_lufs"] == pytest.approx(target_lufs, abs=0.2) and after["true_peak_db"] <= ceiling + 0.01


def test_drums_far_above_the_rest_are_not_crushed_for_the_target(cascade, tmp_path, no_picture):
    _, made = finished(tmp_path, cascade, music(12, drums=2.0), loudness=-14)
    gain, asked = made["loudness"]["gain"], 10 ** ((-14 - made["loudness"]["before"]["integrated_lufs"]) / 20)
    assert gain == pytest.approx(2 * asked, rel=0.01) and made["loudness"]["after"]["true_peak_db"] <= -0.99


def test_as_it_comes_leaves_samples_alone(cascade, tmp_path, no_picture):
    audio = (music(3) * 32768).round().clip(-32768, 32767) / 32768
    target, made = finished(tmp_path, cascade, audio, loudness=None)
    assert torch.equal(io.read(target.file, RATE, 2), audio) and made["loudness"]["gain"] == 1
    (tmp_path / "loud").mkdir()
    target, made = finished(tmp_path / "loud", cascade, 8 * audio, loudness=None)  # no file takes that
    assert true_peak_db(io.read(target.file, RATE, 2)) <= -0.9


def test_silence_has_no_loudness(cascade, tmp_path, no_picture):
    target, made = finished(tmp_path, cascade, torch.zeros(2, RATE))
    assert not io.read(target.file, RATE, 2).any()
    assert made["loudness"]["after"] == {"integrated_lufs": None, "true_peak_db": None}


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus"])
def test_every_format_has_chapters_and_says_what_it_is(format, cascade, tmp_path, no_picture):
    sections = [{"prompt": "calm", "seconds": 2.5}, {"prompt": "Gewitter, naß 雷", "seconds": 3}, {"prompt": "long " * 40, "seconds": 2}]
    target, made = finished(tmp_path, cascade, music(7.5), sections=sections, format=format, title="Three", window=2)
    info, said = io.info(target.file), io.read_metadata(target.file)
    assert info.num_samples == 7.5 * RATE
    titles = ["calm", "Gewitter, naß 雷", ("long " * 40)[:60]]
    assert [chapter.title.rstrip() for chapter in info.chapters] == [title.rstrip() for title in titles]
    assert [chapter.sample / RATE for chapter in info.chapters] == pytest.approx([0, 2.5, 5.5], abs=0.001)
    assert [chapter["seconds"] for chapter in made["chapters"]] == [0, 2.5, 5.5]
    assert said["piece"] == made["piece"] and Piece.from_dict(said["piece"]).title == "Three"
    assert {name: said[name] for name in FACTS} == {name: made[name] for name in FACTS}
    rendering = Rendering(cascade, target.piece)
    assert said["boundaries"] == made["boundaries"] == rendering.boundaries() and said["boundaries"]["count"] > 2
    report = evaluate_seams([target.job if format == "wav" else target.file], tmp_path / "seams")
    assert report["files"][0]["boundaries"] > 2 and report["files"][0]["every"] == said["boundaries"]["every"]


def test_thirty_sections_and_the_picture(cascade, tmp_path):
    sections = [{"prompt": f"calm {index}", "seconds": 1.0 + index % 2 / 2} for index in range(30)]
    target, made = finished(tmp_path, cascade, music(37.5), sections=sections, title="Thirty")
    chapters = io.info(target.file).chapters
    assert [chapter.title for chapter in chapters] == [f"calm {index}" for index in range(30)]
    assert [chapter.sample for chapter in chapters] == [round(start * RATE) for start in target.piece.starts]
    picture = matplotlib.image.imread(target.picture)
    assert target.picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and min(picture.shape[:2]) > 300
    assert made["picture"] == target.picture.name


def test_a_stop_while_finishing_leaves_nothing_half_written(cascade, tmp_path, no_picture):
    class Enough(Exception):
        pass

    def tell(share, doing):
        if doing == "writing the file":
            raise Enough

    (target,) = targets_of([Piece.from_dict({"prompt": "calm", "seconds": 3, **SETTINGS})], tmp_path, None)
    with GrowingWav(tmp_path / "audio.wav", RATE, 2) as wav, pytest.raises(Enough):
        wav.append(music(3))
        finish(target, Rendering(cascade, target.piece), wav, dict.fromkeys(FACTS, "so") | {"asked": {}, "recording": None}, tell)
    assert [path.name for path in tmp_path.iterdir()] == ["audio.wav"]


@pytest.mark.parametrize(("prompt", "gain"), [("slow piano", 1.0), ("", 1.0), ("slow piano", 8.0)])
def test_a_recording_that_is_extended_stays_as_it_is(prompt, gain, tiny_cascade, tmp_path, no_picture):
    """However loud it is: what goes on from one that is cut off at full scale is limited, the recording is not."""
    recording = (gain * music(4.2) * 32768).round().clip(-32768, 32767) / 32768
    soundfile.write(tmp_path / "tape.flac", recording.T.numpy(), RATE, "PCM_16")
    piece = Piece.from_dict({"prompt": prompt, "seconds": 3, "extend": str(tmp_path / "tape.flac"), "title": "on", "loudness": None, **SETTINGS})
    assert render([piece], tiny_cascade, tmp_path / "out").code == 0
    audio, same = io.read(tmp_path / "out/on.wav", RATE, 2), recording.shape[-1] - round(0.03 * RATE)
    assert audio.shape[-1] == recording.shape[-1] + 3 * RATE
    assert torch.equal(audio[:, :same], recording[:, :same])
    assert gain == 1 or true_peak_db(recording) > 0 > true_peak_db(audio[:, recording.shape[-1] :])
    made = json.loads((tmp_path / "out/on.job.json").read_text())
    assert [chapter["title"] for chapter in made["chapters"]] == ["tape.flac", prompt] and made["chapters"][1]["seconds"] == pytest.approx(4.2)
    assert made["recording"]["file"] == "tape.flac" and made["boundaries"]["first"] > 4.2
    assert [chapter.title for chapter in io.info(tmp_path / "out/on.wav").chapters] == ["tape.flac", prompt]
