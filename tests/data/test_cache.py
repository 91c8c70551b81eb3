"""The cache's files and what training reads out of them."""

import pickle
from collections import Counter

import pytest
import torch

from mousai.data import cache
from mousai.data.cache import CacheReader, CacheWriter, begin, merge, read_items
from mousai.data.latents import LatentCrops, LatentDataConfig
from mousai.data.loader import SourceConfig, batches

HEADER = {"codec": "3f2a3f2a3f2a", "hop": 64, "sample_rate": 16000}


def fill(folder, lengths, source="music", split="train", **settings):
    """Items whose latents count their frames, `100 i + frame`, with captions of i + 1 and i + 2 tokens."""
    folder.mkdir(exist_ok=True)
    begin(folder, HEADER)
    writer = CacheWriter(folder, **settings)
    for index, frames in enumerate(lengths):
        latents = (100 * index + torch.arange(frames)).expand(3, frames)
        tokens = [torch.full((index + 1 + extra, 5), float(index)) for extra in (0, 1)]
        writer.add({"id": f"{source}{index:03}", "source": source, "split": split}, latents, tokens)
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
    assert torch.equal(reader.tokens(items[4], 1), torch.full((6, 5), 4.0))
    assert torch.equal(pickle.loads(pickle.dumps(reader)).latents(items[9]), reader.latents(items[9]))


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
    (tmp_path / "index.json").write_text("[{")
    with pytest.raises(ValueError, match="index.json is damaged: .*run `mousai cache` again"):
        read_items(tmp_path)


def test_a_hash_is_of_the_content(tmp_path):
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    one, two, three = (cache.content_hash(tmp_path / name) for name in "abc")
    assert one == two != three


@pytest.mark.parametrize("wrong", [{"captions": 0}, {"crop_frames": 0}, {"segment_seconds": 0.0}, {"rms": -1.0}, {"caption_drop": 1.0}, {"sources": ()}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LatentDataConfig(**{"sources": ("a",), "cache": "c"} | wrong)
