"""SoundFonts: a small one made here (a sine in a muffled zone that a modulator opens), and a real one where it is there."""

from __future__ import annotations

import importlib.util
import os
import struct

import numpy as np
import pytest

from mousai.data.synth import soundfont
from mousai.data.synth.render import make
from mousai.data.synth.sfmodulators import baked
from mousai.data.synth.styles import STYLES

FOUND = next((place for place in soundfont.PLACES if os.path.isfile(place)), None)
needs_player = pytest.mark.skipif(importlib.util.find_spec("tinysoundfont") is None, reason="tinysoundfont is not installed")
needs_font = pytest.mark.skipif(FOUND is None, reason="no General MIDI SoundFont is installed")
FILTER, VELOCITY = 8, 2


def tiny_font(modulators: list[tuple[int, int, int, int, int]], cutoff: int = 6000, presets: tuple[int, ...] = (0,)) -> bytes:
    """An SF2 of one saw of 100 periods at 480 Hz, looped, in presets of bank 0; the filter's cutoff in cents."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data

    def listed(name: bytes, *chunks: bytes) -> bytes:
        return chunk(b"LIST", name + b"".join(chunks))

    wave = (12000 * (2 * (np.arange(10000) % 100) / 100 - 1)).astype("<i2")
    info = listed(b"INFO", chunk(b"ifil", struct.pack("<HH", 2, 1)), chunk(b"isng", b"EMU8000\0"), chunk(b"INAM", b"tiny\0\0"))
    data = listed(b"sdta", chunk(b"smpl", wave.tobytes() + bytes(92)))
    headers = [(b"saw", preset, 0, i, 0, 0, 0) for i, preset in enumerate(presets)] + [(b"EOP", 0, 0, len(presets), 0, 0, 0)]
    inst_gens = [(FILTER, cutoff), (54, 1), (53, 0)]  # looped, sample 0
    pdta = listed(
        b"pdta",
        chunk(b"phdr", b"".join(struct.pack("<20sHHHIII", *header) for header in headers)),
        chunk(b"pbag", b"".join(struct.pack("<HH", i, 0) for i in range(len(presets) + 1))),
        chunk(b"pmod", bytes(10)),
        chunk(b"pgen", struct.pack("<HH", 41, 0) * len(presets) + bytes(4)),
        chunk(b"inst", struct.pack("<20sH", b"saw", 0) + struct.pack("<20sH", b"EOI", 1)),
        chunk(b"ibag", struct.pack("<HHHH", 0, 0, len(inst_gens), len(modulators))),
        chunk(b"imod", b"".join(struct.pack("<HHhHH", *modulator) for modulator in modulators) + bytes(10)),
        chunk(b"igen", b"".join(struct.pack("<HH", *gen) for gen in inst_gens) + bytes(4)),
        chunk(b"shdr", struct.pack("<20sIIIIIBbHH", b"saw", 0, 10000, 0, 9900, 48000, 71, 0, 0, 1) + struct.pack("<20sIIIIIBbHH", b"EOS", *[0] * 9)),
    )
    return chunk(b"RIFF", b"sfbk" + info + data + pdta)


def filter_of(font: bytes) -> int:
    """The cutoff in the instrument's generators."""
    at = font.index(b"igen") + 8
    return dict(struct.iter_unpack("<HH", font[at : at + struct.unpack("<I", font[at - 4 : at])[0]]))[FILTER]


def test_modulators_become_generators() -> None:
    assert baked(tiny_font([])) == tiny_font([])
    assert filter_of(baked(tiny_font([(VELOCITY, FILTER, 6350, 0, 0)]))) == 6000 + round(6350 * 88 / 127)
    assert filter_of(baked(tiny_font([(VELOCITY | 256, FILTER, -1270, 0, 0)]))) == 6000 - round(1270 * 39 / 127)  # falls with velocity
    assert filter_of(baked(tiny_font([(1 | 128, FILTER, 5000, 0, 0)]))) == 6000  # the modulation wheel rests
    assert filter_of(baked(tiny_font([(VELOCITY, FILTER, 32000, 0, 0)]))) == 13500  # the specification's limit


def test_what_is_no_soundfont_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="tables of presets"):
        baked(b"RIFF" + bytes(40))
    with pytest.raises(FileNotFoundError, match="expected an .sf2"):
        soundfont.locate(tmp_path / "none.sf2")


