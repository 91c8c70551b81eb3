"""`mousai evaluate` on a tiny cascade of random weights: the files it writes, what is in them, and wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.cli import main as cli
from mousai.data.sources import open_source
from mousai.data.synth.render import make
from mousai.data.synth.styles import STYLES
from mousai.evaluation.prompts import practice_classifier, prompts_for, recordings as recordings_of, seed_distances, tracks_by_label
from mousai.evaluation.prompts_report import CODEC, MADE, PRACTICE
from mousai.evaluation.pulse import relation
from mousai.evaluation.rows import listened
from mousai.evaluation.shares import wilson
from mousai.jobs.evaluate import evaluate_codec, evaluate_joins
from mousai.jobs.evaluate_prompts import evaluate_prompts
from mousai.request.music import in_words
from mousai.jobs.synth import synthesise

RATE = 48000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Three practice pieces of 5 s and one of 1 s, all to be judged by."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []
    for index, seconds in enumerate((5.0, 5.0, 5.0, 1.0)):
        io.write(folder / f"{index}.wav", torch.from_numpy(make(0, index, seconds)[0]), RATE)
        rows.append({"file": f"{index}.wav", "split": "valid"})
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "set.jsonl"


@pytest.fixture(scope="module")
def practice(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("practice")
    synthesise(folder, 2 * len(STYLES), seed=1, seconds=4.5, workers=1, format="flac")  # a round to learn from, one to ask for
    practice_classifier(folder / "manifest.jsonl", steps=40)
    return folder


def test_codec_writes_figures_a_table_and_a_sheet(tiny_cascade, recordings, tmp_path) -> None:
    parts: dict[str, list] = {}
    settings = dict(seconds=1.2, steps=2)
    phase = lambda what: lambda done, total: parts.setdefault(what, []).append((done, total))  # noqa: E731
    report = evaluate_codec(tiny_cascade, recordings, tmp_path / "out", batch=2, latent_noise=0.5, phase=phase, **settings)
    assert json.loads((tmp_path / "out/codec.json").read_text()) == report
    assert (tmp_path / "out/codec.png").read_bytes()[:8] == PNG
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["codec.json", "codec.md", "codec.png"]
    assert len(report["clips"]) == 3 and report["codec_steps"] == 2 and report["values_a_second"] == 8 * RATE / 1024
    ours = report["rows"]["decode(encode(x))"]
    assert len(ours["log_mel_db"]["clips"]) == 3 and 0 < ours["log_mel_db"]["mean"] < 60
    assert report["rows"]["decode(encode(x) + 0.5 × noise)"]["log_mel_db"]["clips"] != ours["log_mel_db"]["clips"]
    assert report["share_of"]["white noise"] == pytest.approx(ours["log_mel_db"]["mean"] / report["rows"]["white noise"]["log_mel_db"]["mean"])
    text = (tmp_path / "out/codec.md").read_text()
    assert report["fingerprint"] in text and "Griffin-Lim, 4 mel bands a channel every 1024 samples" in text
    assert report["original"]["lines_mid"]["mean"] == pytest.approx(1) and "| original | 1.00 |" in text and ours["lines_mid"]["mean"] < 0.9
    for steps in parts.values():
        assert steps[-1][0] == steps[-1][1] and [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert {"encoding and decoding: steps", "measuring white noise: clips"} <= parts.keys()
    again = evaluate_codec(tiny_cascade, recordings, tmp_path / "again", batch=3, **settings)
    assert again["rows"]["decode(encode(x))"]["log_mel_db"]["clips"] == pytest.approx(ours["log_mel_db"]["clips"], abs=1e-3)


def test_joins_of_a_tiny_codec(tiny_cascade, recordings, tmp_path) -> None:
    report = evaluate_joins(tiny_cascade, recordings, tmp_path, seconds=4.5, pieces=3, steps=2)
    assert json.loads((tmp_path / "joins.json").read_text()) == report
    assert [piece["seconds"] for piece in report["pieces"]] == [4.5] * 3
    assert report["stride_seconds"] == pytest.approx(64 * 1024 / RATE)
    row = report["decoding"]["level, change across"]
    assert row["decoded"]["joins"] == 9  # 211 latent frames each: joins at 64, 128 and 192
    assert row["original"]["elsewhere"] > 0 and row["decoded"]["low"] < row["decoded"]["high"]
    distance = report["encoding"]["latents, rms distance of those of windows from those of the whole"]
    assert distance["elsewhere"] < 0.5  # of unit variance: windows change little
    assert "9 joins" in (tmp_path / "joins.md").read_text()


def test_prompts_are_generated_named_heard_and_counted(tiny_cascade, practice, recordings, tmp_path) -> None:
    settings = dict(per_class=2, seeds_per_prompt=2, seconds=4.3, steps=2, guidance=2.0, codec_steps=2, batch=8)
    report = evaluate_prompts(tiny_cascade, practice, tmp_path, through_codec=True, beside=[tiny_cascade], recordings=recordings, listen=3, **settings)
    assert json.loads((tmp_path / "prompts.json").read_text()) == json.loads(json.dumps(report))
    assert (tmp_path / "prompts.png").read_bytes()[:8] == PNG
    confusion = torch.tensor(report["confusion"])
    assert confusion.sum() == 2 * len(STYLES) == len(report["clips"]) and sorted(set(confusion.sum(1).tolist())) in ([2], [0, 2])
    assert report["accuracy"] == confusion.diagonal().sum().item() / (2 * len(STYLES)) and report["chance"] == 1 / len(STYLES)
    low, high = report["interval_95"]
    assert low <= report["accuracy"] < high
    assert report["recordings"]["clips"] == len(STYLES) == report["recordings_through_codec"]["clips"]
    assert report["recordings"]["accuracy"] > report["recordings_through_codec"]["accuracy"]  # a codec of random weights ruins them
    made, other, *known = report["rows"].values()
    assert [clip["asked_bpm"] for clip in made["each"]] == [clip["asked_bpm"] for clip in other["each"]] and made["each"] != other["each"]
    assert [row["clips"] for row in known] == [len(STYLES), len(STYLES), 2 * len(STYLES)]
    assert known[0]["asked_key"] == len(STYLES) and known[2]["asked_key"] == 0 and known[2]["style_named"] is None
    assert known[0]["key_correlation"] > known[1]["key_correlation"] and made["key_correlation"] < known[0]["key_correlation"]
    assert set(report["nearest"]) == set(report["rows"]) - {"recordings"} == {*report["two_samples"], PRACTICE, CODEC}
    assert report["two_samples"][MADE]["p"] < 0.01 and report["nearest"][MADE]["median_db"] > report["nearest"][PRACTICE]["median_db"] > 0
    assert report["nearest"][CODEC]["median"] == 1  # one clip a style: each is the usual one
    text = (tmp_path / "prompts.md").read_text()
    assert "| recordings |" in text and "## Is it copied?" in text and "## Is it the set's music?" in text
    assert len(list((tmp_path / "listen").glob("*.ogg"))) == 3 * 5 and (tmp_path / "listen/listen.html").is_file()
    assert report["distances_db"]["one prompt, two seeds"]["least"] > 0
    clips = sorted((tmp_path / "clips").iterdir())
    assert len(clips) == 2 * len(STYLES)
    made, row = io.read_metadata(clips[3]), report["clips"][3]
    assert (made["prompt"], made["seed"], made["guidance"]) == (row["prompt"], 3, 2.0) and row["label"] in clips[3].name


def test_what_is_asked_of_a_model_that_is_told_tempo_and_key_is_what_it_settled_on(tiny_musical_cascade, practice, tmp_path) -> None:
    report = evaluate_prompts(tiny_musical_cascade, practice, tmp_path, per_class=1, seeds_per_prompt=1, seconds=1.0, steps=1, codec_steps=1)
    for clip, made in zip(report["rows"][MADE]["each"], sorted((tmp_path / "clips").iterdir()), strict=True):
        recipe = io.read_metadata(made)
        assert (clip["asked_bpm"], clip["asked_key"]) == (recipe["bpm"], recipe["key"]) and recipe["bpm"]


def test_only_some_styles_are_asked_for_and_named(tiny_cascade, practice, tmp_path) -> None:
    some = ["piano", "jazz"]
    report = evaluate_prompts(tiny_cascade, practice, tmp_path, per_class=1, seeds_per_prompt=1, styles=some, seconds=1.0, steps=1, codec_steps=1)
    assert sorted(clip["label"] for clip in report["clips"]) == sorted(some) and report["chance"] == 0.5
    assert {clip["named"] for clip in report["clips"]} <= {*some, "noise"}
    with pytest.raises(ValueError, match="styles: expected some of .*; came 'piono', did you mean 'piano'"):
        evaluate_prompts(tiny_cascade, practice, tmp_path, styles=["piono"])


def test_the_classifier_is_trained_once_a_set(practice) -> None:
    manifest = practice / "manifest.jsonl"
    [kept] = practice.glob("genre-classifier-*.safetensors")
    stamp = kept.stat().st_mtime_ns
    classifier, path = practice_classifier(manifest)
    assert path == kept and kept.stat().st_mtime_ns == stamp
    row = listened(recordings_of(open_source(manifest, "train"), 1, 3.0), classifier)
    assert row.right == row.labelled == len(STYLES)


@pytest.mark.parametrize("line, text", [("{", "not JSON"), ('{"file": "0.flac"}', "has no field 'duration'"), ('{"duration": "long"}', "the field 'duration' cannot be 'long'")])
def test_a_line_of_a_manifest_that_is_not_as_expected_is_named(tmp_path, line, text) -> None:
    (tmp_path / "manifest.jsonl").write_text(f'{{"duration": 3}}\n{line}\n')
    with pytest.raises(ValueError, match=f"manifest.jsonl, line 2: {text}"):
        practice_classifier(tmp_path / "manifest.jsonl")


def test_prompts_are_captions_never_the_class(practice) -> None:
    source = open_source(practice / "manifest.jsonl", "valid")
    asked = prompts_for(source, 4, 2)
    assert len(asked) == 4 * len(STYLES) and [clip.label for clip in asked[:4]] == [asked[0].label] * 4
    assert asked[0] == asked[1]
    captions = {label: {track.metadata["caption"] for track in tracks} for label, tracks in tracks_by_label(source).items()}
    for clip in asked:
        assert clip.prompt in captions[clip.label] and clip.prompt.casefold() != clip.label
    for track in source:
        track.metadata["caption"] = track.metadata["style"].replace("_", " ").upper()
    with pytest.raises(ValueError, match="no track of the class ambient has a caption"):
        prompts_for(source, 2, 1)
    with pytest.raises(ValueError, match="multiple of seeds_per_prompt 2, came 3"):
        prompts_for(source, 3, 2)


def test_tempos_and_keys_can_be_drawn_that_are_none_of_the_captions(practice) -> None:
    source = open_source(practice / "manifest.jsonl", "valid")
    tracks = {track.key: track.metadata for track in source}
    asked = prompts_for(source, 2, 1, tempos=True, keys=True)
    assert asked == prompts_for(source, 2, 1, tempos=True, keys=True) != prompts_for(source, 2, 1, tempos=True, keys=True, seed=1)
    for clip in asked:
        said, own = in_words(clip.prompt), tracks[clip.track]
        assert relation(said.bpm, own["bpm"], 0.08) is None and said.key.split()[1] == own["key"].split()[1] and said.key != own["key"]
        assert not any(word in clip.prompt.split(", ") for word in ("slow", "fast", "medium tempo"))
    assert len({in_words(clip.prompt).bpm for clip in asked}) > 8
    alone = prompts_for(source, 2, 1, keys=True)
    assert all(in_words(clip.prompt).bpm == tracks[clip.track]["bpm"] for clip in alone)


def test_equal_clips_would_be_noticed(practice) -> None:
    asked = prompts_for(open_source(practice / "manifest.jsonl", "valid"), 2, 2)[:4]
    noise = [torch.randn(2, 24000, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    found = seed_distances(asked, [noise[0], noise[0], noise[0], noise[1]])
    assert found["one prompt, two seeds"] == {"pairs": 2, "mean": pytest.approx(found["one prompt, two seeds"]["mean"]), "least": 0.0}
    assert found["one prompt, two seeds"]["mean"] > 1 and found["two classes"]["pairs"] == 4


def test_the_interval_of_a_share() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson's, from R's binom.confint
    assert wilson(0, 10)[0] == pytest.approx(0) and wilson(10, 10)[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["codec", "MODEL", "--data", "DATA", "--out", "DATA"], "is a file"),
        (["codec", "MODEL", "--data", "DATA", "--out", "out", "--seconds", "99"], "no track of 99.0 s"),
        (["codec", "MODEL", "--data", "DATA", "--out", "out", "--split", "test"], "'test'"),
        (["codec", "MODEL", "--data", "DATA", "--out", "out", "--steps", "0"], "from 1 to"),
        (["codec", "none", "--data", "DATA", "--out", "out"], "none"),
        (["codec", "MODEL", "--out", "out"], "--data"),
        (["joins", "MODEL", "--data", "DATA", "--out", "out", "--seconds", "2"], "expected at least 2.7, two of this codec's windows, came 2"),
        (["prompts", "MODEL", "--data", "nowhere", "--out", "out"], "no practice set at nowhere"),
        (["prompts", "MODEL", "--data", "DATA", "--out", "out"], "has no field 'style'"),
        (["prompts", "MODEL", "--data", "PRACTICE", "--out", "out", "--per-class", "3"], "multiple of seeds_per_prompt 2, came 3"),
        (["prompts", "MODEL", "--data", "PRACTICE", "--out", "out", "--guidance", "-1"], "guidance"),
        (["prompts", "MODEL", "--data", "PRACTICE", "--out", "out", "--classifier", "none.safetensors"], "no genre classifier at none.safetensors"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(arguments, words, tiny_cascade, recordings, practice, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": str(tiny_cascade), "DATA": str(recordings), "PRACTICE": str(practice)}
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", *(places.get(argument, argument) for argument in arguments)])
    captured = capsys.readouterr()
    assert caught.value.code == 2 and words in captured.err, captured.err
    assert [line for line in captured.err.splitlines() if line.startswith("mousai: ")] == captured.err.splitlines()[-1:]
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_its_table(tiny_cascade, recordings, tmp_path, capsys) -> None:
    settings = ["--data", str(recordings), "--out", str(tmp_path), "--seconds", "1", "--clips", "1", "--steps", "1"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", "codec", str(tiny_cascade), *settings])
    assert not ended.value.code and "| decode(encode(x)) |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "codec", str(tiny_cascade), *settings, "--json"])
    assert json.loads(capsys.readouterr().out)["evaluates"] == "codec"
