"""The cache's files and what training reads out of them."""

import json
import pickle
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from mousai.data.cache import CacheReader, CacheWriter, begin, merge, read_header, read_items
from mousai.data.items import is_item, with_row
from mousai.data.latents import LatentCrops, LatentDataConfig
from mousai.data.loader import SourceConfig, batches
from mousai.types import Condition

TENSORS = {"latents": "float16", "tokens": "float16"}
HEADER = {"codec": "3f2a3f2a3f2a", "hop": 64, "sample_rate": 16000, "tensors": TENSORS}


def fill(folder, lengths, source="music", split="train", **settings):
    """Items whose latents count their frames, `100 i + frame`, with captions of i + 1 and i + 2 tokens."""
    folder.mkdir(exist_ok=True)
    begin(folder, HEADER)
    writer = CacheWriter(folder, **settings)
    for index, frames in enumerate(lengths):
        latents = (100 * index + torch.arange(frames)).expand(3, frames)
        mask = torch.tensor([[True] * (index + 1) + [False], [True] * (index + 2)])
        condition = Condition(torch.full((2, index + 2, 5), float(index)) * mask[..., None], mask)
        writer.add({"id": f"{source}{index:03}", "source": source, "split": split}, latents.float(), condition)
    writer.flush()
    return folder


def windows(folder, split=None, seed=0, **settings):
    return LatentCrops(LatentDataConfig(**{"sources": ("music",), "cache": str(folder), "crop_frames": 8} | settings), split, seed)


def test_shards_are_bounded_and_read_back(tmp_path):
    fill(tmp_path, [16] * 10, shard_bytes=600)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) > 3
    reader, items = CacheReader(tmp_path), read_items(tmp_path)
    assert len(items) == 10
    assert torch.equal(reader.latents(items[4], 3, 2), torch.tensor([[403.0, 404.0]] * 3))
    assert torch.equal(reader.condition(items[4], 1)["tokens"], torch.full((6, 5), 4.0))
    assert torch.equal(pickle.loads(pickle.dumps(reader)).latents(items[9]), reader.latents(items[9]))


WHOLE = {"codes": "int16", "tokens": "float16", "vectors.muq": "float32", "numbers.bpm": "float32", "curves.chroma": "float16", "beats": "float32",
         "vectors.mix": "float32", "numbers.seconds": "float32", "curves.drums": "float32"}  # fmt: skip


def fill_whole(folder, lengths):
    """Items of codes that count their frames, with every part of a condition, of the captions and of the item, and a grid of beats."""
    folder.mkdir(exist_ok=True)
    begin(folder, {**HEADER, "tensors": WHOLE})
    writer = CacheWriter(folder)
    for index, frames in enumerate(lengths):
        condition = Condition(
            torch.full((2, 3, 5), 1.5), torch.tensor([[True, True, False], [True] * 3]),
            vectors={"muq": torch.tensor([[0.1 + index] * 4, [0.2 + index] * 4])}, numbers={"bpm": torch.tensor([100.1 + index, float("nan")])},
            curves={"chroma": torch.stack([sign * torch.arange(frames).expand(12, -1) for sign in (1.0, -1.0)])},
        )  # fmt: skip
        extra = {"beats": torch.tensor([0.5, 1.1, 1.7]), "vectors.mix": torch.full((6,), index + 0.3), "numbers.seconds": torch.tensor(2.7)}
        extra["curves.drums"] = 1000 * index + torch.arange(frames - 4.0)[None] / 10
        writer.add({"id": f"item{index}", "source": "music", "split": "train"}, torch.arange(frames).expand(4, -1), condition, extra)
    writer.flush()
    return folder


