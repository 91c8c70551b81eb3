"""Text → vector → sound: auditions, libraries and best takes by tiny models of random weights, and what does not belong together."""

import itertools
import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import mousai
from mousai import checkpoint
from mousai.audio import io
from mousai.cli import main as cli
from mousai.conditioners.joint import Joint, JointConfig, resampled
from mousai.jobs import audition as job
from mousai.jobs.audition import Audition, audition
from mousai.jobs.info import describe
from mousai.jobs.library import library
from mousai.jobs.replay import replay
from mousai.pictures.maps import Points, flattened, map_html
from mousai.pipelines.muse import load_flow
from mousai.request.vectors import packed, unpacked
from mousai.types import SamplingSettings

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path):
    """A library of four sounds, one of them damaged."""
    place = tmp_path / "library"
    place.mkdir()
    for index in range(3):
        io.write(place / f"{index}.wav", 0.1 * torch.randn(1, 12000, generator=torch.Generator().manual_seed(index)), 16000)
    (place / "broken.wav").write_bytes(b"RIFF")
    return place


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOUSAI_CACHE", str(tmp_path / "cache"))


def test_an_audition_draws_picks_maps_and_renders_the_picks_alone(tiny_flow, tiny_told_cascade, tiny_joint, folder, tmp_path):
    out = tmp_path / "out"
    asked = Audition("slow piano", n=20, k=2, seed=4, seconds=0.3, blend=(1, 2), blend_steps=1, html=True)
    found = audition(asked, out, flow=tiny_flow, model=tiny_told_cascade, library=folder)
    assert (out / "map.png").read_bytes().startswith(PNG) and "slow piano" in (out / "map.html").read_text(encoding="utf-8")
    assert json.loads((out / "audition.json").read_text()) == found
    flow, joint = load_flow(tiny_flow), Joint(JointConfig(str(tiny_joint)))
    one, other = found["picks"]
    for pick in (one, other):
        drawn = flow.vectors("slow piano", [pick["seed"]])[0]
        kept = unpacked(pick["vector"])
        torch.testing.assert_close(kept, drawn, atol=2e-3, rtol=0)  # alone as in the batch, to half precision
        assert abs(float(kept @ joint.texts(["slow piano"])[0]) - pick["cosine_to_text"]) < 2e-3
        assert len(pick["nearest"]) == 3
        made = io.read_metadata(pick["file"])
        assert made["vector"] == pick["vector"] and made["seed"] == 4 and made["prompt"] == "slow piano"
    sounds = [io.read(row["file"], 48000, 2) for row in (one, other, found["blend"][0])]
    assert not torch.equal(sounds[0], sounds[1])  # what differs is the vector alone
    middle = F.normalize(unpacked(one["vector"]) + unpacked(other["vector"]), dim=0)
    torch.testing.assert_close(unpacked(found["blend"][0]["vector"]), middle, atol=2e-3, rtol=0)
    again = replay(one["file"], tiny_told_cascade)
    assert again.same


def test_what_lies_between_is_kept_without_music_and_no_audition_is_overwritten(tiny_flow, tmp_path):
    asked = Audition("slow piano", n=4, k=2, blend=(1, 2), blend_steps=2)
    found = audition(asked, tmp_path / "out", flow=tiny_flow)
    kept = (tmp_path / "out/audition.json").read_text()
    assert json.loads(kept) == found and [row["step"] for row in found["blend"]] == [1, 2] and "file" not in found["picks"][0]
    with pytest.raises(ValueError, match=r"audition\.json is there already, of another audition, and nothing is overwritten"):
        audition(replace(asked, seed=1), tmp_path / "out", flow=tiny_flow)
    with pytest.raises(ValueError, match=r"audition\.json is there already, of another audition"):
        audition(asked, tmp_path / "out", flow=tiny_flow, settings=SamplingSettings(guidance=2.0))
    assert audition(asked, tmp_path / "out", flow=tiny_flow) == found and (tmp_path / "out/audition.json").read_text() == kept
    (tmp_path / "own").mkdir()
    (tmp_path / "own/map.png").write_bytes(b"of somebody")
    with pytest.raises(ValueError, match=r"map\.png is there already"):
        audition(asked, tmp_path / "own", flow=tiny_flow)


