"""Joint text–music encoders: our own, MuQ-MuLan and CLAP of tiny random weights against their own forward passes."""

import importlib.util
import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from mousai import checkpoint
from mousai.conditioners import clap, mulan
from mousai.conditioners.contrastive import TEXT, Contrastive, ContrastiveConfig, alike, contrast
from mousai.conditioners.joint import VECTOR, Joint, JointConditioner, JointConfig
from mousai.networks.mel_tower import MelTower, MelTowerConfig
from mousai.recipe import part_from
from mousai.types import Condition


def noise(*shape, seed=0):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# What all of them share


def test_a_long_recording_is_the_renormalised_mean_of_its_clips(tiny_joint):
    joint = Joint(JointConfig(str(tiny_joint)))
    audio = noise(2, 2, 3 * 8000)  # three clips of half a second
    clips = joint.clips(audio)
    assert clips.shape == (2, 3, 12)
    level = audio * 0.1 / audio.square().mean((1, 2), keepdim=True).sqrt()  # each recording is heard at one level
    own = joint.encoder.of_clips(level.mean(1)[:, 8000:16000])
    torch.testing.assert_close(clips[:, 1], own, atol=1e-6, rtol=0)
    torch.testing.assert_close(joint.audio(audio), F.normalize(clips.mean(1), dim=-1))
    torch.testing.assert_close(joint.audio(audio).norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(joint.audio(3 * audio), joint.audio(audio), atol=1e-5, rtol=0)
    assert joint.audio(audio[..., :40]).isfinite().all()  # shorter than a frame: repeated


def test_a_conditioner_gives_the_vectors_of_texts_and_of_sound(tiny_joint):
    conditioner = JointConditioner(JointConfig(str(tiny_joint)))
    assert conditioner.gives.vectors == {VECTOR: 12} and not conditioner.gives.tokens
    condition = conditioner.encode(["slow piano", "fast guitar"])
    assert condition.vectors[VECTOR].shape == (2, 12)
    audio = noise(1, 1, 16000)
    heard = conditioner.of_audio(audio.repeat_interleave(2, -1), 32000)[f"vectors.{VECTOR}"]
    assert F.cosine_similarity(heard, conditioner.of_audio(audio, 16000)[f"vectors.{VECTOR}"]) > 0.9
    together = part_from("conditioner", {"type": "joint_text", "name": conditioner.joint.encoder.module.config.text.name, "max_length": 8, "joint": {"name": str(tiny_joint)}}).build()
    told = together.encode(["slow piano"])
    assert told.tokens is not None and told.vectors[VECTOR].isnan().all()  # a text says no point


def test_what_lies_in_the_padding_is_not_heard():
    torch.manual_seed(0)
    tower, mel = MelTower(MelTowerConfig(channels=(8, 8), blocks=(1, 0), kernel=3), 6, 5).eval(), 20 * torch.randn(2, 6, 40)
    real, padded = torch.tensor([16, 40]), mel.clone()
    padded[0, :, 16:] = 40.0
    torch.testing.assert_close(tower(padded, real), tower(mel, real))
    assert not torch.allclose(tower(padded), tower(mel), atol=0.01)


# Our own


def test_contrast_is_the_cross_entropy_of_both_directions_and_shares_equal_captions():
    audio, text = (F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)), dim=-1) for seed in (0, 1))
    loss, _ = contrast(audio, text, torch.eye(3, dtype=torch.bool), 7.0)
    logits = 7 * audio @ text.T
    torch.testing.assert_close(loss, -(logits.log_softmax(0).diag() + logits.log_softmax(1).diag()).mean() / 2)
    text[2] = text[0]
    same = alike(text)
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    logits = 7 * audio @ text.T
    wanted = same / same.sum(1, keepdim=True)
    by_hand = -(wanted * logits.log_softmax(1)).sum(1).mean() / 2 - (wanted * logits.log_softmax(0)).sum(0).mean() / 2
    torch.testing.assert_close(contrast(audio, text, same, 7.0)[0], by_hand)


