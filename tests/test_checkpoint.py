"""Model folders and training states: round trips, and what is said of cut, missing and foreign files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mousai import checkpoint
from mousai.checkpoint import fingerprint, load_config, load_model, load_state, load_strict, save_model, save_state, verify

CONFIG = {"codec": {"type": "dmae", "learning_rate": 1e-4}, "provenance": {"steps": 3}}


def make_state(count: int = 6, size: int = 1000) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {f"layer{i}.weight": torch.randn(size, generator=generator) for i in range(count)}
    return state | {"half": torch.randn(3, 2, generator=generator).bfloat16(), "steps": torch.tensor(7), "flag": torch.tensor([True])}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


@pytest.mark.parametrize("shard_bytes", [2**24, 9000])
def test_model_round_trip(tmp_path: Path, shard_bytes: int) -> None:
    state = make_state()
    save_model(tmp_path / "model", CONFIG, state, "# a card", shard_bytes)
    config, loaded = load_model(tmp_path / "model")
    assert config == {"format": 1, **CONFIG}
    assert equal(loaded, state)
    assert (tmp_path / "model" / "README.md").read_text() == "# a card"
    assert verify(tmp_path / "model") == []
    assert os.listdir(tmp_path) == ["model"]
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in (tmp_path / "model").iterdir())


def test_shards_stay_within_their_size_and_hold_the_order(tmp_path: Path) -> None:
    save_model(tmp_path / "model", CONFIG, make_state(40, 1000), "", shard_bytes=20_000)
    shards = sorted((tmp_path / "model").glob("model-*.safetensors"))
    assert len(shards) > 5 and all(path.stat().st_size <= 20_000 for path in shards)
    assert shards[0].name == f"model-00001-of-{len(shards):05}.safetensors"


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    state = {"a": torch.zeros(10), "big": torch.ones(5000), "b": torch.zeros(10)}
    save_model(tmp_path / "model", CONFIG, state, "", shard_bytes=9000)
    assert len(list((tmp_path / "model").glob("model-*.safetensors"))) == 3
    assert equal(load_model(tmp_path / "model")[1], state)


def test_tied_and_strided_tensors_are_written(tmp_path: Path) -> None:
    weight = torch.randn(4, 6)
    state = {"a": weight, "b": weight, "c": weight.T, "d": weight[1:3]}
    save_model(tmp_path / "model", CONFIG, state, "")
    assert equal(load_model(tmp_path / "model")[1], state)


def test_saving_again_replaces_and_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    save_model(tmp_path / "model", CONFIG, make_state(), "", shard_bytes=9000)
    save_model(tmp_path / "model", CONFIG, {"x": torch.zeros(1)}, "")
    assert list(load_model(tmp_path / "model")[1]) == ["x"] and not list((tmp_path / "model").glob("model-*"))
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="thesis.tex"):
        save_model(tmp_path / "model", CONFIG, make_state(), "")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        save_model(tmp_path / "file", CONFIG, make_state(), "")
    assert (tmp_path / "model" / "thesis.tex").exists() and sorted(os.listdir(tmp_path)) == ["file", "model"]


def test_a_failed_save_leaves_the_old_model_and_no_trace(tmp_path: Path) -> None:
    save_model(tmp_path / "model", CONFIG, make_state(), "")
    before = fingerprint(tmp_path / "model")
    with pytest.raises(Exception):
        save_model(tmp_path / "model", {"codec": object()}, make_state(), "")
    assert fingerprint(tmp_path / "model") == before and verify(tmp_path / "model") == []
    assert os.listdir(tmp_path) == ["model"]


def test_fingerprint_follows_weights_and_config_but_not_the_card(tmp_path: Path) -> None:
    state = make_state()
    variants = {
        "a": (CONFIG, state, "one"),
        "b": (CONFIG, state, "two"),
        "c": ({**CONFIG, "seed": 1}, state, "one"),
        "d": (CONFIG, {**state, "steps": torch.tensor(8)}, "one"),
    }
    for name, arguments in variants.items():
        save_model(tmp_path / name, *arguments)
    prints = {name: fingerprint(tmp_path / name) for name in variants}
    assert prints["a"] == prints["b"] and len({prints["a"], prints["c"], prints["d"]}) == 3
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in prints.values())


def test_places_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such model folder"):
        load_model(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no config.yaml"):
        load_model(tmp_path)
    (tmp_path / "x.ckpt").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        load_model(tmp_path / "x.ckpt")
    save_model(tmp_path / "run" / "model", CONFIG, make_state(), "")
    (tmp_path / "run" / "config.yaml").write_text("format: 1\n")
    with pytest.raises(ValueError, match="training run; its model is .*run/model"):
        load_model(tmp_path / "run")
    (tmp_path / "config.yaml").write_text("format: 99\n")
    with pytest.raises(ValueError, match="expected format: 1, came 99"):
        load_config(tmp_path)


def test_cut_missing_and_altered_weights_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_model(tmp_path / "whole", CONFIG, make_state(), "", shard_bytes=9000)
    shard = sorted((tmp_path / "whole").glob("model-*.safetensors"))[1].name

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "whole", tmp_path / name))

    cut = copy("cut")
    (cut / shard).write_bytes((cut / shard).read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{shard} is cut or damaged"):
        load_model(cut)
    assert [shard in line and "damaged" in line for line in verify(cut)] == [True]

    missing = copy("missing")
    (missing / shard).unlink()
    with pytest.raises(FileNotFoundError, match=shard):
        load_model(missing)
    assert verify(missing) == [f"{missing / shard} is missing"]

    altered = copy("altered")
    data = bytearray((altered / shard).read_bytes())
    data[-1] ^= 1
    (altered / shard).write_bytes(data)
    assert len(verify(altered)) == 1 and shard in verify(altered)[0]
    with pytest.raises(ValueError, match=f"{shard} is damaged: its SHA-256 is not the one in hashes.json; copy or export"):
        load_model(altered)

    edited = copy("edited")
    (edited / "config.yaml").write_text((edited / "config.yaml").read_text() + "more: 1\n")
    assert load_model(edited)[0]["more"] == 1 and "was changed after it was written" in caplog.text

    unlisted = copy("unlisted")
    (unlisted / "hashes.json").unlink()
    assert "hashes.json" in verify(unlisted)[0] and load_model(unlisted)

    unknown = copy("unknown")
    hashes = json.loads((unknown / "hashes.json").read_text())
    (unknown / "hashes.json").write_text(json.dumps({name: value for name, value in hashes.items() if name != shard}))
    with pytest.raises(ValueError, match=f"^{unknown / shard} has no hash in hashes.json; copy or export the model again$"):
        load_model(unknown)


@pytest.mark.parametrize("name", ["config.yaml", "hashes.json", "model.safetensors.index.json"])
def test_a_pipe_in_a_model_folder_is_refused_at_once(tmp_path: Path, name: str) -> None:
    save_model(tmp_path / "m", CONFIG, make_state(), "", shard_bytes=9000)
    (tmp_path / "m" / name).unlink()
    os.mkfifo(tmp_path / "m" / name)
    with pytest.raises(ValueError, match=f"{name}: expected a regular file, came a pipe or a device"):
        load_model(tmp_path / "m")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(wrong: float) -> None:
    module = torch.nn.Linear(2, 2)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    state["bias"][1] = wrong
    with pytest.raises(ValueError, match=r"^here: its weights are not all numbers \(bias\)"):
        checkpoint.load_strict(module, state, "here")
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


def test_load_strict() -> None:
    source, target = Small(), Small()
    load_strict(target, source.state_dict(), "here")
    assert equal(target.state_dict(), source.state_dict())
    state = source.state_dict() | {"extra": torch.zeros(1), "layers.2.bias": torch.zeros(5)}
    for index in (0, 1):
        del state[f"layers.{index}.weight"], state[f"layers.{index}.bias"]
    with pytest.raises(ValueError) as caught:
        load_strict(target, state, "here")
    message = str(caught.value)
    assert message.startswith("here: ") and "\n" not in message
    assert "4 missing (layers.0.weight, layers.0.bias, layers.1.weight, …)" in message
    assert "1 unexpected (extra)" in message and "layers.2.bias (5,) for (2,)" in message


def test_training_state_round_trip_and_keep(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state") is None
    for step in (1, 20, 300):
        state = make_state() | {"step": torch.tensor(step)}
        path = save_state(tmp_path / "state", step, state, {"epoch": step, "names": ["a"]}, keep=2)
    assert sorted(os.listdir(tmp_path / "state")) == ["step-0000020", "step-0000300"] and path.name == "step-0000300"
    step, tensors, meta = load_state(tmp_path / "state")
    assert step == 300 and equal(tensors, state) and meta == {"epoch": 300, "names": ["a"]}
    save_state(tmp_path / "state", 300, {"x": torch.zeros(1)}, {})
    assert os.listdir(tmp_path / "state") == ["step-0000300"] and list(load_state(tmp_path / "state")[1]) == ["x"]


def test_a_damaged_state_is_an_error_that_names_it(tmp_path: Path) -> None:
    for step in (1, 2):
        save_state(tmp_path, step, make_state(), {}, keep=2)
    newest = tmp_path / "step-0000002"
    whole = (newest / "state.safetensors").read_bytes()
    for damaged in (whole[:-8], whole[:-1] + bytes([whole[-1] ^ 1])):
        (newest / "state.safetensors").write_bytes(damaged)
        with pytest.raises(ValueError, match="step-0000002.*is damaged"):
            load_state(tmp_path)
    (newest / "meta.json").write_text("{")
    with pytest.raises(ValueError, match="step-0000002 is damaged"):
        load_state(tmp_path)
    shutil.rmtree(newest)
    assert load_state(tmp_path)[0] == 1
    meta = tmp_path / "step-0000001" / "meta.json"
    record = json.loads(meta.read_text())
    for edited in ({"meta": {"betas": [0.5, 0.5]}}, {"step": 7}, {"step": "1"}, {"meta": []}, {"own_sha256": None, "step": 7}):
        meta.write_text(json.dumps(record | edited))
        with pytest.raises(ValueError, match="meta.json is damaged: it is not what was written; remove the folder"):
            load_state(tmp_path)
    del record["own_sha256"]  # of an earlier version
    meta.write_text(json.dumps(record))
    assert load_state(tmp_path)[0] == 1
    (tmp_path / "step-0000001" / "meta.json").write_text(json.dumps({"sha256": checkpoint.file_hash(tmp_path / "step-0000001" / "state.safetensors"), "format": 2}))
    with pytest.raises(ValueError, match="expected format 1, came 2"):
        load_state(tmp_path)


def test_a_writer_killed_at_any_moment_leaves_a_whole_state(tmp_path: Path) -> None:
    """SIGKILL in the midst of saving: what is read then is whole, and the next save clears the rest away."""
    program = (
        "import sys, torch\nfrom mousai.checkpoint import save_state\n"
        "for step in range(1, 100000):\n    save_state(sys.argv[1], step, {'x': torch.full((200_000,), float(step))}, {'step': step})"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "state")], cwd=Path(__file__).parent.parent)
    try:
        for _ in range(3000):
            if len(list((tmp_path / "state").glob("step-*"))):
                break
            time.sleep(0.01)
        time.sleep(0.1)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    step, tensors, meta = load_state(tmp_path / "state")
    assert meta == {"step": step} and torch.equal(tensors["x"], torch.full((200_000,), float(step)))
    save_state(tmp_path / "state", step + 1, {"x": torch.zeros(1)}, {})
    assert os.listdir(tmp_path / "state") == [f"step-{step + 1:07}"]


@pytest.mark.parametrize("name", ["../outside/model.safetensors", "/etc/passwd", "sub/model.safetensors", "other.safetensors", 3, None, ["x"]])
def test_a_model_reads_nothing_outside_its_folder(tmp_path: Path, name: object) -> None:
    save_model(tmp_path / "m", {"x": 1}, {"a.w": torch.zeros(3)}, "card")
    (tmp_path / "outside").mkdir()
    save_file({"a.w": torch.ones(3)}, tmp_path / "outside/model.safetensors")
    (tmp_path / "m/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.w": name}}))
    for read in (load_model, fingerprint):
        with pytest.raises(ValueError, match="which is no file of a model folder"):
            read(tmp_path / "m")
    assert "which is no file of a model folder" in verify(tmp_path / "m")[0]
    (tmp_path / "m/model.safetensors.index.json").unlink()
    (tmp_path / "m/hashes.json").write_text(json.dumps({str(name): "00"}))
    assert "which is no file of a model folder" in verify(tmp_path / "m")[0]