def test_an_audition_that_was_stopped_goes_on_where_it_was(tiny_flow, tiny_told_cascade, tmp_path, monkeypatch):
    asked, how = Audition("slow piano", n=4, k=2, seconds=0.3), {"flow": tiny_flow, "model": tiny_told_cascade}
    whole = audition(asked, tmp_path / "whole", **how)
    clips_of = job.clips.clips_of

    def stopped(request, cascade, folder, name, *others):
        if name == "02":
            raise KeyboardInterrupt
        return clips_of(request, cascade, folder, name, *others)

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(job.clips, "clips_of", stopped)
        audition(asked, out, **how)
    assert json.loads((out / "audition.json").read_text())["unfinished"] and not (out / "02.wav").exists()
    (out / "map.png").unlink()
    first = (out / "01.wav").stat().st_ino
    again = audition(asked, out, **how)
    assert sorted(path.name for path in out.iterdir()) == ["01.wav", "02.wav", "audition.json", "map.png"] and (out / "01.wav").stat().st_ino == first
    assert job.says(again, whole) and job.says(whole, again) and json.loads((out / "audition.json").read_text()) == again
    for name in ("01.wav", "02.wav"):
        assert torch.equal(io.read(out / name, 48000, 2), io.read(tmp_path / "whole" / name, 48000, 2))


def test_what_was_removed_comes_back_and_another_model_of_the_name_is_refused(tiny_flow, tiny_told_cascade, tmp_path):
    asked, out = Audition("slow piano", n=4, k=2, seconds=0.3), tmp_path / "out"
    found = audition(asked, out, flow=tiny_flow, model=tiny_told_cascade)
    sound, kept = io.read(out / "01.wav", 48000, 2), (out / "02.wav").stat().st_ino
    (out / "map.png").unlink()
    (out / "01.wav").unlink()
    again = audition(replace(asked, html=True), out, flow=tiny_flow, model=tiny_told_cascade)
    assert again == found == json.loads((out / "audition.json").read_text()) and found["model_fingerprint"] == mousai.load(tiny_told_cascade).fingerprint
    assert sorted(path.name for path in out.iterdir()) == ["01.wav", "02.wav", "audition.json", "map.html", "map.png"]
    assert torch.equal(io.read(out / "01.wav", 48000, 2), sound) and (out / "02.wav").stat().st_ino == kept
    settings, state = checkpoint.load_model(tiny_told_cascade)
    other = tmp_path / tiny_told_cascade.name
    checkpoint.save_model(other, settings, {name: 2 * value for name, value in state.items()}, "# Another")
    with pytest.raises(ValueError, match="of another audition"):
        audition(asked, out, flow=tiny_flow, model=other)
    (out / "audition.json").write_text(json.dumps({name: value for name, value in found.items() if name != "model_fingerprint"}))  # as of before
    assert "model_fingerprint" not in audition(asked, out, flow=tiny_flow, model=tiny_told_cascade)


def test_a_model_that_is_told_no_vectors_gives_each_pick_the_nearest_of_several_takes(tiny_flow, tiny_cascade, tiny_joint, tmp_path, capsys):
    arguments = ("audition", "slow piano", "-n", 9, "--k", 2, "--seed", 4, "--seconds", 0.3, "--flow", tiny_flow, "--model", tiny_cascade, "--takes", 5)
    code, text, _ = run(capsys, *arguments, "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out/audition.json").read_text())
    assert code == 0 and "tiny is told no vectors: of 5 takes of the words each pick has the one that sounds most like it" in text
    joint, cascade = Joint(JointConfig(str(tiny_joint))), mousai.load(tiny_cascade)
    takes = torch.cat([cascade.generate("slow piano", 0.3, 4 + index) for index in range(5)])
    vectors = joint.audio(resampled(takes, cascade.sample_rate, joint.sample_rate))
    rows = found["picks"]
    cosines = torch.stack([unpacked(row["vector"]) for row in rows]) @ vectors.T
    seeds = [row["take_seed"] for row in rows]
    best = max(itertools.permutations(range(5), 2), key=lambda pair: float(cosines[0, pair[0]] + cosines[1, pair[1]]))
    assert seeds == [4 + place for place in best] and found["takes"] == 5 and not found["told_vectors"]
    for index, row in enumerate(rows):
        made = io.read_metadata(row["file"])
        assert made["seed"] == row["take_seed"] and made["nearest_to"]["vector"] == row["vector"] and "vector" not in made
        assert row["cosine_to_take"] == pytest.approx(float(cosines[index, best[index]]), abs=1e-3)
        assert replay(row["file"], tiny_cascade).same
    assert describe(tmp_path / "out")["picks"] == [{name: value for name, value in row.items() if name != "vector"} for row in rows]