def test_a_small_one_learns_which_caption_belongs_to_which_spectrum():
    torch.manual_seed(0)
    config = ContrastiveConfig(features=8, hidden=16, text_features=6, tower=MelTowerConfig((16,), (1,), 3), dropout=0.0)
    model, optimizer = Contrastive(config), None
    mel, condition = 20 * torch.randn(6, 80, 20), Condition(vectors={TEXT: torch.randn(6, 6)})
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for step in range(60):
        loss, logs = model.loss(mel, condition, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss, logs = model.eval().loss(mel, condition, torch.Generator())
    assert logs["hits"] == 1 and loss < 0.5


def test_wrong_folders_and_weights_are_refused_in_one_line(tiny_joint, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such model folder: nowhere"):
        Joint(JointConfig("nowhere"))
    settings, state = checkpoint.load_model(tiny_joint)
    checkpoint.save_model(tmp_path / "codec", {"codec": {"type": "magnitude"}}, {"codec.x": torch.zeros(1)}, "")
    with pytest.raises(ValueError, match="has no joint encoder of ours"):
        Joint(JointConfig(str(tmp_path / "codec")))
    state["joint.leave.bias"][0] = torch.nan
    settings.pop("format")
    checkpoint.save_model(tmp_path / "nan", settings, state, "")
    with pytest.raises(ValueError, match="not all numbers"):
        Joint(JointConfig(str(tmp_path / "nan")))
    settings["joint"]["text_features"] = 31
    state["joint.leave.bias"][0] = 0.0
    checkpoint.save_model(tmp_path / "narrow", settings, state, "")
    with pytest.raises(ValueError, match="the weights do not fit the config"):
        Joint(JointConfig(str(tmp_path / "narrow")))


# Others'


@pytest.fixture(scope="module")
def tiny_mulan(tmp_path_factory):
    """A MuQ-MuLan of random weights in the layout of the released one, its two encoders beside it."""
    if importlib.util.find_spec("muq") is None:
        pytest.skip(mulan.INSTALL)
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("mulan")
    words = ["<s>", "<pad>", "</s>", "<unk>", *"slow fast piano techno".split()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    text, audio = folder / "xlm-roberta-tiny", folder / "muq-tiny"
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>").save_pretrained(text)
    torch.manual_seed(0)
    roberta = transformers.XLMRobertaConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=40)
    transformers.XLMRobertaModel(roberta).save_pretrained(text)
    conformer = transformers.Wav2Vec2ConformerConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, position_embeddings_type="rotary", conv_depthwise_kernel_size=3, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2).to_dict()
    small = {key: value for key, value in conformer.items() if isinstance(value, (int, float, str, bool)) and not key.startswith("_")}
    with mulan.standing_in_for_x_clip():
        muq = importlib.import_module("muq")

    stat = {"melspec_2048_mean": 0.0, "melspec_2048_std": 20.0}
    shape = {"conv_dim": 8, "encoder_dim": 16, "encoder_depth": 2, "stat": stat, "w2v2_config": small, "codebook_size": 8, "codebook_dim": 4}
    muq.MuQ(shape).save_pretrained(audio, config=shape)
    transformer = {"dim": 16, "tf_depth": 1, "heads": 2, "dim_head": 8}
    config = {
        "mulan": {"sr": 24000, "clip_secs": 1, "dim_latent": 10, "rank_contrast": True, "decoupled_contrastive_learning": True},
        "audio_model": {"name": str(audio), "model_dim": 16, "use_layer_idx": 1}, "text_model": {"name": str(text), "model_dim": 16},
        "audio_transformer": transformer, "text_transformer": {**transformer, "max_seq_len": 32},
    }  # fmt: skip
    whole = folder / "mulan"
    muq.MuQMuLan(config).save_pretrained(whole, config=config)
    return whole


def test_mulan_gives_what_its_own_forward_pass_gives_renormalised(tiny_mulan):
    joint = Joint(JointConfig(str(tiny_mulan), "mulan"))
    assert (joint.features, joint.sample_rate, joint.clip_samples) == (10, 24000, 24000)
    audio = noise(2, 1, 60000)  # two clips and a half: the third goes on with the beginning
    with torch.no_grad():
        own = joint.encoder.model(wavs=audio[:, 0])
        texts = joint.encoder.model(texts=["slow piano", "fast techno"])
    torch.testing.assert_close(joint.audio(audio), F.normalize(own, dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(joint.texts(["slow piano", "fast techno"]), F.normalize(texts, dim=-1), atol=1e-5, rtol=0)
    assert JointConditioner.licence_of(joint.config) == "CC-BY-NC-4.0"
    assert "x_clip" not in sys.modules


def test_mended_conformers_give_the_inputs_of_their_layers_and_their_output(tiny_mulan):
    conformer = Joint(JointConfig(str(tiny_mulan), "mulan")).encoder.model.mulan.audio.model.model.conformer
    x = torch.randn(1, 5, 16)
    with torch.no_grad():
        found = conformer(x)
        after = conformer.inner.layers[0](x, attention_mask=None, relative_position_embeddings=conformer.inner.embed_positions(x))
    states = found["hidden_states"]
    assert len(states) == 3 and torch.equal(states[0], x) and torch.equal(states[-1], found["last_hidden_state"])
    torch.testing.assert_close(states[1], after if isinstance(after, torch.Tensor) else after[0])


def test_clap_gives_what_transformers_gives(tmp_path, tiny_encoder):
    import transformers

    torch.manual_seed(0)
    text = dict(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=40)
    audio = dict(hidden_size=32, patch_embeds_hidden_size=4, depths=[1, 1], num_attention_heads=[2, 2], num_hidden_layers=2, spec_size=64, num_mel_bins=16, window_size=4)
    model = transformers.ClapModel(transformers.ClapConfig(text_config=text, audio_config={**audio, "hidden_size": 8}, projection_dim=6))
    model.save_pretrained(tmp_path)
    hears = transformers.ClapFeatureExtractor(feature_size=16, sampling_rate=16000, hop_length=160, max_length_s=1, fft_window_size=256, frequency_max=8000, truncation="rand_trunc")
    transformers.ClapProcessor(hears, transformers.AutoTokenizer.from_pretrained(tiny_encoder)).save_pretrained(tmp_path)
    joint = Joint(JointConfig(str(tmp_path), "clap"))
    sound = noise(2, 1, 16000)
    with torch.no_grad():
        own = model.eval().get_audio_features(**hears(list(sound[:, 0].numpy()), sampling_rate=16000, return_tensors="pt")).pooler_output
    torch.testing.assert_close(joint.audio(sound), own, atol=1e-5, rtol=0)
    assert joint.texts(["slow piano"]).shape == (1, 6)
    again = Joint(JointConfig(str(tmp_path), "clap"))
    assert joint.space == again.space and JointConditioner.licence_of(joint.config) is None
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "projection_dim": 7}))
    with pytest.raises(ValueError, match="CLAP .* cannot be loaded"):
        Joint(JointConfig(str(tmp_path), "clap"))
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="CLAP .* cannot be loaded"):
        Joint(JointConfig(str(tmp_path), "clap"))


