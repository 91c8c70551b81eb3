"""What can be asked for, and the line that is said of what cannot."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mousai.request.clip import MAX_SECONDS, Request, read_prompts
from mousai.request.together import of_recipe

GAP = {"inpaint": "x.wav", "span": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts": []}, "no prompt"),
        ({"prompts": [" \n"]}, "prompt: is empty"),
        ({"prompts": ["a", "", "b"]}, "prompt 2: is empty"),
        ({"prompts": [7]}, "prompt: expected text, came 7"),
        ({"prompts": "x" * 4001}, "4003 bytes, the limit is 4000"),
        ({"prompts": "\udcff"}, "not valid UTF-8"),
        ({"seconds": 0}, "seconds: expected a number from 0.001 to 600 s, came 0"),
        ({"seconds": -3.5}, "came -3.5"),
        ({"seconds": math.nan}, "came nan"),
        ({"seconds": math.inf}, "came inf"),
        ({"seconds": 1e6}, "to 600 s, came 1e"),
        ({"seconds": "10"}, "seconds: expected a number .* came '10'"),
        ({"seconds": True}, "came True"),
        ({"seed": -1}, "seed: expected a whole number from 0 to"),
        ({"seed": 2**32}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"steps": 0}, "steps: expected a whole number from 1 to 5000, came 0"),
        ({"steps": 5001}, "steps"),
        ({"steps": 10.0}, "steps"),
        ({"codec_steps": 0}, "codec_steps"),
        ({"batch": 0}, "batch: expected a whole number from 1"),
        ({"guidance": -0.1}, "guidance: expected a number from 0 to 100"),
        ({"guidance": math.nan}, "guidance"),
        ({"eta": 1.1}, "eta"),
        ({"rescale": -1}, "rescale"),
        ({"interval": (0.5, 0.2)}, "interval: expected two times"),
        ({"interval": (0.5,)}, "interval: expected two numbers"),
        ({"negative": "\udcff"}, "negative prompt: is not valid"),
        ({"schedule": "liner"}, "did you mean 'linear'"),
        ({"sampler": "dpmpp_2m", "eta": 0.5}, "eta: belongs to ddim"),
        ({"strength": 0.5}, "strength: .* there is none"),
        ({"listen": True}, "listen: .* there is none"),
        ({"listen": False}, "listen: .* there is none"),
        ({"init": "x.wav", "strength": 0}, "strength: expected a number above 0 and at most 1, came 0"),
        ({"init": "x.wav", "strength": 1.01}, "strength"),
        ({"init": "x.wav", **GAP}, "init and inpaint"),
        ({"inpaint": "x.wav"}, "belong together"),
        ({"span": (1, 2)}, "belong together"),
        (GAP | {"span": (2, 1)}, "0 <= from < to, came from 2 to 1"),
        (GAP | {"span": (-1, 1)}, "span"),
        (GAP | {"span": (0, math.nan)}, "span"),
        (GAP | {"seconds": 3}, "the recording gives the length"),
        (GAP | {"sampler": "ddim"}, "inpainting samples by DDIM"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(values, message):
    with pytest.raises(ValueError, match=message) as caught:
        Request(**{"prompts": "slow piano", **values})
    assert "\n" not in str(caught.value)


def test_the_ends_of_the_ranges_belong_to_them():
    Request("x", 0.001, 0, steps=1, guidance=0, eta=0, rescale=0, batch=1)
    Request("x", MAX_SECONDS, 2**32 - 1, steps=5000, guidance=100, eta=1, rescale=1, interval=(0, 1), sampler="ddim")
    Request("x", init=torch.zeros(2, 9), strength=1)


def test_prompts_and_seeds():
    request = Request([" a ", "b\tc"], seed=2**32 - 1, negative="  ")
    assert request.prompts == ("a", "b\tc") and request.negative is None and len(request) == 2
    assert [request.seed_of(i) for i in range(2)] == [2**32 - 1, 0]
    assert Request("one prompt, not letters").prompts == ("one prompt, not letters",)


def test_a_recording_is_long_enough():
    Request("x", 3, init="x.wav").check_length(3.0)
    Request("x", init="x.wav").check_length(MAX_SECONDS)
    with pytest.raises(ValueError, match="lasts 2.000 s, 3 s were asked for"):
        Request("x", 3, init="x.wav").check_length(2.0)
    with pytest.raises(ValueError, match="lasts 601 s, the limit is 600 s; cut it, or ask for fewer seconds"):
        Request("x", init="x.wav").check_length(601.0)


@pytest.mark.parametrize(("span", "message"), [((1, 2.5), "outside the recording, which lasts 2.000 s"), ((0, 2), "the whole recording")])
def test_a_span_lies_within_its_recording(span, message):
    with pytest.raises(ValueError, match=message):
        Request("x", inpaint="x.wav", span=span).check_span(2.0)
    Request("x", inpaint="x.wav", span=(0, 1)).check_span(2.0)
    Request("x", inpaint="x.wav", span=(1, 2)).check_span(2.0)


def test_a_file_of_prompts(tmp_path: Path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffslow piano\r\n\n  # a remark\nÜbung, 音楽\n".encode())
    assert read_prompts(file) == ["slow piano", "Übung, 音楽"]
    file.write_text("\n# nothing\n")
    with pytest.raises(ValueError, match="has no prompt"):
        read_prompts(file)
    file.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="byte 3 is not"):
        read_prompts(file)
    with pytest.raises(FileNotFoundError):
        read_prompts(tmp_path / "none.txt")


def test_a_file_without_end_has_no_prompts(tmp_path) -> None:
    with pytest.raises(ValueError, match="/dev/zero: expected a regular file"):
        read_prompts("/dev/zero")
    (tmp_path / "large.txt").touch()
    os.truncate(tmp_path / "large.txt", 2**26 + 1)
    with pytest.raises(ValueError, match="large.txt: is larger than 64 MiB"):
        read_prompts(tmp_path / "large.txt")


def test_most_requests_are_checked_without_torch():
    program = "import sys; from mousai.request.clip import Request; Request('x', 3, negative='y', steps=4); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_prompts_that_were_read_beside_are_a_list():
    assert of_recipe({"read_beside": ["slow piano"]}).prompts == ("slow piano",) and of_recipe({"batch": 2}).prompts == () and of_recipe({"read_beside": None}).prompts is None
    for wrong in ("abc", 5, {"a": 1}):
        with pytest.raises(ValueError, match="read_beside: expected a list of prompts"):
            of_recipe({"read_beside": wrong})
