"""Strict configs: what is accepted, what is refused and in which words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from mousai.config import from_dict, override, parse_yaml, read_yaml, to_dict, write_yaml


BOMB = "[" + ", ".join(["&a0 [x, x]", *(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]) + "]"


@pytest.mark.parametrize(("text", "message"), [
    (BOMB, "its aliases stand for more than 16,777,216 letters"),
    (f"[&x '{'y' * 10_000}', {', '.join(['*x'] * 2000)}]", "its aliases stand for"),
    ("&a [*a]", "its aliases stand for"),
    ("[" * 10_000, "nested too deeply"),
    ("{a: " * 10_000, "nested too deeply"),
    ("!!bool x", "holds a value that its tag does not allow"),
    ("!!timestamp x", "holds a value that its tag does not allow"),
    ("!!float ''", "holds a value that its tag does not allow"),
    ("!!int ''", "holds a value that its tag does not allow"),
    ("1" * 5000, "holds a value that its tag does not allow"),
    ("a: \x01", "special characters are not allowed"),
    ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
], ids=lambda text: text[:20])  # fmt: skip
def test_whatever_a_parser_raises_is_one_line(text: str, message: str) -> None:
    for read in (lambda: parse_yaml(text, "here"), lambda: override({}, [f"here={text}"])):
        with pytest.raises(ValueError, match=f"^here.*{message}") as caught:
            read()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_aliases_are_fine_where_they_stand_for_little() -> None:
    assert parse_yaml("[&a {x: 1}, *a, &b [*a, *a], *b]", "here")[3] == [{"x": 1}, {"x": 1}]


def test_a_large_value_is_shown_in_short() -> None:
    for value in ("x" * 10_000, list(range(10_000)), {"x": {"y": ["z" * 10_000] * 100}}):
        with pytest.raises(ValueError) as caught:
            from_dict(Optimizer, {"learning_rate": value})
        assert len(str(caught.value)) < 200


def test_numbers_are_finite_and_of_64_bits() -> None:
    for data in ({"steps": 10**30}, {"steps": 1, "size": -(10**30)}, {"steps": 1, "optimizer": {"learning_rate": float("nan")}}, {"steps": 1, "weights": {"a": float("inf")}}):
        with pytest.raises(ValueError, match="expected a (finite|whole) number") as caught:
            from_dict(Train, data)
        assert len(str(caught.value)) < 200


def test_a_file_without_end_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/dev/zero: expected a regular file"):
        read_yaml("/dev/zero")
    (tmp_path / "large.yaml").touch()
    os.truncate(tmp_path / "large.yaml", 2**24 + 1)
    with pytest.raises(ValueError, match="large.yaml: is larger than 16 MiB"):
        read_yaml(tmp_path / "large.yaml")


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.95, 0.999)


@dataclass(frozen=True)
class Train:
    steps: int
    name: str = "adamw"
    compile: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels: tuple[int, ...] = ()
    note: str | None = None
    size: int | str = 1
    weights: dict[str, float] = field(default_factory=dict)
    optimizer: Optimizer = field(default_factory=Optimizer)
    stages: tuple[Optimizer, ...] = ()
    resume: Optimizer | str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, came {self.steps}")


FULL = {
    "steps": 10,
    "name": "sgd",
    "compile": True,
    "dtype": "bfloat16",
    "channels": [1, 2, 3],
    "note": "x",
    "size": "big",
    "weights": {"a": 1},
    "optimizer": {"learning_rate": 1, "betas": [0.5, 0.9]},
    "stages": [{"learning_rate": 0.1}, {}],
    "resume": {"learning_rate": 2.0},
    "extra": {"any": ["thing"]},
}


def test_every_kind_of_field_is_filled() -> None:
    train = from_dict(Train, FULL)
    assert train.channels == (1, 2, 3)
    assert train.optimizer == Optimizer(1.0, (0.5, 0.9)) and type(train.optimizer.learning_rate) is float
    assert type(train.weights["a"]) is float
    assert train.stages == (Optimizer(0.1), Optimizer())
    assert train.resume == Optimizer(2.0)


def test_dict_and_back() -> None:
    train = from_dict(Train, FULL)
    plain = to_dict(train)
    assert plain["channels"] == [1, 2, 3] and plain["stages"][0] == {"learning_rate": 0.1, "betas": [0.95, 0.999]}
    assert from_dict(Train, plain) == train
    assert from_dict(Train, to_dict(Train(steps=1))) == Train(steps=1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"stpes": 3}, ["'train.stpes'", "'steps'"]),
        ({"steps": 3, "optimizer": {"learning_rat": 1}}, ["'train.optimizer.learning_rat'", "'learning_rate'"]),
        ({"steps": 3, "zzzzzzzz": 1}, ["'train.zzzzzzzz'", "valid keys are steps, name"]),
        ({}, ["train: missing key 'steps'"]),
        ({"steps": "3"}, ["train.steps: expected a whole number, came '3' (str)"]),
        ({"steps": 3.0}, ["train.steps", "3.0 (float)"]),
        ({"steps": True}, ["train.steps", "True (bool)"]),
        ({"steps": None}, ["train.steps", "came null"]),
        ({"steps": 3, "compile": 1}, ["train.compile: expected true or false, came 1 (int)"]),
        ({"steps": 3, "dtype": "float16"}, ["train.dtype", "'bfloat16'", "'float16'"]),
        ({"steps": 3, "channels": [1, "a"]}, ["train.channels[1]", "'a'"]),
        ({"steps": 3, "channels": 4}, ["train.channels: expected a list"]),
        ({"steps": 3, "optimizer": {"betas": [0.1]}}, ["train.optimizer.betas: expected 2 items, came 1"]),
        ({"steps": 3, "optimizer": [1]}, ["train.optimizer: expected a mapping"]),
        ({"steps": 3, "weights": {"a": "b"}}, ["train.weights.a: expected a number"]),
        ({"steps": 3, "size": 1.5}, ["train.size: expected a whole number or text"]),
        ({"steps": 3, "resume": {"learning": 1}}, ["'train.resume.learning'", "'learning_rate'"]),
        ({"steps": 0}, ["train: steps must be at least 1, came 0"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(data: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        from_dict(Train, data, "train")
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_yaml_is_read_by_the_core_schema() -> None:
    data = parse_yaml("{a: 1e-4, b: no, c: 12:30, d: 2026-01-01, e: true, f: ~, g: -3, h: 1., i: '1e-4', j: 007}", "x")
    assert data == {"a": 1e-4, "b": "no", "c": "12:30", "d": "2026-01-01", "e": True, "f": None, "g": -3, "h": 1.0, "i": "1e-4", "j": "007"}


def test_what_is_written_is_read_back_the_same(tmp_path) -> None:
    data = {
        "texts": ["1e-4", "no", "true", "null", "", "é, #x: y", "two\nlines", "007", "1_000", "~", "-"],
        "numbers": [1e-4, 1e-6, 1e22, 0.1, -0.0, 3, float("inf")],
        "others": [True, None, [], {}, {"a": {"b": [1, [2]]}}],
    }
    write_yaml(tmp_path / "new" / "x.yaml", data)
    assert read_yaml(tmp_path / "new" / "x.yaml") == data
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.yaml"]


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    write_yaml(tmp_path / "x.yaml", {"a": 1})
    with pytest.raises(Exception):
        write_yaml(tmp_path / "x.yaml", {"a": object()})
    assert read_yaml(tmp_path / "x.yaml") == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: 1\nb: [1\nc: 2", "line 3"), ("a: 1\na: 2", "line 2: the key 'a' comes twice"), ("- 1", "expected a mapping"), ("? [1, 2]\n: 3", "key must be text"), ("a: !!python/name:os.system x", "line 1")],
)
def test_bad_yaml_is_one_line_with_its_number(tmp_path, text: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_yaml(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        read_yaml(tmp_path / "x.yaml")


def test_override() -> None:
    data = {"train": {"steps": 1, "name": "a"}, "seed": 0}
    new = override(data, ["train.steps=100", "seed=1e-3", "codec.channels=[1, 2]", "train.name=x=y"])
    assert new == {"train": {"steps": 100, "name": "x=y"}, "seed": 1e-3, "codec": {"channels": [1, 2]}}
    assert data == {"train": {"steps": 1, "name": "a"}, "seed": 0}


@pytest.mark.parametrize("assignment", ["train.steps", "=3", "train..steps=3", "seed.x=3", "train.steps=[1"])
def test_override_refuses(assignment: str) -> None:
    with pytest.raises(ValueError) as caught:
        override({"train": {"steps": 1}, "seed": 0}, [assignment])
    assert "\n" not in str(caught.value)
