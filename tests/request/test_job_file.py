"""Files of pieces: what they may say, in which order it counts, and every line that is said of a wrong one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.checks import Problems
from mousai.request.job_file import read_jobs
from mousai.request.piece import Piece, Section


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def jobs(text: str, name: str = "night.yaml", **defaults) -> list[Piece]:
    Path(name).write_text(text, encoding="utf-8")
    return read_jobs(name, defaults)


def problems(text: str | bytes, name: str = "night.yaml", **defaults) -> list[str]:
    Path(name).write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    with pytest.raises(Problems) as caught:
        read_jobs(name, defaults)
    assert not any("\n" in line for line in caught.value.problems)
    return list(caught.value.problems)


# What may be written


def test_a_file_of_pieces():
    found = jobs(
        """
        defaults: {steps: 60, negative: noise, loudness: none}
        pieces:
        - title: Dawn
          seed: 4
          sections:
          - {prompt: slow piano, minutes: 2}
          - {prompt: strings, seconds: 45, transition: 12, negative: null}
        - {prompt: rain on a roof, minutes: 90, format: opus, loudness: -20}
        """
    )
    assert found == [
        Piece((Section("slow piano", 120, "noise"), Section("strings", 45, None, 12)), "Dawn", 4, steps=60, loudness=None),
        Piece((Section("rain on a roof", 5400, "noise"),), steps=60, format="opus", loudness=-20),
    ]


PIECE = Piece((Section("a", 60), Section("b", 30)), seed=2)
DATA = {"seed": 2, "sections": [{"prompt": "a", "minutes": 1}, {"prompt": "b", "seconds": 30}]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "seed: 2\nsections:\n- {prompt: a, minutes: 1}\n- {prompt: b, seconds: 30}\n"),
        ("a.yml", json.dumps({"defaults": {"seed": 2}, "pieces": [{"sections": DATA["sections"]}]})),
        ("a.txt", json.dumps(DATA)),
        ("a.json", json.dumps(DATA)),
        ("a.json", "\ufeff" + json.dumps({"pieces": [DATA], "defaults": None})),
        ("a.JSONL", f"\r\n\n  {json.dumps(DATA)}\r\n\n"),
        ("a.job.json", json.dumps({"mousai": "1", "model": {"name": "starter"}, "fingerprint": "f", "piece": PIECE.to_dict() | {"level_sections": None}})),
    ],
)
def test_all_forms_say_the_same(name, text):
    assert jobs(text, name) == [PIECE]


def test_the_job_file_of_a_version_that_did_not_level_sections_is_of_a_piece_without():
    (piece,) = jobs(json.dumps({"mousai": "1", "piece": PIECE.to_dict()}), "a.job.json")
    assert piece == replace(PIECE, level_sections=False)


def test_of_the_defaults_a_piece_takes_what_can_do_something_to_it():
    text = """
        defaults: {glide: true, level_sections: true, listen: false}
        pieces:
        - {prompt: a, seconds: 20}
        - {sections: [{prompt: a, seconds: 20}, {prompt: b, seconds: 20}]}
    """
    assert [(each.glide, each.level_sections, each.listen) for each in jobs(text)] == [(None, None, None), (True, True, None)]
    with pytest.raises(Problems, match="piece 1: glide: there is one section"):
        jobs("pieces: [{prompt: a, seconds: 20, glide: true}]")


def test_text_may_hold_any_line_separator():
    assert [piece.title for piece in jobs('{"prompt": "a", "seconds": 9, "title": "x\u2028\x85y"}\n', "a.jsonl")] == ["x y"]


def test_a_piece_counts_before_the_files_defaults_and_these_before_the_command_line():
    text = """
        defaults: {steps: 2, guidance: 2, minutes: 2, loop: true}
        pieces:
        - {prompt: a, steps: 1}
        - {prompt: b, steps: null, seconds: 20}
        - {prompt: c, minutes: 1}
    """
    found = jobs(text, steps=3, guidance=3, codec_steps=3, seconds=33, loudness=None)
    assert [piece.steps for piece in found] == [1, None, 2]
    assert [piece.seconds for piece in found] == [120, 20, 60]
    assert all((p.guidance, p.codec_steps, p.loop, p.loudness) == (2, 3, True, None) for p in found)


def test_what_is_said_for_all_sections():
    text = """
        negative: noise
        transition: 4
        sections: [{prompt: a}, {prompt: b, minutes: 1, transition: null}, {prompt: c, negative: voice}]
    """
    (piece,) = jobs(text, seconds=20, negative="hiss", transition=3)
    assert piece.sections == (Section("a", 20, "noise"), Section("b", 60, "noise"), Section("c", 20, "voice", 4))
    assert jobs("{prompt: a, minutes: 1}", transition=3) == [Piece((Section("a", 60),))]


def test_a_record_says_everything_itself():
    piece = Piece((Section("a", 20),), loudness=None, number=2)
    assert jobs(json.dumps({"piece": piece.to_dict()}), "a.job.json", steps=7, negative="n", loudness=-9) == [piece]


def test_recordings_are_found_from_the_folder_of_the_file(tmp_path: Path):
    (tmp_path / "night").mkdir()
    io.write(tmp_path / "night" / "a.wav", torch.zeros(2, 48000), 48000)
    text = "pieces: [{prompt: a, seconds: 20, extend: a.wav}, {prompt: b, seconds: 20, extend: a.wav, loudness: -16}]"
    first, second = jobs(text, "night/night.yaml")
    assert first.extend == second.extend == str(tmp_path / "night" / "a.wav")
    assert (first.loudness, second.loudness) == (None, -16)
    assert jobs("{prompt: a, seconds: 20}", extend="night/a.wav") == [first]
    assert jobs(json.dumps({"piece": first.to_dict()}), "a.job.json") == [first]


def test_names_are_unique_and_titles_come_first():
    text = "pieces: [{prompt: a, seconds: 9}, {prompt: A, seconds: 9}, {prompt: a, seconds: 9, seed: 1}, {prompt: a!, seconds: 9}]"
    assert [piece.name for piece in jobs(text)] == ["a-0", "a-0-2", "a-1", "a-0-3"]
    more = text[:-1] + ", {prompt: a 0, seed: 2, seconds: 9}, {title: A 1, prompt: x, seconds: 9}]"
    assert [piece.name for piece in jobs(more)] == ["a-0", "a-0-2", "a-1-2", "a-0-3", "a-0-2-2", "a-1"]


def test_thousands_of_pieces():
    lines = [json.dumps({"prompt": "slow piano", "minutes": 3, "seed": seed // 2}) for seed in range(500)]
    assert len({piece.name for piece in jobs("\n".join(lines), "a.jsonl")}) == 500
    assert len(problems("\n".join(line.replace("minutes", "mintes") for line in lines), "a.jsonl")) == 500


# What cannot be


IS = "prompt: a, seconds: 20"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["is empty; expected a piece with prompt and seconds, or several"]),
        ("# nothing yet\n", ["is empty; expected a piece with prompt and seconds, or several"]),
        (b"prompt: \xff", ["expected text in UTF-8, byte 8 is not"]),
        ("prompt: a\nseconds: 3: 4\n", ["line 2: mapping values are not allowed here"]),
        ("prompt: a\nprompt: b\n", ["line 2: the key 'prompt' comes twice"]),
        (f"pieces:\n- {{{IS}, seed: 1, seed: 2}}", ["line 2: the key 'seed' comes twice"]),
        ("prompt: a\0", ["special characters are not allowed"]),
        ("[" * 500, ["is nested too deeply"]),
        ("seconds: !!bool 7", ["holds a value that its tag does not allow"]),
        ("- prompt: a\n", ["expected a mapping with pieces, or a piece with prompt or sections, came a list"]),
        ("7", ["expected a mapping with pieces, or a piece with prompt or sections, came 7"]),
        ("seed: 7", ["expected pieces, or a piece with prompt or sections"]),
        ("peices: []", ["unknown key 'peices': did you mean 'pieces'?"]),
        ("pieces: []", ["pieces: is empty; expected a list of pieces"]),
        ("pieces:", ["pieces: is empty; expected a list of pieces"]),
        ("pieces: {a: 1}", ["pieces: expected a list of pieces, came a mapping"]),
        (f"pieces: [{{{IS}}}]\nseed: 3", ["seed: belongs to defaults or a piece, not here"]),
        (f"pieces: [{{{IS}}}]\ndefaults: [3]", ["defaults: expected a mapping, came a list"]),
        (f"pieces: [{{{IS}}}, {{{IS}}}]\ndefaults: {{steps: 0, title: x}}", [
            "defaults: title: belongs to each piece, not here", "defaults: steps: expected a whole number from 1 to 5000, came 0"
        ]),
        ("pieces: [slow piano]", ["piece 1: expected a mapping with prompt and seconds, or sections, came 'slow piano'"]),
        ("pieces: [{title: Dawn}]", [
            'piece 1 "Dawn": prompt: is missing; give prompt or sections', 'piece 1 "Dawn": seconds: is missing; give seconds or minutes'
        ]),
        ("pieces: [{promt: a, secods: 3}]", [
            "piece 1: unknown key 'promt': did you mean 'prompt'?", "piece 1: unknown key 'secods': did you mean 'seconds'?"
        ]),
        ("pieces: [{title: Dawn, sectoins: []}]", ["piece 1 \"Dawn\": unknown key 'sectoins': did you mean 'sections'?"]),
        ("prompt: a", ["seconds: is missing; give seconds or minutes"]),
        ("prompt:\nminutes: 0", ["minutes: expected a number from 0.0166667 to 1440 min, came 0", 'prompt: is empty; say what to play, for example "slow piano, melancholic"']),
        ("prompt:\nseconds: 9", ['prompt: is empty; say what to play, for example "slow piano, melancholic"']),
        ("prompt: [a]\nseconds: 9", ["prompt: expected one value, came a list"]),
        ("prompt: 7\nseconds: 9", ["prompt: expected text, came 7"]),
        ("prompt: a\nseconds: ten", ["seconds: expected a number from 1 to 86400 s, came 'ten'"]),
        ("prompt: a\nseconds: .nan", ["seconds: expected a number from 1 to 86400 s, came nan"]),
        ("prompt: a\nseconds: 0.9", ["seconds: expected a number from 1 to 86400 s, came 0.9"]),
        ("prompt: a\nminutes: 1441", ["minutes: expected a number from 0.0166667 to 1440 min, came 1441"]),
        ("prompt: a\nminutes: null", ["minutes: expected a number, came null"]),
        ("prompt: a\nminutes: 3\nseconds: 20", ["seconds and minutes: give one of the two"]),
        ("prompt: a\nseconds: 20\ntransition: 3", ["section 1: transition: nothing comes before the first section; leave it away"]),
        ("sections: []", ["sections: expected a list of sections, came an empty one"]),
        ("sections: slow piano", ["sections: expected a list of sections, came 'slow piano'"]),
        ("sections: [a]", ["section 1: expected a mapping with prompt and seconds, came 'a'"]),
        ("sections: [{prompt: a, seconds: 9, seed: 3}]", [
            "section 1: seed: belongs to the piece, not here"
        ]),
        (f"{IS.replace(', ', chr(10))}\nsections: [{{{IS}}}]", [
            "prompt: belongs to the sections, not here", "seconds: belongs to the sections, not here"
        ]),
        (f"negative: 7\nsections: [{{{IS}}}, {{{IS}}}]", ["negative: expected text, came 7"]),
        (f"pieces: [{{title: Dawn, sections: [{{{IS}}}, {{{IS}, transition: 50}}]}}]", [
            'piece 1 "Dawn", section 2: transition: 50 s reach beyond the two sections, 40 s fit at most'
        ]),
        (f"{{{IS}, title: ''}}", ["title: is empty; leave it away, and the piece is called after its prompt"]),
        (f"pieces: [{{{IS}, title: Dawn}}, {{{IS}, title: dawn!, steps: 0}}]", [
            'piece 2 "dawn!": steps: expected a whole number from 1 to 5000, came 0',
            "piece 2 \"dawn!\": title: gives the file name 'dawn', as that of piece 1 \"Dawn\" does; call one of them otherwise",
        ]),
        (f"{{{IS}, extend: none.wav}}", ["extend: no such file: {here}/none.wav"]),
        (f"{{{IS}, extend: 7}}", ["extend: expected the path of a recording, came 7"]),
        (f"{{{IS}, seed: 1.5, loudness: quiet, loop: yes}}", [
            "seed: expected a whole number from 0 to 4294967295, came 1.5",
            "loop: expected true or false, came 'yes'",
            "loudness: expected a number from -70 to 0 LUFS, came 'quiet'",
        ]),
        (f"{{{IS}, negative: voice}}\n", None),
        (f"{{{IS}, negative: voice, guidance: 1}}", [
            "negative: works through guidance, and guidance 1 is none; raise it, or leave the negative prompt away"
        ]),
        (f"{{{IS}, loop: true, extend: none.wav}}", [
            "extend: no such file: {here}/none.wav",
            "extend and loop: a recording's end cannot go on at its beginning; leave one of the two away",
        ]),
    ],
)  # fmt: skip
def test_each_problem_of_yaml_is_a_line(tmp_path: Path, text, lines):
    if lines is None:
        assert len(jobs(text)) == 1
        return
    assert problems(text) == [f"night.yaml: {line.replace('{here}', str(tmp_path))}" for line in lines]


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.json", "{", ["column 2: no JSON: Expecting property name enclosed in double quotes"]),
        ("a.json", '{\n"seed": 1,\n}', ["line 3, column 1: no JSON: Expecting property name enclosed in double quotes"]),
        ("a.json", '{"seed": 1, "seed": 2}', ["the key 'seed' comes twice"]),
        ("a.json", "[" * 100000, ["is nested too deeply"]),
        ("a.json", "null", ["is empty; expected a piece with prompt and seconds, or several"]),
        ("a.json", '{"prompt": "\\ud800", "seconds": Infinity}', [
            "prompt: is not valid UTF-8 text", "seconds: expected a number from 1 to 86400 s, came inf"
        ]),
        ("a.json", '{"piece": []}', ["unknown key 'piece': did you mean 'pieces'?"]),
        ("a.job.json", '{"piece": {"sections": [{"prompt": "a", "seconds": 0}], "sed": 1}}', [
            "piece: unknown key 'sed': did you mean 'seed'?", "piece, section 1: seconds: expected a number from 1 to 86400 s, came 0"
        ]),
        ("a.jsonl", " \n\n", ["is empty; expected a piece with prompt and seconds, or several"]),
        ("a.jsonl", '\n{"prompt": "a"}\n[]\n{"title": "D", "prompt": "", "minutes": 1}\n{"a": 1, "a": 2}\n{\n', [
            "line 2: seconds: is missing; give seconds or minutes",
            "line 3: expected a mapping with prompt and seconds, or sections, came a list",
            'line 4 "D": prompt: is empty; say what to play, for example "slow piano, melancholic"',
            "line 5: the key 'a' comes twice",
            "line 6: column 2: no JSON: Expecting property name enclosed in double quotes",
        ]),
    ],
)  # fmt: skip
def test_each_problem_of_json_is_a_line(name, text, lines):
    assert problems(text, name) == [f"{name}: {line}" for line in lines]


def test_all_problems_of_a_file_are_said_at_once():
    text = """
        defaults: {steps: many}
        pieces:
        - title: Dawn
          seed: -1
          sections: [{prompt: a, seconds: 20}, {prompt: "", seconds: 20}, {prompt: c, seconds: 0, negativ: d}]
        - 7
        - {prompt: a, seconds: 20, guidence: 3}
        - {prompt: good, seconds: 20}
    """
    assert problems(text, guidance=-1) == [
        "command line: guidance: expected a number from 0 to 100, came -1",
        "night.yaml: defaults: steps: expected a whole number from 1 to 5000, came 'many'",
        'night.yaml: piece 1 "Dawn", section 2: prompt: is empty; say what to play, for example "slow piano, melancholic"',
        "night.yaml: piece 1 \"Dawn\", section 3: unknown key 'negativ': did you mean 'negative'?",
        'night.yaml: piece 1 "Dawn", section 3: seconds: expected a number from 1 to 86400 s, came 0',
        'night.yaml: piece 1 "Dawn": seed: expected a whole number from 0 to 4294967295, came -1',
        "night.yaml: piece 2: expected a mapping with prompt and seconds, or sections, came 7",
        "night.yaml: piece 3: unknown key 'guidence': did you mean 'guidance'?",
    ]


def test_lines_stay_short_and_can_be_shown():
    data = {"title": "a\n\ud800" + 99 * "b", "prompt": "a", "seconds": "x" * 9999}
    long, title = problems(json.dumps({"pieces": [data]}), "a.json")
    label = f'a.json: piece 1 "a ?{36 * "b"}…": '
    assert long.startswith(f"{label}seconds: expected a number from 1 to 86400 s, came 'xxx") and long.endswith("x…") and len(long) <= 400
    assert title == f"{label}title: is not valid UTF-8 text"


def test_recordings_that_are_none(tmp_path: Path):
    Path("text.wav").write_text("no audio")
    (line,) = problems(f"pieces: [{{{IS}, extend: text.wav}}]")
    assert line.startswith(f"night.yaml: piece 1: extend: {tmp_path}/text.wav")
    (line,) = problems(f"pieces: [{{{IS}}}, {{{IS}}}]", extend="text.wav")
    assert line.startswith(f"command line: extend: {tmp_path}/text.wav")


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such file: none.yaml"):
        read_jobs("none.yaml")
    with pytest.raises(Problems, match="is a folder; a file of pieces was expected"):
        read_jobs(tmp_path)
