"""A damaged tokenizer is told of in one line, whatever Rust writes of it; nothing else that is written gets lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mousai import compat
from mousai.conditioners.text import TextConditioner, TextConfig


@pytest.mark.parametrize("place, name", [("post_processor", "[CLS]"), ("model", "[UNK]")])
def test_a_damaged_tokenizer_is_one_error(place: str, name: str, tiny_encoder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    words = json.loads((folder / "tokenizer.json").read_text())
    if place == "model":
        words["model"]["unk_token"] = "nobody"
    else:
        words["post_processor"]["special_tokens"].pop(name)
    (folder / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match="the tokenizer of .* is damaged: ") as caught:
        TextConditioner(TextConfig(name=str(folder), max_length=16)).encode(["slow piano", "unheard of"])
    assert "\n" not in str(caught.value)
    assert "panicked" not in capfd.readouterr().err


def test_the_report_alone_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    class PanicException(BaseException):
        pass

    with pytest.raises(ValueError, match="^it is damaged: no such entry$"), compat.without_panics("it"):
        os.write(2, b"before\n\nthread '<unnamed>' (4711) panicked at src/a.rs:1:2:\nno such\nentry\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\nafter\n")
        raise PanicException("no such\nentry")
    assert capfd.readouterr().err == "before\nafter\n"
    other = b"thread 'main' panicked at src/a.rs:1:2:\nanother\n"
    assert compat.without_report(other, "no such") == other
    for error in (KeyError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)), compat.without_panics("it"):
            os.write(2, b"said\n")
            raise error
    with compat.without_panics("it"):
        os.write(2, b"fine\n")
    assert capfd.readouterr().err == "said\nsaid\nfine\n"