def test_vectors_are_drawn_without_being_asked_for_and_replayed_with_the_batch(tiny_flow, tiny_told_cascade, tmp_path, capsys, monkeypatch):
    arguments = ("generate", "slow piano", "fast dance", "slow piano", "--model", tiny_told_cascade, "--seconds", 0.3, "--seed", 7, "--batch", 2, "--json")
    monkeypatch.setattr("mousai.pipelines.muse.SHIPPED", str(tiny_flow))

    def made(name, *more):
        code, text, err = run(capsys, *arguments, *more, "--out", tmp_path / name)
        return [row for row in json.loads(text)["files"]] if code == 0 else err

    drawn, flow, cascade = made("drawn"), load_flow(tiny_flow), mousai.load(tiny_told_cascade)
    vectors = flow.vectors(["slow piano", "fast dance", "slow piano"], [7, 8, 9])
    for row, vector in zip(drawn, vectors):
        torch.testing.assert_close(unpacked(row["vector"]), vector, atol=2e-3, rtol=0)
        assert row["flow"] == "tiny_flow" and row["flow_fingerprint"] == flow.fingerprint
    assert [(row.get("batch"), row.get("place"), row["read_beside"]) for row in drawn] == [(2, 0, ["fast dance"]), (2, 1, ["slow piano"]), (None, None, ["fast dance"])]
    bare, wordless = made("bare", "--flow", "none"), made("wordless", "--wordless", "--flow", tiny_flow)
    assert "vector" not in bare[0] and wordless[0]["wordless"] and wordless[0]["vector"] == drawn[0]["vector"]
    sounds = [io.read(rows[1]["path"], 48000, 2) for rows in (drawn, bare, wordless)]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(sounds, 2))
    for row in (*drawn, bare[1], wordless[1]):
        assert replay(row["path"], tiny_told_cascade).same
    plain = cascade.generate(["slow piano", "fast dance", "slow piano"], 0.3, 7, batch=2, vectors=vectors)
    torch.testing.assert_close(plain[1], sounds[0], atol=1e-4, rtol=0)
    other = damaged(tiny_flow, tmp_path / "space", other=lambda settings, state: settings.update(space="0123456789ab"))
    monkeypatch.setattr("mousai.pipelines.muse.SHIPPED", str(other))
    assert "vector" not in made("none_fits")[0]
    assert "wordless: leaves the vectors alone to be told, and there are none" in made("nothing", "--wordless")