def test_every_named_tensor_comes_back_in_its_dtype(tmp_path):
    fill_whole(tmp_path, [20, 30])
    reader, item = CacheReader(tmp_path), read_items(tmp_path)[1]
    codes = reader.latents(item, 7, 5)
    assert codes.dtype == torch.int16 and torch.equal(codes[3], torch.arange(7, 12).short())
    parts = reader.condition(item, 1, 7, 5)
    assert parts.keys() == WHOLE.keys() - {"codes", "beats"} and all(part.dtype == torch.float32 for part in parts.values())
    assert parts["tokens"].shape == (3, 5) and torch.equal(parts["vectors.muq"], torch.full((4,), 1.2)) and parts["numbers.bpm"].isnan()
    assert torch.equal(parts["curves.chroma"], -torch.arange(7.0, 12).expand(12, -1))
    assert torch.equal(parts["vectors.mix"], torch.full((6,), 1.3)) and parts["numbers.seconds"] == torch.tensor(2.7)  # of every caption
    assert float(reader.condition(item, 0)["numbers.bpm"]) == pytest.approx(101.1, abs=1e-5)
    ends = reader.condition(item, 0, 24, 8)["curves.drums"]
    assert torch.equal(ends, 1000 + torch.tensor([[24, 25, 25, 25, 25, 25, 25, 25]]) / 10)  # 26 values, and the last one stays
    assert torch.equal(reader.condition(item, 0, 29, 2)["curves.drums"], 1000 + torch.tensor([[2.5, 2.5]]))
    assert torch.equal(reader.tensor(item, "beats"), torch.tensor([0.5, 1.1, 1.7]))


def test_a_batch_is_a_whole_condition_whose_curves_are_cut_as_the_latents_are(tmp_path):
    data = windows(fill_whole(tmp_path, [20, 30, 6]))
    batch = next(batches(data, 40))
    condition = Condition.from_parts(batch)
    assert condition.parts().keys() == {"mask", "numbers.start", *WHOLE} - {"codes", "beats"} and batch["codes"].shape == (40, 4, 8)
    for codes, frames, curve in zip(batch["codes"], batch["frames"], condition.curves["chroma"]):
        assert torch.equal(codes[:, :frames].float(), curve[:4, :frames].abs()) and (codes[:, frames:] == 0).all()
    assert condition.numbers["bpm"].isnan().any() and not condition.numbers["bpm"].isnan().all()


def test_what_the_header_does_not_name_is_not_written(tmp_path):
    begin(tmp_path, HEADER)
    condition = Condition(torch.ones(1, 2, 5), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"expected the tensors of .*cache.json, latents, tokens; came beats, latents, tokens"):
        CacheWriter(tmp_path).add({"id": "a"}, torch.ones(3, 8), condition, {"beats": torch.ones(2)})
    with pytest.raises(ValueError, match="came latents, vectors.muq"):
        CacheWriter(tmp_path).add({"id": "a"}, torch.ones(3, 8), Condition(vectors={"muq": torch.ones(1, 4)}))


def test_a_cache_of_format_1_is_read_and_grows(tmp_path):
    """As version 0.1 wrote it: no tensors in its header, latents and tokens in float16."""
    first = {name: value for name, value in HEADER.items() if name != "tensors"}
    (tmp_path / "cache.json").write_text(json.dumps({"format": 1, **first}))
    save_file({"a/latents": torch.full((3, 9), 7.0).half(), "a/tokens": torch.ones(5, 5).half()}, tmp_path / "shard-00000-000.safetensors")
    item = {"id": "a", "source": "music", "split": "train", "frames": 9, "lengths": [2, 3], "shard": "shard-00000-000.safetensors"}
    (tmp_path / "index.json").write_text(json.dumps([item]))
    fill(tmp_path, [40])  # with today's header
    assert [item["id"] for item in read_items(tmp_path)] == ["a", "music000"]
    one = CacheReader(tmp_path)
    assert (one.latents(item) == 7).all() and one.condition(item, 1)["tokens"].shape == (3, 5)
    assert len(next(batches(windows(tmp_path), 4))["latents"]) == 4
    with pytest.raises(ValueError, match="was made with tensors .*, the recipe has .*muq"):
        begin(tmp_path, {**HEADER, "tensors": {**TENSORS, "vectors.muq": "float32"}})


