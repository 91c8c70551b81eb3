"""The folder of a long piece: what is kept comes back or is said to be damaged, and nobody else comes in."""

import os
import random
import re
from pathlib import Path

import pytest
import torch

from mousai import locks
from mousai.audio.growing import GrowingWav
from mousai.jobs.render import state as render_state
from mousai.jobs.render.audio import Audio, opened
from mousai.jobs.render.state import Busy, RenderState, differences, is_locked, load, save

RATE, STRIDE = 8000, 10


@pytest.fixture
def said():
    return []


@pytest.fixture
def state(tmp_path, said):
    return RenderState(tmp_path / "a.render", said.append)


def frames(index):
    return torch.full((3, STRIDE), float(index))


def filled(state, count=4):
    """A state with so many segments, saved behind each."""
    with state.locked():
        for index in range(count):
            state.add(frames(index), {"next": torch.tensor([index + 1]), "held": torch.randn(3, 7)}, index + 1)
    return state


def again(state):
    return RenderState(state.folder, state.say)


def flip(path, place=-1, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


# -- files of tensors ----------------------------------------------------------------------------------------------


def test_tensors_and_numbers_come_back(tmp_path):
    tensors = {"next": torch.tensor([3, 4]), "index": torch.tensor(7), "held": torch.randn(4, 5).T, "empty": torch.zeros(3, 0)}
    save(tmp_path / "a", tensors, segments=12)
    found, segments = load(tmp_path / "a")
    assert segments == 12 and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_not_a_bit_can_change_without_being_seen(tmp_path):
    path, chance = tmp_path / "a", random.Random(0)
    save(path, {"next": torch.tensor([3, 4]), "index": torch.tensor(7), "held": torch.randn(2, 3)}, segments=12)
    size = path.stat().st_size
    for place in range(size):
        bit = chance.randrange(8)
        flip(path, place, bit)
        with pytest.raises(ValueError, match="a is damaged$"):
            load(path)
        flip(path, place, bit)
    assert load(path)[1] == 12
    for length in (size - 1, size // 2, 9, 1, 0):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ValueError, match="a is damaged$"):
            load(path)


def test_what_is_missing_or_cannot_be_read_is_not_called_damaged(tmp_path):
    with pytest.raises(ValueError, match="a is missing$"):
        load(tmp_path / "a")
    with pytest.raises(OSError, match=f"^cannot read {tmp_path}: "):
        load(tmp_path)


# -- segments and states -------------------------------------------------------------------------------------------


def test_work_goes_on_from_the_newest_state(state, said):
    filled(state)
    found = again(state)
    assert found.resume(lambda index: True)["next"] == 4 and found.segments == 4 and said == []
    assert len(list(state.folder.glob("state-*"))) == render_state.STATES_KEPT
    assert torch.equal(torch.cat(list(found.latents(13, STRIDE)), -1), torch.cat([frames(index) for index in range(4)], -1)[:, 13:])


def test_a_state_between_segments_counts(state):
    filled(state)
    with state.locked():
        state.add(None, {"next": torch.tensor([9])}, 9)
    found = again(state)
    assert found.resume(lambda index: True)["next"] == 9 and found.segments == 4


def test_a_damaged_segment_leads_to_the_state_before_it(state, said):
    filled(state)
    flip(state.folder / "latents" / "00003.safetensors")
    found = again(state)
    assert found.resume(lambda index: True)["next"] == 3 and found.segments == 3
    assert len(said) == 1 and said[0].endswith("00003.safetensors is damaged; generating it again")


def test_a_damaged_segment_before_both_states_is_said_once_and_all_is_generated_again(state, said):
    filled(state)
    (state.folder / "latents" / "00000.safetensors").unlink()
    found = again(state)
    assert found.resume(lambda index: True) is None and found.segments == 0
    assert len(said) == 1 and said[0].endswith("00000.safetensors is missing; generating it again")
    assert not list(state.folder.glob("state-*"))  # they would lead astray once there are others


def test_nobody_looks_at_a_segment_that_is_not_needed(state, said):
    filled(state)
    for index in range(3):
        flip(state.folder / "latents" / f"{index:05}.safetensors")
    found = again(state)
    assert found.resume(lambda index: index == 3)["next"] == 4 and found.segments == 4 and said == []
    with pytest.raises(ValueError, match="00002.safetensors is damaged"):
        list(found.latents(20, STRIDE))


def test_damaged_states_are_said_each(state, said):
    filled(state)
    newest, before = sorted(state.folder.glob("state-*"), reverse=True)
    flip(newest)
    assert again(state).resume(lambda index: True)["next"] == 3 and len(said) == 1
    flip(before)
    assert again(state).resume(lambda index: True) is None and len(said) == 2


# -- what was begun ------------------------------------------------------------------------------------------------

MADE_FROM = {"asked": {"seed": 3, "sections": [{"prompt": "piano"}, {"prompt": "dance"}]}, "fingerprint": "ab", "recording": None, "torch": "2.1"}
SAME, ALIKE = ("asked", "fingerprint", "recording"), ("torch",)


def begun(state, **changed):
    with state.locked():
        state.begin(MADE_FROM | changed, SAME, ALIKE)


def test_a_folder_with_nothing_in_it_is_begun(state, said):
    filled(state, 0)  # its maker was killed at once
    begun(state)
    assert said == [] and (state.folder / "begun.json").is_file()


def test_the_same_goes_on_and_half_written_files_go(state, said):
    begun(state)
    for name in ("state-0000001.safetensors.tmp-12ab", "latents/00000.safetensors.tmp-34cd"):
        (state.folder / name).write_bytes(b"half")
    begun(state)
    assert said == [] and {path.name for path in state.folder.rglob("*")} == {"begun.json", "latents", "lock"}


@pytest.mark.parametrize("changed, text", [
    ({"asked": {"seed": 4, "sections": MADE_FROM["asked"]["sections"]}}, "seed 3, now 4"),
    ({"asked": {"seed": 3, "sections": [{"prompt": "piano"}, {"prompt": "noise"}]}}, "section 2 prompt dance, now noise"),
    ({"asked": {"seed": 3, "sections": []}}, "sections 2 entries, now 0 entries"),
    ({"fingerprint": "cd"}, "model ab, now cd"),
    ({"recording": {"hash": "12"}}, "recording unsaid, now 1 entries"),
])  # fmt: skip
def test_another_piece_is_refused_with_what_differs(state, changed, text):
    begun(state)
    before = (state.folder / "begun.json").read_bytes()
    with pytest.raises(ValueError, match=f"a.render was begun with {text}; remove it to begin anew, or give the piece another name$"):
        begun(state, **changed)
    assert (state.folder / "begun.json").read_bytes() == before


def test_another_library_is_said_and_work_goes_on(state, said):
    begun(state)
    begun(state, torch="2.2")
    assert len(said) == 1 and said[0].endswith("was begun with torch 2.1, now 2.2; the last bits of what follows may differ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"asked": 1}'])
def test_what_was_begun_is_damaged(state, content):
    begun(state)
    (state.folder / "begun.json").write_bytes(content)
    with pytest.raises(ValueError, match="a.render(/begun.json is damaged, .*; remove .*a.render| was begun with .*; remove it) to begin anew"):
        begun(state)
    assert (state.folder / "begun.json").read_bytes() == content


def test_what_was_begun_is_missing(state):
    filled(state)
    with pytest.raises(ValueError, match="begun.json is missing, .*; remove .*a.render to begin anew"):
        begun(state)
    assert len(list(state.folder.glob("state-*"))) == 2


def test_differences_of_values():
    assert differences({"a": 1, "b": [1, {"c": 2}]}, {"a": 1, "b": [1, {"c": 3}]}) == ["b 2 c 2, now 3"]
    assert differences({"a": {"b": 1}}, {"a": {"d": 1}}, "x") == ["x a b 1, now unsaid", "x a d unsaid, now 1"]
    assert differences({"a": [1.0, None]}, {"a": [1.0, None]}) == []


# -- who is at work ------------------------------------------------------------------------------------------------


def test_one_at_a_time(state):
    assert not is_locked(state.folder)
    with state.locked():
        assert is_locked(state.folder)
        with pytest.raises(Busy, match="another process .* is at work"), again(state).locked():
            pass
    assert not is_locked(state.folder)
    with state.locked():
        pass


def test_whoever_waits_at_a_folder_that_is_removed_gets_a_new_one(state, monkeypatch):
    taken, first = locks.take_lock, []

    def take(lock):
        if not first:  # the other process finishes between our opening of the lock and our taking it
            first.append(lock)
            state.remove()
        taken(lock)

    state.folder.mkdir()
    monkeypatch.setattr(locks, "take_lock", take)
    with state.locked():
        assert is_locked(state.folder) and first


def test_removal_leaves_nothing(state):
    filled(state)
    with state.locked():
        begun_in = state.folder / "audio.wav"
        begun_in.write_bytes(b"x")
        state.remove()
        assert not state.folder.exists()
    assert list(state.folder.parent.iterdir()) == []


# -- audio ---------------------------------------------------------------------------------------------------------


def audio_of(folder, say, *blocks):
    """The samples that are there after these blocks were added."""
    with opened(folder / "audio.wav", RATE, 2, say) as wav:
        audio = Audio(wav, folder / "audio.sums", say)
        for block in blocks:
            audio.append(block)
        return torch.cat([torch.zeros(2, 0), *wav.blocks()], -1)


@pytest.fixture
def blocks(tmp_path, said):
    """Three blocks that are in the folder."""
    found = [torch.randn(2, length) for length in (500, 1, 300)]
    audio_of(tmp_path, said.append, *found)
    return found


def test_audio_is_there_again(tmp_path, said, blocks):
    empty, more = torch.zeros(2, 0), torch.randn(2, 9)
    assert torch.equal(audio_of(tmp_path, said.append, empty, more, empty), torch.cat([*blocks, more], -1))
    assert torch.equal(audio_of(tmp_path, said.append), torch.cat([*blocks, more], -1)) and said == []


def damaged_line(path, number, line):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = line
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("harm, left, text", [
    (lambda wav, sums: flip(wav, 100 + 8 * 250), 0, "audio.wav is damaged or cut after 0.0 s"),
    (lambda wav, sums: flip(wav), 501, "audio.wav is damaged or cut after 0.1 s"),
    (lambda wav, sums: wav.write_bytes(wav.read_bytes()[:-1]), 501, "audio.wav is damaged or cut after 0.1 s"),
    (lambda wav, sums: flip(wav, 8), 801, "the header of .*audio.wav is damaged; writing it again"),
    (lambda wav, sums: flip(wav, 60), 801, "the header of .*audio.wav is damaged; writing it again"),
    (lambda wav, sums: wav.unlink(), 0, "audio.wav is damaged or cut after 0.0 s"),
    (lambda wav, sums: sums.unlink(), 0, "audio.sums is missing; decoding from the beginning again"),
    (lambda wav, sums: damaged_line(sums, 1, b"501 0123456789abcdef0123456789abcdef\n"), 500, "audio.wav is damaged or cut"),
    (lambda wav, sums: damaged_line(sums, 1, b"\n"), 500, "audio.sums is damaged or cut after 0.1 s"),
    (lambda wav, sums: damaged_line(sums, 1, b"five hundred\n"), 500, "audio.sums is damaged or cut after 0.1 s"),
    (lambda wav, sums: damaged_line(sums, 0, b"\xff\xff\xff\n"), 0, "audio.sums is damaged or cut after 0.0 s"),
    (lambda wav, sums: damaged_line(sums, 1, b"500 0123456789abcdef0123456789abcdef\n"), 500, "is damaged or cut after 0.1 s"),
])  # fmt: skip
def test_what_is_damaged_of_audio_is_cut_off_and_said_once(tmp_path, said, blocks, harm, left, text):
    whole = torch.cat(blocks, -1)
    harm(tmp_path / "audio.wav", tmp_path / "audio.sums")
    assert torch.equal(audio_of(tmp_path, said.append), whole[:, :left])
    assert len(said) == 1
    assert re.search(text, said[0])
    assert torch.equal(audio_of(tmp_path, said.append, whole[:, left:]), whole) and len(said) == 1


def test_a_process_that_was_killed_between_audio_and_its_sum_did_no_damage(tmp_path, said, blocks):
    with GrowingWav(tmp_path / "audio.wav", RATE, 2) as wav:
        wav.append(torch.randn(2, 50))
    with (tmp_path / "audio.sums").open("ab") as sums:
        sums.write(b"851 0123")
    assert torch.equal(audio_of(tmp_path, said.append), torch.cat(blocks, -1)) and said == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_one_line(tmp_path, said, blocks, monkeypatch):
    with opened(tmp_path / "audio.wav", RATE, 2, said.append) as wav:
        audio = Audio(wav, tmp_path / "audio.sums", said.append)
        opened_as = os.open
        with monkeypatch.context() as full:
            full.setattr(os, "open", lambda path, *how: opened_as("/dev/full" if Path(path).name == "audio.sums" else path, *how))
            with pytest.raises(OSError, match=r"^cannot write .*audio.sums: No space left on device$"):
                audio.append(torch.randn(2, 50))
    assert torch.equal(audio_of(tmp_path, said.append), torch.cat(blocks, -1)) and said == []
