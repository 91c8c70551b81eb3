"""Crops of audio: where they lie, how loud they are, and which process gets which."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from mousai.checks import Problems
from mousai.data.loader import AudioCrops, AudioDataConfig, SourceConfig, batches, open_sources

RATE = 8000


def make(folder, lengths, splits=None, level=0.5):
    """Files that count: sample n of file i is level * (n / length), on channel 1 the negative."""
    folder.mkdir(exist_ok=True)
    rows = []
    for index, length in enumerate(lengths):
        ramp = level * np.arange(length) / length
        soundfile.write(folder / f"{index}.wav", np.stack([ramp, -ramp], 1), RATE, subtype="FLOAT")
        rows.append({"file": f"{index}.wav", **({"split": splits[index]} if splits and splits[index] else {})})
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "m.jsonl")


def crops(*sources, split="train", seed=0, **settings):
    config = AudioDataConfig(**{"sources": sources, "crop_samples": 100} | settings)
    return AudioCrops(open_sources(config.sources), config, split, RATE, 2, seed)


def test_a_crop_is_a_piece_of_its_file_at_a_place_that_its_number_gives(tmp_path):
    data = crops(make(tmp_path, [1000]))
    again, other = crops(str(tmp_path / "m.jsonl")), crops(str(tmp_path / "m.jsonl"), seed=1)
    starts = []
    for index in (5, 3, 200, 3):
        audio = data[index]["audio"]
        assert audio.shape == (2, 100) and torch.equal(audio, again[index]["audio"])
        starts.append(round(float(audio[0, 0]) * 2000))
        torch.testing.assert_close(audio[0], 0.5 * (starts[-1] + torch.arange(100)) / 1000, rtol=0, atol=1e-6)
        assert torch.equal(audio[1], -audio[0])
    assert starts[1] == starts[3] and len(set(starts)) == 3
    assert any(not torch.equal(data[i]["audio"], other[i]["audio"]) for i in range(3))
    pooled = crops(str(tmp_path / "m.jsonl"), pool="ram")
    firsts = [round(float(pooled[i]["audio"][0, 0]) * 2000) for i in range(2000)]
    assert min(firsts) < 10 and max(firsts) > 890 and abs(np.mean(firsts) - 450) < 25


def test_the_pool_gives_the_same_crops_to_16_bits(tmp_path):
    source = make(tmp_path, [1000, 700, 60], level=1.7)  # beyond full scale, as lossy files are
    read, pooled = crops(source), crops(source, pool="ram")
    for index in range(20):
        torch.testing.assert_close(pooled[index]["audio"], read[index]["audio"], rtol=0, atol=1.7 / 32767)


def test_every_second_is_as_likely_and_weights_multiply(tmp_path):
    one, two = make(tmp_path / "one", [3000, 1000], level=0.25), make(tmp_path / "two", [2000], level=-0.25)
    data = crops(one, SourceConfig(two, weight=3.0), pool="ram")
    drawn = Counter(bool(data[i]["audio"][0, -1] < 0) for i in range(3000))
    assert abs(drawn[True] / 3000 - 0.6) < 0.03  # 3 x 2000 of 4000 + 6000
    assert data.seconds == pytest.approx(6000 / RATE)


def test_loudness_and_gain(tmp_path):
    source = make(tmp_path, [4000])
    for index in range(5):
        assert float(crops(source, rms=0.1)[index]["audio"].square().mean().sqrt()) == pytest.approx(0.1, rel=1e-4)
    quiet = crops(source, rms=0.1, gain_db=(-12.0, -6.0))
    levels = [20 * math.log10(float(quiet[i]["audio"].square().mean().sqrt()) / 0.1) for i in range(50)]
    assert min(levels) >= -12.001 and max(levels) <= -5.999 and max(levels) - min(levels) > 3


def test_silence_is_drawn_again_and_taken_if_there_is_nothing_else(tmp_path):
    sound = np.zeros((4000, 2))
    sound[3000:] = 0.1
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    data = crops(str(tmp_path), rms=0.1, floor_db=-40.0)
    assert all(float(data[i]["audio"].abs().max()) > 0 for i in range(40))
    soundfile.write(tmp_path / "a.wav", np.zeros((4000, 2)), RATE)
    assert float(crops(str(tmp_path), rms=0.1)[0]["audio"].abs().max()) == 0


def test_short_files_are_followed_by_silence(tmp_path):
    audio = crops(make(tmp_path, [40]))[0]["audio"]
    assert audio.shape == (2, 100) and float(audio[0, 39]) > 0 and (audio[:, 40:] == 0).all()


def test_splits(tmp_path):
    source = make(tmp_path, [1000, 1000, 1000], ["train", "valid", None])
    assert [len(crops(source, split=split).tracks) for split in ("train", "valid", None)] == [2, 1, 3]
    with pytest.raises(ValueError, match="no usable audio for split 'test' in .*; splits there: train, valid"):
        crops(source, split="test")


def test_what_turns_out_damaged_is_skipped_with_a_line(tmp_path, caplog):
    source = make(tmp_path, [1000, 1000])
    data = crops(source)
    (tmp_path / "1.wav").write_bytes(b"not audio any more")
    assert all(float(data[i]["audio"].abs().max()) > 0 for i in range(20))
    assert [key for key, _ in data.tracks[1][0].skipped] == ["1.wav"] and caplog.text.count("1.wav") >= 1
    config = replace(data.config, pool="ram")
    opened = open_sources([source])
    assert len(AudioCrops(opened, config, "train", RATE, 2, 0).tracks) == 1


def test_batches_share_the_items_and_go_on_anywhere(tmp_path):
    class Numbers(torch.utils.data.Dataset):
        def __getitem__(self, index):
            return {"n": torch.tensor(index)}

    def take(first, count, batch_size=2, **place):
        return [n for batch in itertools.islice(batches(Numbers(), batch_size, first, **place), count) for n in batch["n"].tolist()]

    assert take(0, 6) == list(range(12)) and take(4, 2) == [8, 9, 10, 11]
    shares = [take(0, 3, rank=rank, world=2) for rank in (0, 1)]
    assert shares == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    assert take(1, 2, rank=1, world=2) == shares[1][2:]
    before = torch.random.get_rng_state()
    take(0, 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_workers_give_the_same_batches(tmp_path):
    data = crops(make(tmp_path, [1000, 2000]), gain_db=(-6.0, 6.0))
    alone, helped = batches(data, 3, 2), batches(data, 3, 2, workers=2)
    for _ in range(3):
        assert torch.equal(next(alone)["audio"], next(helped)["audio"])


@pytest.mark.parametrize("wrong", [{"sources": ()}, {"crop_samples": 0}, {"rms": 0.0}, {"gain_db": (3.0, -3.0)}, {"workers": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AudioDataConfig(**{"sources": ("a",)} | wrong)
    with pytest.raises(ValueError, match="weight"):
        SourceConfig("a", weight=0.0)


class Failing(torch.utils.data.Dataset):
    def __init__(self, error):
        self.error = error

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize(
    "error, kind, line",
    [
        (FileNotFoundError("a.wav is missing: fetch it"), OSError, "a.wav is missing: fetch it"),
        (Problems(["a: is wrong", "b: as well"]), ValueError, "a: is wrong; b: as well"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), ValueError, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_an_error_of_a_worker_is_one_line(error, kind, line):
    with pytest.raises(kind) as caught:
        next(batches(Failing(error), 2, workers=1))
    assert type(caught.value) is kind and str(caught.value) == line


def test_problems_are_lines():
    with pytest.raises(TypeError, match="expected lines, came a text"):
        Problems("a text")
