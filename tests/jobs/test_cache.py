"""Caching: what lands in a cache, what a second run adds, what a kill costs, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

import mousai
from mousai import config
from mousai.audio import io
from mousai.conditioners.text import TextConditioner, TextConfig
from mousai.data.cache import CacheReader, CacheWriter, locked, read_header, read_items
from mousai.data.index import index_path
from mousai.data.latents import LatentCrops
from mousai.data.loader import batches
from mousai.jobs.cache import cache
from mousai.jobs.train import generator_loss
from mousai.recipe import load_part, load_recipe

LAUNCH = """
import os, signal, sys
from mousai.data.cache import CacheWriter
from mousai.jobs.cache import cache
if sys.argv[2] == "kill":
    add, done = CacheWriter.add, []
    def killed(*arguments):
        if len(done) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(1)
        return add(*arguments)
    CacheWriter.add = killed
os.write(1, f"{cache(sys.argv[1], shard_seconds=float(sys.argv[3]))}\\n".encode())
"""


def start(*arguments, launch=()):
    env = {**os.environ, "PYTHONPATH": str(Path(mousai.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *launch, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=900)


def test_an_item_is_its_segment_s_latents_and_its_captions_tokens(generator_recipe, codec_folder, tmp_path):
    done = cache(generator_recipe)
    assert (done.items, done.added, done.skipped, done.reason) == (6, 6, 0, "done")  # 1, 1.5, 2 and 2.5 s by 1 s
    items = read_items(tmp_path / "cache")
    item = next(item for item in items if item["track"].startswith("3") and item["segment"] == [2, 2])
    assert item["split"] == "valid" and len(item["captions"]) == 3 and any("2 of 2" in text for text in item["captions"])

    codec, reader = load_part("codec", codec_folder), CacheReader(tmp_path / "cache")
    audio = io.read(tmp_path / "music/3.wav", codec.sample_rate, 2)[:, 20000:]
    expected = codec.encode(audio[None])[0]
    latents = reader.latents(item)
    assert latents.shape == expected.shape and latents.dtype == torch.float32
    torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-3)  # float16
    assert torch.equal(reader.latents(item, 7, 5), latents[:, 7:12])

    conditioner = load_recipe(generator_recipe).conditioner.build()
    for index, text in enumerate(item["captions"]):
        torch.testing.assert_close(reader.condition(item, index)["tokens"], conditioner.encode([text]).tokens[0], rtol=1e-2, atol=1e-2)


def test_a_second_run_adds_what_is_new_and_drops_what_is_gone(generator_recipe, make_music, tmp_path, monkeypatch):
    cache(generator_recipe)
    shards = {path.name for path in (tmp_path / "cache").glob("*.safetensors")}
    before = {item["id"]: item for item in read_items(tmp_path / "cache")}

    make_music(tmp_path / "music", 5)
    manifest = tmp_path / "music/music.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1]["title"] = "piano"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows if row["file"] != "0.wav"))
    done = cache(generator_recipe)
    after = {item["id"]: item for item in read_items(tmp_path / "cache")}
    assert done.added == 4  # the fifth file's three segments, and one whose title is another
    assert {item["track"] for item in after.values()} == {"1.wav", "2.wav", "3.wav", "4.wav"} and len(after) == 8
    kept = before.keys() & after.keys()
    assert len(kept) == 4 and all(before[name] == after[name] for name in kept)
    assert shards < {path.name for path in (tmp_path / "cache").glob("*.safetensors")}

    monkeypatch.setattr(CacheWriter, "add", lambda *_: pytest.fail("nothing is new"))
    assert cache(generator_recipe).added == 0


def test_a_track_counts_when_it_is_encoded_or_was_before(generator_recipe, monkeypatch, capsys):
    monkeypatch.setattr("mousai.jobs.cache.REPORT_SECONDS", -1.0)  # a line each time
    cache(generator_recipe, batch_size=1)
    lines = capsys.readouterr().err.split("\n")
    assert [line.split()[0] for line in lines if " tracks " in line] == ["1/4", "2/4", "2/4", "3/4", "3/4", "4/4", "4/4"]
    cache(generator_recipe)
    assert "\n4/4 tracks" in capsys.readouterr().err


def test_damaged_files_are_skipped_and_counted(generator_recipe, tmp_path):
    (tmp_path / "music/2.wav").write_bytes(b"RIFF and nothing more")
    done = cache(generator_recipe)
    assert (done.items, done.skipped) == (4, 1)


def test_damage_that_is_met_on_the_way_skips_the_file_and_keeps_the_rest(generator_recipe, tmp_path):
    music = tmp_path / "music"
    audio, rate = soundfile.read(music / "3.wav")
    soundfile.write(music / "3.wav", audio, rate, subtype="FLOAT")
    with open(music / "3.wav", "r+b") as file:  # 2.5 s: the second of its two segments is spoilt
        file.seek(-4000, os.SEEK_END)
        file.write(b"\xff" * 400)
    done = cache(generator_recipe)
    assert (done.items, done.skipped) == (5, 1)
    assert [item["segment"] for item in read_items(tmp_path / "cache") if item["track"] == "3.wav"] == [[1, 2]]


def test_a_name_in_another_encoding_is_cached(generator_recipe, tmp_path):
    (tmp_path / "songs").mkdir()
    shutil.copy(tmp_path / "music/1.wav", os.fsencode(tmp_path / "songs") + b"/caf\xe9 \x1b[1m.wav")
    for _ in range(2):
        assert cache(generator_recipe, [f"data.sources=[{tmp_path / 'songs'}]"]).items == 1
    assert read_items(tmp_path / "cache")[0]["track"] == "caf\udce9 \x1b[1m.wav"


def test_batches_give_what_single_segments_give(generator_recipe, tmp_path):
    """The segments of 1 s are encoded together, those of other lengths alone."""
    cache(generator_recipe, [f"data.cache={tmp_path / 'one'}"], batch_size=1)
    cache(generator_recipe, [f"data.cache={tmp_path / 'four'}"], batch_size=4)
    one, four = (CacheReader(tmp_path / name) for name in ("one", "four"))
    items, same = (read_items(tmp_path / name) for name in ("one", "four"))
    alike = {"shard": "", "crc": 0, "row": 0}  # latents differ by float rounding
    assert [item | alike for item in items] == [item | alike for item in same]
    for item, other in zip(items, same, strict=True):
        torch.testing.assert_close(four.latents(other), one.latents(item), rtol=2e-3, atol=2e-3)
        for caption in range(3):
            torch.testing.assert_close(four.condition(other, caption), one.condition(item, caption), rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match="batch_size: expected 1 or more, came 0"):
        cache(generator_recipe, batch_size=0)


def test_a_text_is_encoded_once_an_item(generator_recipe, monkeypatch):
    asked, encode = [], TextConditioner.encode
    monkeypatch.setattr(TextConditioner, "encode", lambda self, texts: asked.append(texts) or encode(self, texts))
    cache(generator_recipe, ["data.captions=40"])
    assert len(asked) == 6 and all(len(texts) == len(set(texts)) for texts in asked)


def test_a_condition_is_whole_from_the_conditioner_to_the_loss(generator_recipe, tmp_path, monkeypatch):
    """Tokens, a vector, a number and a curve of each text: what a batch tells the generator is what was said of its caption."""
    encode, build = TextConditioner.encode, TextConditioner.__init__

    def begin(self, config: TextConfig):
        build(self, config)
        self.gives = replace(self.gives, vectors={"mix": 3}, numbers=("bpm",), curves={"chroma": 2})

    def whole(self, texts):
        lengths = torch.tensor([float(len(text)) for text in texts])
        curves = {"chroma": lengths[:, None, None] + torch.arange(999).expand(2, -1)}
        return replace(encode(self, texts), vectors={"mix": lengths[:, None].expand(-1, 3) + 0.1}, numbers={"bpm": lengths}, curves=curves)

    monkeypatch.setattr(TextConditioner, "__init__", begin)
    monkeypatch.setattr(TextConditioner, "encode", whole)
    cache(generator_recipe)
    tensors = {"latents": "float16", "tokens": "float16", "vectors.mix": "float32", "numbers.bpm": "float32", "curves.chroma": "float16"}
    assert read_header(tmp_path / "cache")["tensors"] == tensors
    windows = LatentCrops(load_recipe(generator_recipe).data, "train", 0)
    batch, told = next(batches(windows, 8)), []

    class Model:
        def loss(self, latents, condition, generator, frames):
            told.append(condition)

    generator_loss(Model(), batch, torch.Generator())
    [condition] = told
    length = condition.numbers["bpm"]
    assert set(length.tolist()) <= {len(text) for item in windows.items for text in item["captions"]}
    assert torch.equal(condition.vectors["mix"], length[:, None].expand(-1, 3) + 0.1) and condition.tokens.shape[::2] == (8, 32)
    curve = condition.curves["chroma"]
    assert curve.shape == (8, 2, 64) and torch.equal(curve[..., 1:] - curve[..., :-1], torch.ones(8, 2, 63))
    assert torch.equal((curve[:, 0, 0] - length) % 1, torch.zeros(8)) and len(set((curve[:, 0, 0] - length).tolist())) > 2  # each at its own window's start


def test_the_sources_index_keeps_the_hashes(generator_recipe, tmp_path):
    cache(generator_recipe)
    known = json.loads(index_path(str(tmp_path / "music/music.jsonl"), beside=False).read_text())["files"]
    assert {name: file[3] for name, file in known.items()} == {item["track"]: item["hash"] for item in read_items(tmp_path / "cache")}


def test_a_killed_run_is_taken_up_and_nothing_is_encoded_twice(generator_recipe, tmp_path):
    whole = cache(generator_recipe, [f"data.cache={tmp_path / 'whole'}"])
    killed = start("-c", LAUNCH, generator_recipe, "kill", 0)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_items(tmp_path / "cache")) == 3  # a shard an item, the one being filled is lost
    half = tmp_path / "cache/shard-00007-000.safetensors"
    half.write_bytes(b"half a shard")
    done = cache(generator_recipe)
    assert (done.added, done.items) == (3, whole.items) and not half.exists()
    one, other = (CacheReader(tmp_path / name) for name in ("whole", "cache"))
    for item, same in zip(read_items(tmp_path / "whole"), read_items(tmp_path / "cache"), strict=True):
        assert item["id"] == same["id"] and torch.equal(one.latents(item), other.latents(same))


def test_two_processes_share_the_tracks(generator_recipe, tmp_path):
    cache(generator_recipe, [f"data.cache={tmp_path / 'one'}"])
    (tmp_path / "launch.py").write_text(LAUNCH)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = start(tmp_path / "launch.py", generator_recipe, "run", 300, launch=launch)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 2 and done.stdout.count("items=6, added=6") == 2
    assert {path.name[-16:-12] for path in (tmp_path / "cache").glob("*.safetensors")} == {"-000", "-001"}
    assert not list((tmp_path / "cache").glob("shard-*.json"))
    without = [[{**item, "shard": ""} for item in read_items(tmp_path / name)] for name in ("one", "cache")]
    assert without[0] == without[1]


def test_a_signal_ends_after_the_segment_and_what_is_done_counts(generator_recipe, tmp_path, monkeypatch):
    add = CacheWriter.add

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return add(*arguments)

    monkeypatch.setattr(CacheWriter, "add", interrupted)
    done = cache(generator_recipe)
    assert (done.reason, done.added, done.items) == ("signal", 1, 1)
    monkeypatch.undo()
    assert cache(generator_recipe).added == 5


def test_another_codec_s_or_encoder_s_cache_is_refused_in_one_line(generator_recipe, codec_folder, save_codec, codec_recipe, tmp_path):
    cache(generator_recipe)
    header = read_header(tmp_path / "cache")
    with pytest.raises(ValueError, match="was made with captions 3, the recipe has 2; remove .* or name another"):
        cache(generator_recipe, ["data.captions=2"])
    with pytest.raises(ValueError, match="was made with conditioner"):
        cache(generator_recipe, ["conditioner.max_length=12"])
    save_codec(codec_folder, seed=2)
    with pytest.raises(ValueError, match=f"was made by codec {header['codec']}, the recipe uses (?!{header['codec']})[0-9a-f]{{12}}") as caught:
        cache(generator_recipe)
    assert "\n" not in str(caught.value) and len(read_items(tmp_path / "cache")) == 6
    with pytest.raises(ValueError, match="only a recipe that trains on latents has a cache"):
        cache(codec_recipe)
    with pytest.raises(ValueError, match="is not empty and no latent cache"):
        cache(generator_recipe, [f"data.cache={tmp_path / 'music'}"])
    assert not (tmp_path / "music/.lock").exists()
    with locked(tmp_path / "free"), pytest.raises(ValueError, match="another process .* is writing to this cache"):
        cache(generator_recipe, [f"data.cache={tmp_path / 'free'}"])


def test_the_same_codec_in_a_cascade_has_the_same_fingerprint(codec_folder, tmp_path):
    from mousai import checkpoint
    from mousai.recipe import codec_fingerprint

    settings, state = checkpoint.load_model(codec_folder)
    more = {**settings, "provenance": {"step": 1}}
    checkpoint.save_model(tmp_path / "cascade", more, {**state, "generator.x": torch.ones(1)}, "# A cascade")
    assert codec_fingerprint(tmp_path / "cascade") == codec_fingerprint(codec_folder)
    changed = {**state, "codec.latent_mean": state["codec.latent_mean"] + 1}
    checkpoint.save_model(tmp_path / "other", settings, changed, "# Another")
    assert codec_fingerprint(tmp_path / "other") != codec_fingerprint(codec_folder)
    assert config.read_yaml(tmp_path / "other/config.yaml")["codec"]["type"] == "dmae"