def test_what_is_not_here_is_named(monkeypatch, tiny_mulan, tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match="--download"):
        clap.load(JointConfig("laion/larger_clap_music", "clap"))
    with pytest.raises(FileNotFoundError, match="--download"):
        mulan.load(JointConfig(mulan.RELEASED, "mulan"))
    other = tmp_path / "other"
    shutil.copytree(tiny_mulan, other)
    settings = json.loads((other / "config.json").read_text())
    for part, named, message in (
        ("text_model", {"name": "qwen"}, "expected a text_model of the kind xlm-roberta"),
        ("text_model", "x", "expected a text_model of the kind xlm-roberta"),
        ("audio_model", {"name": "runs-code-of-its-own"}, "expected an audio_model of the kind muq"),
        ("audio_transformer", "x", "cannot be loaded"),
    ):
        (other / "config.json").write_text(json.dumps({**settings, part: named}))
        with pytest.raises(ValueError, match=message):
            mulan.load(JointConfig(str(other), "mulan"))
    (other / "config.json").write_text(json.dumps(settings))
    (other / "a.safetensors").write_bytes(b"beside it")
    assert mulan.weights_hash(other) == mulan.weights_hash(tiny_mulan)
    state = load_file(other / "model.safetensors")
    name = "mulan.audio_to_latents.weight"
    save_file({**state, "more": torch.zeros(1)}, other / "model.safetensors")
    mulan.load(JointConfig(str(other), "mulan"))
    assert [record.getMessage() for record in caplog.records if record.name == mulan.logger.name] == [f"MuQ-MuLan {str(other)!r} has no use for 1 tensors of model.safetensors (more)"]
    save_file({key: value for key, value in state.items() if key != name}, other / "model.safetensors")
    with pytest.raises(ValueError, match=rf"its model.safetensors lacks 1 weights \({name}\); copy or fetch it again"):
        mulan.load(JointConfig(str(other), "mulan"))
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="has no model.safetensors"):
        mulan.load(JointConfig(str(other), "mulan"))
    monkeypatch.setattr(mulan.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="MuQ-MuLan needs muq, nnAudio, easydict: pip install --no-deps muq"):
        mulan.load(JointConfig(str(tiny_mulan), "mulan"))