def test_without_the_player_the_error_names_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tinysoundfont", None)
    with pytest.raises(ValueError, match=r"mousai\[soundfont\]"):
        soundfont.Font(tmp_path / "any.sf2")


def test_auto_names_where_it_looked(monkeypatch) -> None:
    monkeypatch.setattr(soundfont, "PLACES", ("/nowhere/one.sf2",))
    with pytest.raises(FileNotFoundError, match="/nowhere/one.sf2"):
        soundfont.locate("auto")


def power_above(audio: np.ndarray, hertz: float) -> float:
    spectrum = np.abs(np.fft.rfft(audio[0])) ** 2
    return float(spectrum[int(hertz * audio.shape[1] / 48000) :].sum() / spectrum.sum())


@needs_player
def test_notes_sound_their_pitch_to_the_sample_and_velocity_opens_the_filter(tmp_path) -> None:
    for name, modulators in (("shut", []), ("open", [(VELOCITY, FILTER, 9000, 0, 0)])):
        (tmp_path / name).write_bytes(tiny_font(modulators))
    shut, opened = soundfont.Font(tmp_path / "shut"), soundfont.Font(tmp_path / "open")
    audio = opened.play(0, 0, [(4800, 43200, 71 + 12, 100)], 48000)
    assert audio.shape == (2, 48000) and audio.dtype == np.float32
    assert np.abs(audio[:, :4800]).max() == 0 and np.abs(audio[:, 4800:4900]).max() > 0
    assert np.argmax(np.abs(np.fft.rfft(audio[0, 9600:33600] * np.hanning(24000)))) * 2 == pytest.approx(960, abs=3)
    assert power_above(audio, 4000) > 10 * power_above(shut.play(0, 0, [(4800, 43200, 71 + 12, 100)], 48000), 4000)


@needs_player
def test_a_part_depends_on_its_notes_alone_and_may_begin_before_the_clip(tmp_path) -> None:
    (tmp_path / "tiny.sf2").write_bytes(tiny_font([]))
    font = soundfont.Font(tmp_path / "tiny.sf2")
    notes = [(0, 24000, 60, 90), (12000, 36000, 64, 70), (24000, 40000, 60, 90)]  # a key again, where it ends
    first = font.play(0, 0, notes, 48000)
    font.play(0, 0, [(0, 10**6, 50 + i, 127) for i in range(20)], 4800)
    assert np.array_equal(font.play(0, 0, notes, 48000), first)
    early = font.play(0, 0, [(on - 6000, off - 6000, key, velocity) for on, off, key, velocity in notes], 42000)
    np.testing.assert_allclose(early, first[:, 6000:], atol=1e-4)
    assert np.abs(first[:, 25000:35000]).max() > 0.5 * np.abs(first[:, 1000:11000]).max()
    assert not font.play(0, 0, [], 480).any()


@needs_player
def test_a_font_that_lacks_a_programme_says_so(tmp_path) -> None:
    (tmp_path / "tiny.sf2").write_bytes(tiny_font([]))
    font = soundfont.Font(tmp_path / "tiny.sf2")
    assert np.abs(font.play(8, 0, [(0, 4800, 60, 90)], 4800)).max() > 0  # a variation falls back on what it varies
    with pytest.raises(ValueError, match="lacks programme 5"):
        font.play(0, 5, [(0, 4800, 60, 90)], 4800)
    with pytest.raises(ValueError, match="lacks drums"):
        font.play(128, 0, [(0, 4800, 36, 90)], 4800)
    (tmp_path / "no.sf2").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        soundfont.Font(tmp_path / "no.sf2")


@needs_player
@needs_font
def test_clips_by_a_real_font_are_their_own_and_not_the_sets_own_sound() -> None:
    font = soundfont.load(FOUND)
    for name in ("piano", "rock", "string_quartet"):
        index = list(STYLES).index(name)
        audio, metadata = make(3, index, 3.0, font)
        plain, same = make(3, index, 3.0)
        assert metadata == same and np.abs(audio).max() <= 0.98 and np.isfinite(audio).all()
        assert np.abs(audio - plain).max() > 0.05
    assert np.array_equal(make(3, index, 3.0, font)[0], audio)


@needs_player
@needs_font
def test_a_real_fonts_piano_grows_with_velocity() -> None:
    font = soundfont.load(FOUND)
    levels = [np.abs(font.play(0, 0, [(0, 24000, 64, velocity)], 24000)).max() for velocity in range(20, 128, 12)]
    assert levels == sorted(levels)
