"""A joint encoder from recordings to a model folder, its vectors beside the latents of a cache, and a generator that is told them."""

import pytest
import torch
from torch.nn import functional as F

from mousai import checkpoint, config
from mousai.audio import io
from mousai.conditioners.joint import Joint, JointConfig
from mousai.data.cache import CacheReader, read_header, read_items
from mousai.jobs.cache import cache
from mousai.jobs.info import describe
from mousai.jobs.train import train
from mousai.recipe import load_part, load_recipe, recipe_from

TRAIN = {"steps": 4, "batch_size": 2, "lr": 1e-3, "log_every": 2, "save_every": 2, "valid_every": 2, "valid_batches": 1}


@pytest.fixture
def joint_recipe(tmp_path, music, tiny_joint):
    recipe = {
        "format": 1, "seed": 5, "joint": checkpoint.load_config(tiny_joint)["joint"],
        "data": {"sources": [str(music)], "cache": str(tmp_path / "mel"), "captions": 3, "crop_frames": 64}, "train": TRAIN,
    }  # fmt: skip
    config.write_yaml(tmp_path / "joint.yaml", recipe)
    return tmp_path / "joint.yaml"


@pytest.fixture
def vector_recipe(tmp_path, generator_recipe, tiny_encoder, tiny_joint):
    recipe = config.read_yaml(generator_recipe)
    recipe["conditioner"] = {"type": "joint_text", "name": str(tiny_encoder), "max_length": 16, "joint": {"name": str(tiny_joint)}}
    recipe["generator"] |= {"vector": {"features": 12, "tokens": 2}}
    recipe["data"]["cache"] = str(tmp_path / "with_vectors")
    config.write_yaml(tmp_path / "vector.yaml", recipe)
    return tmp_path / "vector.yaml"


def test_a_joint_encoder_is_cached_trained_and_loaded(joint_recipe, tmp_path):
    done = cache(joint_recipe)
    header = read_header(tmp_path / "mel")
    assert done.items == 4 and header["latent_channels"] == 20 and set(header["tensors"]) == {"latents", "vectors.text"}
    assert train(joint_recipe, tmp_path / "run").reason == "done"
    found = describe(tmp_path / "run/model")
    assert found["parameters"]["joint"] == found["parameters"]["total"] and not found["problems"]
    joint = Joint(JointConfig(str(tmp_path / "run/model")))
    assert joint.texts(["piano"]).shape == (1, 12) and joint.space == found["fingerprint"]
    kept = config.read_yaml(tmp_path / "run/config.yaml")
    assert recipe_from(kept).to_dict() == kept


def test_the_cache_of_a_generator_that_is_told_vectors_has_those_of_its_recordings(vector_recipe, generator_recipe, tiny_joint, tmp_path, monkeypatch):
    cache(generator_recipe)
    codec = type(load_part("codec", load_recipe(vector_recipe).codec.path))
    monkeypatch.setattr(codec, "encode", lambda self, audio: torch.zeros(1) if audio.shape[-1] == self.hop else pytest.fail("encodes what is known"))
    done = cache(vector_recipe, latents_of=tmp_path / "cache")
    assert done.items == 6
    items, old = read_items(tmp_path / "with_vectors"), {item["id"]: item for item in read_items(tmp_path / "cache")}
    new_reader, old_reader = CacheReader(tmp_path / "with_vectors"), CacheReader(tmp_path / "cache")
    joint = Joint(JointConfig(str(tiny_joint)))
    for item in items:
        assert torch.equal(new_reader.tensor(item, "latents"), old_reader.tensor(old[item["id"]], "latents"))
        told = [new_reader.condition(item, caption)["vectors.music"] for caption in range(3)]
        assert torch.equal(told[0], told[2]) and abs(float(told[0].norm()) - 1) < 1e-4
    item = next(item for item in items if item["track"].startswith("0"))
    audio = io.read(tmp_path / "music/0.wav", 16000, 2)
    assert F.cosine_similarity(joint.audio(audio[None])[0], new_reader.condition(item, 0)["vectors.music"], dim=0) > 1 - 1e-4


def test_a_generator_goes_on_from_one_without_vectors(vector_recipe, generator_recipe, tmp_path):
    cache(generator_recipe)
    train(generator_recipe, tmp_path / "before")
    cache(vector_recipe, latents_of=tmp_path / "cache")
    start = [f"train.start_from={tmp_path / 'before/model'}", "train.steps=2"]
    assert train(vector_recipe, tmp_path / "after", start).reason == "done"
    found = describe(tmp_path / "after/model")
    assert found["licences"] == {"conditioner": None} and found["config"]["conditioner"]["type"] == "joint_text"


def test_wrong_recipes_and_caches_are_refused(joint_recipe, vector_recipe, generator_recipe, tmp_path):
    plain = config.read_yaml(joint_recipe)
    with pytest.raises(ValueError, match="joint: is trained alone"):
        recipe_from({**plain, "codec": {"path": "x"}})
    with pytest.raises(ValueError, match="expected conditioner and generator beside it, and no codec"):
        recipe_from({**plain, "joint": {"name": "x"}})
    with pytest.raises(ValueError, match="missing key 'codec'"):
        recipe_from({key: value for key, value in plain.items() if key != "joint"})
    with pytest.raises(ValueError, match="with 9 features, the conditioner gives it with 12"):
        cache(vector_recipe, ["generator.vector.features=9"])
    with pytest.raises(FileNotFoundError, match="no latent cache"):
        cache(vector_recipe, latents_of=tmp_path / "nowhere")
    cache(joint_recipe)
    with pytest.raises(ValueError, match="its latents are of no use here"):
        cache(vector_recipe, latents_of=tmp_path / "mel")
    assert load_recipe(generator_recipe).joint is None