def test_a_library_is_heard_once_and_answers(tiny_joint, folder, tmp_path, caplog, monkeypatch):
    assert describe(folder)["heard_by_starter_joint"] == 0
    io_read = io.read
    how = {"joint": JointConfig(str(tiny_joint))}
    first = library(folder, text="slow piano", k=2, **how)
    assert (first["files"], first["new"], first["skipped"], len(first["nearest"])) == (3, 3, 1, 2)
    shutil.copy(folder / "1.wav", tmp_path / "same.wav")
    like = library(folder, like=tmp_path / "same.wav", **how)
    assert like["new"] == 0 and like["nearest"][0]["file"] == "1.wav" and like["nearest"][0]["cosine"] > 0.999
    with monkeypatch.context() as patch:
        read = []
        patch.setattr("mousai.jobs.library.MOST_SECONDS", 0.5)
        patch.setattr("mousai.jobs.library.io.read", lambda *given, **how: read.append(io_read(*given, **how)) or read[-1])
        library(folder, like=tmp_path / "same.wav", **how)
    assert read[0].shape == (1, 8000)  # no more is decoded than is heard
    joint = Joint(how["joint"])
    cosines = [float(joint.audio(io.read(folder / row["file"], 16000, 1)[None])[0] @ joint.texts(["slow piano"])[0]) for row in first["nearest"]]
    assert [row["cosine"] for row in first["nearest"]] == pytest.approx(cosines, abs=1e-3) and cosines == sorted(cosines, reverse=True)
    kept = next((tmp_path / "cache" / "library").iterdir())
    whole = kept.read_bytes()
    for wrong in (b"cut", whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:]):  # the last bit of a number, too
        kept.write_bytes(wrong)
        caplog.clear()
        assert library(folder, **how)["new"] == 3 and f"heard anew: {kept} is damaged" in caplog.text
    described = describe(folder)
    assert (described["kind"], described["files"], described["seconds"], len(described["skipped"])) == ("library", 3, 2.25, 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="holds no usable audio"):
        library(empty, **how)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([*map(str, arguments)])
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_the_best_of_several_takes_is_the_nearest_to_its_text(tiny_cascade, tiny_joint, tmp_path, capsys):
    arguments = ("generate", "slow piano", "fast dance", "--model", tiny_cascade, "--seconds", 0.3, "--seed", 7)
    code, text, _ = run(capsys, *arguments, "--best-of", 3, "--joint", tiny_joint, "--out", tmp_path / "shown")
    shown = [line for line in text.splitlines() if ", the best of 3 takes by its cosine to the text, " in line]
    assert code == 0 and len(shown) == 2 and shown[0].startswith("slow-piano-")
    code, text, _ = run(capsys, *arguments, "--best-of", 2, "--joint", tiny_joint, "--out", tmp_path / "best", "--json")
    assert code == 0
    files = json.loads(text)["files"]
    joint = Joint(JointConfig(str(tiny_joint)))
    for index, (row, prompt) in enumerate(zip(files, ("slow piano", "fast dance"))):
        scores = row["best_of"]["scores"]
        assert list(scores) == [str(7 + 2 * index), str(8 + 2 * index)] and scores[str(row["seed"])] == max(scores.values())
        audio = io.read(row["path"], 16000, 2)
        assert abs(float(joint.audio(audio[None])[0] @ joint.texts([prompt])[0]) - max(scores.values())) < 0.02
        assert io.read_metadata(row["path"])["best_of"] == row["best_of"]
        assert row["batch"] == 4 and replay(row["path"], tiny_cascade, tmp_path / "again").same
    assert len(list((tmp_path / "best").iterdir())) == 2


def damaged(folder, out, **changes):
    settings, state = checkpoint.load_model(folder)
    settings.pop("format")
    for name, change in changes.items():
        change(settings, state)
    checkpoint.save_model(out, settings, state, "")
    return out


