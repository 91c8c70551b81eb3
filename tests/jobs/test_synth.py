"""The practice set's job: a set can be resumed and extended, is read as a source, and brings stems where asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mousai.audio import io
from mousai.data.sources import open_source
from mousai.data.synth import soundfont
from mousai.data.synth.styles import STYLES
from mousai.jobs.scan_scores import scan_scores
from mousai.jobs.synth import synthesise
from mousai.symbolic import midi
from mousai.symbolic.harmony import key_of_score
from mousai.symbolic.sources import holds_scores, open_scores
from mousai.theory import key_name

ROUND = len(STYLES)


def test_a_set_is_resumed_and_extended_and_read_as_a_source(tmp_path) -> None:
    first = synthesise(tmp_path / "set", ROUND + 2, seed=1, seconds=1.0, workers=1)
    assert (first.made, first.kept, first.soundfont) == (ROUND + 2, 0, None)
    rows = [json.loads(line) for line in first.manifest.read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train"] * ROUND + ["valid"] * 2
    files = [tmp_path / "set" / row["file"] for row in rows]
    heard = io.read(files[4])
    assert heard.shape == (2, 48000)

    times = {file: file.stat().st_mtime_ns for file in files}
    files[4].unlink()
    (tmp_path / "set/audio/000004-rock.opus.99.part").write_bytes(b"cut by a kill")
    second = synthesise(tmp_path / "set", ROUND + 4, seed=1, seconds=1.0, workers=2)
    assert (second.made, second.kept) == (3, ROUND + 1)
    assert torch.equal(io.read(files[4]), heard)
    assert all(file.stat().st_mtime_ns == time for file, time in times.items() if file != files[4])

    train, valid = open_source(second.manifest, split="train"), open_source(second.manifest, split="valid")
    assert (len(train), len(valid)) == (ROUND, 4)
    track = train.tracks[0]
    assert track.metadata["genre"] == ["classical"] and track.metadata["bpm"] == rows[0]["bpm"]
    assert track.metadata["key"] == rows[0]["key"] and track.num_samples == 48000


def test_a_damaged_clip_is_made_again(tmp_path) -> None:
    made = synthesise(tmp_path, 3, seconds=1, workers=1)
    clips = sorted((tmp_path / "audio").iterdir())
    whole = [clip.read_bytes() for clip in clips]
    clips[0].write_bytes(b"")
    clips[1].write_bytes(whole[1][: len(whole[1]) // 2])
    again = synthesise(tmp_path, 3, seconds=1, workers=1)
    assert (made.made, again.made, again.kept) == (3, 2, 1)
    assert [clip.read_bytes()[100:] == before[100:] for clip, before in zip(clips, whole)][2] and all(clip.stat().st_size > 1000 for clip in clips)


def test_stems_lie_beside_the_mix_and_sum_to_it(tmp_path) -> None:
    settings = {"seed": 1, "seconds": 2.0, "workers": 1, "format": "flac", "stems": True}
    manifest = synthesise(tmp_path, 5, **settings).manifest
    row = json.loads(manifest.read_text().splitlines()[4])
    assert row["style"] == "rock" and list(row["stems"]) == row["parts"] and "stems/000004-rock/guitar-left.flac" in row["stems"].values()
    mix, stems = io.read(tmp_path / row["file"]), [io.read(tmp_path / file) for file in row["stems"].values()]
    straight = (mix.abs() < 0.69).all(0)
    torch.testing.assert_close(sum(stems)[:, straight], mix[:, straight], atol=1e-3, rtol=0)
    (tmp_path / row["stems"]["bass"]).unlink()
    assert synthesise(tmp_path, 5, **settings).made == 1 and (tmp_path / row["stems"]["bass"]).exists()
    with pytest.raises(ValueError, match="choose another folder"):
        synthesise(tmp_path, 5, **settings | {"stems": False})


def test_a_soundfont_that_is_not_there_is_said_before_anything_is_written(tmp_path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match="expected an .sf2"):
        synthesise(tmp_path / "set", 1, soundfont=tmp_path / "none.sf2")
    monkeypatch.setattr(soundfont, "PLACES", ())
    with pytest.raises(FileNotFoundError, match="name a file"):
        synthesise(tmp_path / "set", 1, soundfont="auto")
    assert not (tmp_path / "set").exists()


def test_a_soundfont_plays_the_set_and_is_named(tmp_path) -> None:
    pytest.importorskip("tinysoundfont")
    try:
        found = soundfont.locate("auto")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    made = synthesise(tmp_path, 1, seed=1, seconds=1.0, workers=1, format="flac", soundfont="auto")
    row = json.loads(made.manifest.read_text())
    assert made.soundfont == found and row["soundfont"] == found.name and found.name in row["license"]
    plain = synthesise(tmp_path / "plain", 1, seed=1, seconds=1.0, workers=1, format="flac").manifest.parent
    assert (io.read(plain / row["file"]) - io.read(tmp_path / row["file"])).abs().max() > 0.01
    with pytest.raises(ValueError, match="choose another folder"):
        synthesise(tmp_path, 1, seed=1, seconds=1.0, workers=1, format="flac")


def test_an_interrupted_run_leaves_a_whole_smaller_set(tmp_path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path, 8, seconds=1.0, workers=1, format="flac", progress=interrupt)
    assert len(open_source(tmp_path / "manifest.jsonl")) == 3
    assert {path.suffix for path in (tmp_path / "audio").iterdir()} == {".flac"}
    assert synthesise(tmp_path, 8, seconds=1.0, workers=1, format="flac").kept == 3


def test_a_folder_of_other_settings_is_refused(tmp_path) -> None:
    synthesise(tmp_path, 1, seed=1, seconds=1.0, workers=1, format="flac")
    with pytest.raises(ValueError, match="choose another folder"):
        synthesise(tmp_path, 1, seed=2, seconds=1.0, workers=1, format="flac")


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"seconds": 0.0}, {"seconds": float("nan")}, {"seconds": 1e9}, {"workers": 0}, {"format": "mp3"}]
)
def test_bad_settings_are_named_and_nothing_is_written(tmp_path, settings) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        synthesise(tmp_path / "set", **{"count": 1, **settings})
    assert not (tmp_path / "set").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "set").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        synthesise(tmp_path / "set", 1)


def test_scores_lie_beside_the_audio_or_come_alone(tmp_path) -> None:
    made = synthesise(tmp_path / "both", 3, seed=1, seconds=4.0, workers=1, scores=True)
    rows = [json.loads(line) for line in made.manifest.read_text().splitlines()]
    scores = [midi.read(tmp_path / "both" / row["score"]) for row in rows]
    for row, score in zip(rows, scores, strict=True):
        assert key_name(*key_of_score(score)) == row["key"] and score.seconds > row["score_start"]
        bars = score.seconds_at(np.array([start for start, _ in score.bars()])) - row["score_start"]
        assert [bar for bar in bars.tolist() if 0 <= bar < 3.9] == pytest.approx([time for time in row["downbeats"] if time < 3.9], abs=2e-3)
    alone = synthesise(tmp_path / "alone", 3, seed=1, seconds=4.0, workers=1, format="mid")
    rows = [json.loads(line) for line in alone.manifest.read_text().splitlines()]
    assert [midi.read(tmp_path / "alone" / row["file"]) for row in rows] == scores and not (tmp_path / "alone/audio").exists()
    assert synthesise(tmp_path / "alone", 3, seed=1, seconds=4.0, workers=1, format="mid").kept == 3
    with pytest.raises(ValueError, match="scores alone has no sound"):
        synthesise(tmp_path / "alone", 3, format="mid", stems=True)

    found = scan_scores(alone.manifest)
    assert (found.files, found.lost, found.skipped) == (3, 0, []) and holds_scores(alone.manifest) and not holds_scores(made.manifest)
    (tmp_path / "alone/scores/broken.mid").write_bytes(b"MThd")
    folder = scan_scores(tmp_path / "alone/scores")
    assert folder.files == 3 and [name for name, _ in folder.skipped] == ["broken.mid"] and "cut or damaged" in str(folder) and holds_scores(tmp_path / "alone/scores")
    with pytest.raises(ValueError, match="holds no MIDI files"):
        open_scores(tmp_path / "both/audio")