def test_merging_changes_nothing_but_the_files_and_drops_what_is_gone(tmp_path):
    fill(tmp_path, [16] * 4, shard_bytes=1)
    fill(tmp_path, [16] * 2, source="speech", rank=1)
    before = read_items(tmp_path)
    assert merge(tmp_path, {}) == before == read_items(tmp_path)
    assert not list(tmp_path.glob("shard-*.json")) and len(list(tmp_path.glob("*.safetensors"))) == 5
    left = merge(tmp_path, {"music": {"music001"}})
    assert [item["id"] for item in left] == ["music001", "speech000", "speech001"]
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_windows_follow_from_seed_and_number_alone(tmp_path):
    data = windows(fill(tmp_path, [40, 40, 5]))
    again, other = windows(tmp_path), windows(tmp_path, seed=1)
    for index in range(30):
        one, two = data[index], again[29 - index]
        assert torch.equal(data[29 - index]["latents"], two["latents"])
        frames = int(one["frames"])
        assert frames in (5, 8) and one["latents"].shape == (3, 8)
        first = one["latents"][0, 0]
        assert torch.equal(one["latents"][0, :frames], first + torch.arange(frames)) and (one["latents"][:, frames:] == 0).all()
        assert len(one["tokens"]) - 1 - first // 100 in (0, 1)  # a caption of the same item
    assert any(not torch.equal(data[index]["latents"], other[index]["latents"]) for index in range(3))
    starts = {float(data[index]["latents"][0, 0]) for index in range(300)}
    assert {0.0, 32.0, 100.0, 132.0, 200.0} <= starts and not starts & {33.0, 133.0}


