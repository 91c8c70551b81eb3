"""Pieces: where their sections start and take over, what they are called, and the line that is said of what cannot be."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mousai.checks import Problems
from mousai.request.piece import Piece, Section, as_made, slug


def sections(*seconds: float, transitions: dict[int, float] | None = None) -> tuple[Section, ...]:
    return tuple(Section("a", length, transition=(transitions or {}).get(index)) for index, length in enumerate(seconds))


def halves(*seconds: float, transitions: dict[int, float] | None = None) -> list[float]:
    """Half of each transition of a piece, after a look at whether it is centred on its boundary."""
    piece = Piece(sections(*seconds, transitions=transitions))
    for (begin, end), start in zip(piece.transitions, piece.starts[1:], strict=True):
        assert (begin + end) / 2 == pytest.approx(start)
    return [pytest.approx((end - begin) / 2) for begin, end in piece.transitions]


def test_sections_follow_one_another():
    piece = Piece(sections(30, 12.5, 60))
    assert piece.starts == [0, 30, 42.5] and piece.seconds == 102.5
    assert piece.transitions == [(26, 34), (38.5, 46.5)]
    assert Piece(sections(5)).transitions == [] and Piece(sections(5)).starts == [0]


def test_a_transition_that_is_left_away_takes_what_fits():
    assert halves(8, 8, 8) == [4, 4]
    assert halves(60, 2, 60) == [1, 1]
    assert halves(1, 60) == [0.5]


def test_a_given_transition_is_as_given_and_the_others_make_room():
    assert halves(60, 60, transitions={1: 100}) == [50]
    assert halves(60, 60, transitions={1: 0}) == [0]
    assert halves(60, 10, 60, transitions={1: 14}) == [7, 3]
    assert halves(60, 10, 60, transitions={2: 20}) == [0, 10]
    assert halves(60, 10, 60, transitions={1: 8, 2: 12}) == [4, 6]


def test_transitions_never_overlap_nor_leave_their_sections():
    lengths = (1, 3, 9, 40, 2, 2, 17, 1.5, 8)
    piece = Piece(sections(*lengths))
    around = [0.0, *(time for span in piece.transitions for time in span), piece.seconds]
    assert around == sorted(around)
    for (begin, end), left, right in zip(piece.transitions, lengths, lengths[1:], strict=False):
        assert 0 < end - begin == pytest.approx(min(8, left, right))


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ({"sections": sections(20, 8, transitions={1: 17})}, ["section 2: transition: 17 s reach beyond the two sections, 16 s fit at most"]),
        (
            {"sections": sections(20, 8, 20, transitions={1: 8, 2: 9})},
            ["section 3: transition: 9 s overlap the 8 s of section 2's; that section's 8 s have room for half of both together"],
        ),
        (
            {"sections": sections(20, 8, 20, transitions={1: 17, 2: 9})},
            ["section 2: transition: 17 s reach beyond the two sections, 16 s fit at most"],
        ),
        ({"sections": sections(9, 9, transitions={0: 2})}, ["section 1: transition: nothing comes before the first section; leave it away"]),
        ({"sections": sections(86400, 1)}, ["sections: last 86401 s together, the limit is 86400 s (24 h)"]),
        ({"loop": True, "sections": sections(7, 7), "window": 12}, ["window: a loop of 14 s has windows of at most 9.33333 s, two thirds of it; came 12 s"]),
        ({"loop": True, "extend": "a.wav"}, ["extend and loop: a recording's end cannot go on at its beginning; leave one of the two away"]),
        (
            {"guidance": 1, "sections": (Section("a", 9, negative="b"),)},
            ["negative: works through guidance, and guidance 1 is none; raise it, or leave the negative prompt away"],
        ),
        ({"listen": True}, ["listen: says whether tempo, bars and key of a recording are heard; there is none"]),
        ({"listen": False}, ["listen: says whether tempo, bars and key of a recording are heard; there is none"]),
        ({"level_sections": True}, ["level_sections: there is one section, which nothing could be brought nearer to; leave it away"]),
        ({"glide": True, "extend": "a.wav"}, ["glide: there is one section, whose tempo glides nowhere; leave it away"]),
        (
            {"glide": True, "loop": True, "sections": (Section("a", 20, bpm=100), Section("techno, 120 bpm", 20))},
            ["glide and loop: a tempo does not glide from the end to the beginning; end with the tempo that the loop begins with, or leave one of the two away"],
        ),
        ({"window": 20, "overlap": 11}, ["overlap: expected at most half of the window, 10 s, came 11"]),
        ({"sections": ()}, ["sections: expected a Section at least"]),
        ({"sections": ("a",)}, ["sections: expected a Section at least"]),
        ({"seed": None}, ["seed: expected a number, came null"]),
        ({"seed": 2**32}, ["seed: expected a whole number from 0 to 4294967295, came 4294967296"]),
        ({"steps": 2.5}, ["steps: expected a whole number from 1 to 5000, came 2.5"]),
        ({"guidance": math.nan}, ["guidance: expected a number from 0 to 100, came nan"]),
        ({"schedule": "liner"}, ["schedule: expected linear, cosine, quadratic, logsnr, karras; came 'liner', did you mean 'linear'?"]),
        ({"interval": (0.5, 0.2)}, ["interval: expected two times with 0 <= low <= high <= 1, came 0.5 and 0.2"]),
        ({"interval": [[], []]}, ["interval: expected two numbers, came a list of other things"]),
        ({"method": "joined"}, ["method: expected joint, continuation; came 'joined', did you mean 'joint'?"]),
        ({"loop": 1}, ["loop: expected true or false, came 1"]),
        ({"extend": 7}, ["extend: expected the path of a recording, came 7"]),
        ({"loudness": 1}, ["loudness: expected a number from -70 to 0 LUFS, came 1"]),
        ({"true_peak": 0.1}, ["true_peak: expected a number from -60 to 0 dBTP, came 0.1"]),
        ({"format": "mp4"}, ["format: expected wav, flac, ogg, opus, mp3; came 'mp4', did you mean 'mp3'?"]),
        ({"title": " "}, ["title: is empty; leave it away, and the piece is called after its prompt"]),
        ({"title": "a\x07"}, ["title: expected a line of text, came 'a\\x07'"]),
        ({"window": 0, "overlap": 0}, [
            "window: expected a number from 1 to 600 s, came 0", "overlap: expected a number above 0 and at most 600 s, came 0"
        ]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(values, lines):
    with pytest.raises(Problems) as caught:
        Piece(**{"sections": sections(30), **values})
    assert list(caught.value.problems) == lines and str(caught.value) == "\n".join(lines)


def test_a_loop_may_glide_where_it_ends_as_it_begins():
    for first, last, bpm in ((100, 100, None), (None, None, None), (None, 90, 90)):
        assert Piece((Section("a", 20, bpm=first), Section("b, 120 bpm", 20), Section("c", 20, bpm=last)), bpm=bpm, glide=True, loop=True).glide


def test_what_did_nothing_in_an_older_recipe_is_left_out():
    plain = Piece(sections(30), level_sections=False)
    assert Piece.from_dict(as_made(plain.to_dict() | {"glide": True, "listen": False})) == plain
    assert Piece.from_dict(as_made(plain.to_dict() | {"level_sections": True})) == Piece(sections(30))


def test_one_wrong_section_of_two_does_not_make_the_piece_one_of_a_single_section():
    with pytest.raises(Problems) as caught:
        Piece.from_dict({"sections": [{"prompt": "a", "seconds": 9}, {"prompt": "b", "seconds": -1}], "glide": True})
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith("section 2: seconds")


def test_a_section_says_all_that_is_wrong_with_it():
    with pytest.raises(Problems) as caught:
        Section(5, 0.5, negative=3, transition=-1)
    assert [line.split(": ")[0] for line in caught.value.problems] == ["prompt", "seconds", "negative", "transition"]
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_the_ends_of_the_ranges_belong_to_them():
    Piece(sections(15), loop=True, loudness=-70, true_peak=0, window=10, overlap=5, interval=(0, 1), guidance=0)
    Piece(sections(900), loop=True, window=600, overlap=300)
    Piece((Section("a", 86399), Section("b", 1, transition=2)), title="a", seed=2**32 - 1, format="opus", method="continuation")
    Piece(tuple(Section("a", 864.1) for _ in range(99)) + (Section("a", 864.1 - 10),), loudness=None)


def test_values_are_kept_as_one_kind():
    piece = Piece([Section(" a ", 30, "  ")], title=" Dawn \n chorus ", interval=[0, 1], guidance=3, extend=Path("a.wav"))
    assert piece == Piece((Section("a", 30.0),), title="Dawn chorus", interval=(0.0, 1.0), guidance=3.0, extend="a.wav")
    assert hash(piece) and isinstance(piece.sections[0].seconds, float) and isinstance(piece.guidance, float)


FULL = Piece(
    (Section("a", 30, "b"), Section("é\n♯", 20.5, None, 3)), "Dawn", 7, "joint", 40, 10, False, "/x/a.wav", None, -2, "flac", 3,
    steps=50, guidance=4.5, schedule="karras", rescale=0.5, interval=(0.1, 0.9), eta=0.5, resamples=2, codec_steps=20,
)  # fmt: skip


@pytest.mark.parametrize("piece", [FULL, Piece(sections(10)), Piece(sections(20), loop=True)])
def test_through_json_and_back(piece):
    data = piece.to_dict()
    assert Piece.from_dict(data) == piece and Piece.from_dict(json.loads(json.dumps(data))) == piece


def test_a_mapping_may_have_minutes_and_one_section_without_a_list():
    assert Piece.from_dict({"prompt": "a", "minutes": 1.5, "negative": "b", "seed": 3}) == Piece((Section("a", 90, "b"),), seed=3)
    assert Piece.from_dict({"sections": [{"prompt": "a", "minutes": 0.35}]}).seconds == 21


def test_a_mapping_has_all_its_problems_listed():
    with pytest.raises(Problems) as caught:
        Piece.from_dict({"sections": [{"prompt": "a", "seconds": 0}, 7, {"promt": "a"}], "seed": -1, "sede": 3, "loop": True, "extend": "a"})
    assert caught.value.problems == (
        "unknown key 'sede': did you mean 'seed'?",
        "section 1: seconds: expected a number from 1 to 86400 s, came 0",
        "section 2: expected a mapping with prompt and seconds, came 7",
        "section 3: unknown key 'promt': did you mean 'prompt'?",
        "section 3: seconds: is missing; give seconds or minutes",
        "seed: expected a whole number from 0 to 4294967295, came -1",
        "extend and loop: a recording's end cannot go on at its beginning; leave one of the two away",
    )
    with pytest.raises(Problems, match="expected a mapping with prompt and seconds, or sections, came a list"):
        Piece.from_dict([])


def test_pieces_are_called_after_their_titles_or_prompts():
    piece = Piece((Section("Slow piano, rain", 30), Section("b", 30)), seed=7)
    assert piece.name == "slow-piano-rain-7" and replace(piece, number=2).name == "slow-piano-rain-7-2"
    assert replace(piece, title="Nuit d'été").name == "nuit-d-été"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Slow piano, melancholic!", "slow-piano-melancholic"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\\b:c*d?\n\t\"<>|", "a-b-c-d"),
        ("Übung in C♯, 音楽", "übung-in-c-音楽"),
        ("?!…", "clip"),
        (".hidden", "hidden"),
        ("snake_case 90 BPM", "snake-case-90-bpm"),
    ],
)
def test_names_from_prompts(text, name):
    assert slug(text) == name


def test_names_are_short_in_bytes_whole_in_letters():
    for text in ("word " * 100, "音" * 500, "é" * 500):
        name = slug(text)
        assert 0 < len(name.encode()) <= 64 and name.isprintable() and not name.endswith("-")


def test_reading_about_pieces_loads_no_torch():
    code = "import sys, mousai.request.job_file; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