def test_what_does_not_belong_together_is_refused_in_one_line(tiny_flow, tiny_cascade, tiny_told_cascade, tiny_joint, folder, tmp_path, capsys):
    def refused(*arguments):
        code, _, err = run(capsys, *arguments)
        assert code == 2 and err.count("\n") == 1, err
        return err

    begin = ("audition", "slow piano", "-n", 4, "--k", 2, "--out", tmp_path / "out", "--flow")
    assert "is told no vectors" in refused("generate", "x", "--model", tiny_cascade, "--flow", tiny_flow, "--out", tmp_path / "out")
    assert "takes: 1 are too few for 2 files" in refused(*begin, tiny_flow, "--model", tiny_cascade, "--takes", 1)
    assert "takes: are of a model that is told no vectors" in refused(*begin, tiny_flow, "--model", tiny_told_cascade, "--takes", 3)
    assert "takes: 8 of 600 s" in refused(*begin, tiny_flow, "--model", tiny_cascade, "--takes", 8, "--seconds", 600)
    other = damaged(tiny_flow, tmp_path / "space", other=lambda settings, state: settings.update(space="0123456789ab"))
    assert "makes vectors of the space 0123456789ab" in refused(*begin, other, "--no-render")
    narrow = checkpoint.load_config(tiny_flow)["generator"] | {"features": 10}

    def shrink(settings, state):
        settings["generator"] = narrow
        for name in ("generator.network.enter.weight", "generator.network.leave.weight", "generator.network.leave.bias"):
            state[name] = state[name][:, :10].clone() if name.endswith("enter.weight") else state[name][:10].clone()

    assert "makes vectors of 10 features, the joint encoder" in refused(*begin, damaged(tiny_flow, tmp_path / "narrow", other=shrink), "--no-render")
    nan = damaged(tiny_flow, tmp_path / "nan", other=lambda settings, state: state["generator.network.leave.bias"].fill_(torch.nan))
    assert "its weights are not all numbers" in refused(*begin, nan, "--no-render")
    assert "seconds: is of music, and none is made" in refused(*begin, tiny_flow, "--no-render", "--seconds", 2)
    assert "format: is of music, and none is made" in refused(*begin, tiny_flow, "--no-render", "--format", "flac")
    assert "density compares every two vectors" in refused("audition", "slow piano", "-n", 10_001, "--pick", "density", "--no-render", "--flow", tiny_flow)
    assert "3 picks of 2 vectors" in refused("audition", "slow piano", "-n", 2, "--k", 3, "--flow", tiny_flow)
    assert "expected one of diverse" in refused(*begin, tiny_flow, "--pick", "best")
    assert "numbers of two picks" in refused(*begin, tiny_flow, "--blend", 1, 5)
    assert "vectors are sampled by euler" in refused(*begin, tiny_flow, "--no-render", "--sampler", "ddim")
    assert "has no conditioner and no generator" in refused(*begin, tiny_joint, "--no-render")
    assert "no such data source" in refused("library", tmp_path / "nowhere", "--joint", tiny_joint, "--text", "x")
    assert "give one of the two" in refused("library", folder, "--joint", tiny_joint, "--text", "x", "--like", folder / "0.wav")
    assert "give best_of too" in refused("generate", "x", "--model", tiny_cascade, "--joint", tiny_joint, "--out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    points = Points(torch.zeros(1, 2), ["one"])
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=r"needs the package plotly: `pip install 'mousai\[audition\]'`, or leave --html away"):
        map_html({}, points, tmp_path / "map.html", "x")
    with pytest.raises(ValueError, match=r"needs the package umap: `pip install 'mousai\[audition\]'`, or take pca"):
        flattened(torch.randn(9, 4), "umap")
    assert flattened(torch.randn(1, 4)).shape == (1, 2)


def test_a_map_by_principal_components_keeps_what_lies_in_a_plane():
    plane = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    axes = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1))).Q[:2]
    torch.testing.assert_close(torch.pdist(flattened(plane @ axes)), torch.pdist(plane), atol=1e-5, rtol=1e-4)


def test_vectors_survive_their_text_and_licences_follow():
    vector = F.normalize(torch.randn(256), dim=0).half().float()
    assert torch.equal(unpacked(packed(vector)), vector)
    for wrong in ("%", "AA", packed(torch.tensor([torch.nan]))):
        with pytest.raises(ValueError, match="vector: expected"):
            unpacked(wrong)


def test_weights_for_non_commercial_use_say_so_in_what_is_made(tiny_told_cascade, tmp_path):
    folder = damaged(tiny_told_cascade, tmp_path / "nc", other=lambda settings, state: settings.update(licences={"conditioner": "Apache-2.0 AND CC-BY-NC-4.0"}))
    cascade = mousai.load(folder)
    assert cascade.facts["licence"] == "conditioner under Apache-2.0 AND CC-BY-NC-4.0"
    assert "licence" not in mousai.load(tiny_told_cascade).facts
    assert describe(folder)["licences"] == {"conditioner": "Apache-2.0 AND CC-BY-NC-4.0"}