def test_sources_are_drawn_by_weight_and_length(tmp_path):
    fill(tmp_path, [60, 20])
    fill(tmp_path, [40], source="speech", rank=1)
    weighted = (SourceConfig("music"), SourceConfig("speech", weight=3.0))
    data = windows(tmp_path, sources=weighted)
    drawn = Counter((len(data[i]["tokens"]), int(data[i]["latents"][0, 0]) // 100) for i in range(4000))
    longer = sum(count for (_, item), count in drawn.items() if item == 1)
    assert abs(longer / 4000 - 0.1) < 0.02  # 20 of 60 + 20 + 3 x 40


def test_batches_are_padded_and_masked(tmp_path):
    batch = next(batches(windows(fill(tmp_path, [40, 40, 5])), 16))
    assert batch["latents"].shape == (16, 3, 8) and batch["tokens"].shape[::2] == (16, 5) and batch["frames"].shape == (16,)
    lengths = batch["mask"].sum(1)
    assert batch["mask"].dtype == torch.bool and batch["tokens"].shape[1] == lengths.max() and (batch["tokens"][~batch["mask"]] == 0).all()
    whole = batch["latents"][:, 0, 0] // 100
    assert ((lengths - 1 - whole >= 0) & (lengths - 1 - whole <= 1)).all()


def test_splits_and_what_is_missing(tmp_path):
    fill(tmp_path, [40] * 3)
    fill(tmp_path, [40], source="held", split="valid", rank=1)
    assert windows(tmp_path, "train").longest_caption == 4 and windows(tmp_path, sources=("music", "held")).splits == ["train", "valid"]
    assert len(windows(tmp_path, "train").items) == 3 and windows(tmp_path, "train").seconds == pytest.approx(120 * 64 / 16000)
    assert [item["id"] for item in windows(tmp_path, "valid", sources=("held",)).items] == ["held000"]
    with pytest.raises(ValueError, match="nothing of split 'valid'; splits there: train"):
        windows(tmp_path, "valid")
    with pytest.raises(ValueError, match="has nothing of other; run `mousai cache` with this recipe"):
        windows(tmp_path, sources=("other",))
    with pytest.raises(FileNotFoundError, match="no latent cache in .*; run `mousai cache` first"):
        windows(tmp_path / "none")
    next(tmp_path.glob("*-000.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match="lacks shard-00000-000.safetensors"):
        windows(tmp_path)


def test_damage_is_named(tmp_path):
    data = windows(fill(tmp_path, [40]))
    shard = next(tmp_path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{shard} is damaged"):
        data[0]
    for item in ({"shard": "../../x.safetensors"}, {"frames": "many"}, {"frames": -1}, {"lengths": 3}, {"id": None}):
        (tmp_path / "index.json").write_text(json.dumps([read_items(tmp_path)[0] | item]))
        with pytest.raises(ValueError, match="index.json is damaged: .* is no item of a cache"):
            read_items(tmp_path)
        (tmp_path / "index.json").unlink()
    for item in ({"split": "trbin"}, {"source": "other"}):  # what nobody would miss
        (tmp_path / "index.json").write_text(json.dumps([read_items(tmp_path)[0] | item]))
        with pytest.raises(ValueError, match="index.json is damaged: .* is no item of a cache"):
            read_items(tmp_path)
        (tmp_path / "index.json").unlink()
    (tmp_path / "index.json").write_text("[{")
    with pytest.raises(ValueError, match="index.json is damaged: .*run `mousai cache` again"):
        read_items(tmp_path)


def test_a_changed_byte_of_an_item_is_found_when_it_is_first_read(tmp_path):
    fill_whole(tmp_path, [20, 30])
    shard = next(tmp_path.glob("*.safetensors"))
    whole = shard.read_bytes()
    for place in range(len(whole) - 1, len(whole) - 4000, -97):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        reader = CacheReader(tmp_path)
        with pytest.raises(ValueError, match="is damaged .*; remove .* and run `mousai cache` again"):
            for item in read_items(tmp_path):
                reader.latents(item)
    shard.write_bytes(whole)
    reader, items = CacheReader(tmp_path), read_items(tmp_path)
    reader.latents(items[0])
    assert reader.checked == {items[0]["id"]}
    with pytest.raises(ValueError, match="does not have its checksum"):
        reader.latents(items[1] | {"frames": 31})
    del items[1]["crc"]  # of an earlier version
    reader.latents(items[1])


@pytest.mark.parametrize("tensors", [None, [], {"latents": "load"}, {"latents": 3}])
def test_a_header_of_other_things_is_damaged(tmp_path, tensors):
    (tmp_path / "cache.json").write_text(json.dumps({"format": 2, **HEADER, "tensors": tensors}))
    with pytest.raises(ValueError, match="cache.json is damaged"):
        CacheReader(tmp_path)


def test_a_changed_header_is_damaged_and_one_of_an_earlier_version_is_read(tmp_path):
    begin(tmp_path, HEADER)
    written = json.loads((tmp_path / "cache.json").read_text())
    for change in ({"seed": 7}, {"crc": 0}, {"hop": None, "crc": None}, {"sample_rate": 0, "crc": None}):
        (tmp_path / "cache.json").write_text(json.dumps(written | change))
        with pytest.raises(ValueError, match="cache.json is damaged: .*run `mousai cache` again"):
            read_header(tmp_path)
    del written["crc"]
    (tmp_path / "cache.json").write_text(json.dumps(written))
    assert read_header(tmp_path)["tensors"] == HEADER["tensors"]


def test_items_of_a_shard_that_is_lost_are_forgotten_and_so_encoded_again(tmp_path, caplog):
    fill(tmp_path, [16, 20], shard_bytes=1)
    merge(tmp_path, {})
    shards = sorted(tmp_path.glob("*.safetensors"))
    begin(tmp_path, HEADER)
    assert len(read_items(tmp_path)) == 2 and not caplog.records
    shards[0].write_bytes(shards[0].read_bytes()[:50])
    begin(tmp_path, HEADER)
    assert f"{shards[0]} is damaged or missing; what it held is encoded again" in caplog.text
    assert not shards[0].exists() and [item["shard"] for item in read_items(tmp_path)] == [shards[1].name]


@pytest.mark.parametrize("wrong", [{"captions": 0}, {"crop_frames": 0}, {"segment_seconds": 0.0}, {"rms": -1.0}, {"caption_drop": 1.0}, {"sources": ()}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LatentDataConfig(**{"sources": ("a",), "cache": "c"} | wrong)


def test_a_cache_that_was_killed_at_its_first_file_is_begun_again(tmp_path):
    for name in (".cache.json.new", ".lock"):  # of an earlier version
        (tmp_path / name).touch()
    fill(tmp_path, [16])
    (tmp_path / ".tmpAb3xY9").touch()  # of safetensors
    begin(tmp_path, HEADER)
    assert len(read_items(tmp_path)) == 1 and sorted(path.name for path in tmp_path.glob(".*")) == [".lock"]


@pytest.mark.parametrize("name", ["id", "source", "split", "track", "segment", "captions", "frames", "crc", "metadata"])
def test_no_field_of_an_item_can_change_unseen(name: str) -> None:
    fields = {"track": "a.wav", "segment": 0, "captions": ["calm"], "lengths": [1], "frames": 8, "crc": 5, "metadata": {"bpm": 90.5}}
    item = with_row({"id": "1", "source": "music", "split": "train", **fields}, "shard-00000-000.safetensors")
    assert is_item(item) and is_item({**item, "shard": "shard-00001-000.safetensors"})
    others = {"captions": ["loud"], "metadata": {"bpm": 90.6}, "segment": 1, "frames": 9, "crc": 6}
    assert not is_item({**item, name: others.get(name, f"{item[name]}2")})
