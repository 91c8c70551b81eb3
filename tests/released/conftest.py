"""Pipelines as they are released, in diffusers' layout, tiny and of random weights."""

from __future__ import annotations

import pytest

TEXTS = ["slow piano", "fast guitar and drums", "calm noise, no drums", "a melancholic dance"]


def random_weights(model, std=0.2):
    """The model, with all of its weights from chance, so that every layer has a say."""
    import torch

    for name, value in model.named_parameters():
        if "weight_g" not in name:
            torch.nn.init.normal_(value, std=std)
    return model.eval().requires_grad_(False)


def unigram(folder, max_length):
    """A tokenizer of a few sentences in a folder of its own."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(TEXTS * 5, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **names)
    wrapped.save_pretrained(folder)
    return wrapped


@pytest.fixture(scope="session")
def stable_audio_open(tmp_path_factory):
    """The folder of a tiny Stable Audio Open, and diffusers' own pipeline of the same weights."""
    pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
    pytest.importorskip("torchsde", reason="diffusers' scheduler needs it")
    import torch
    import transformers
    from diffusers import AutoencoderOobleck, CosineDPMSolverMultistepScheduler, StableAudioDiTModel, StableAudioPipeline
    from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel

    folder = tmp_path_factory.mktemp("released") / "tiny-audio-open"
    torch.manual_seed(0)
    tokenizer = unigram(folder / "tokenizer", 24)
    t5 = transformers.T5EncoderModel(transformers.T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2))
    vae = AutoencoderOobleck(8, [2, 4, 4], [1, 2, 2], 4, 4, 2, 44100)
    transformer = StableAudioDiTModel(32, 4, 2, 8, 4, 2, 4, 16, 32, 24, 12)
    projection = StableAudioProjectionModel(16, 12, 0, 1)
    parts = {"vae": vae, "text_encoder": t5, "transformer": transformer, "projection_model": projection}
    pipeline = StableAudioPipeline(
        **{name: random_weights(part, 0.2 if part is vae else 0.3) for name, part in parts.items()}, tokenizer=tokenizer, scheduler=CosineDPMSolverMultistepScheduler()
    )
    pipeline.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: stable-audio-community\n---\n# A tiny one\n")
    pipeline.set_progress_bar_config(disable=True)
    return folder, pipeline


@pytest.fixture(scope="session", params=[True, False], ids=["distilled", "base"])
def stable_audio_3(request, tmp_path_factory):
    """The folder of a tiny Stable Audio 3, and diffusers' own pipeline of the same weights."""
    pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
    import torch
    import transformers
    from diffusers import AutoencoderSAME, FlowMatchEulerDiscreteScheduler, StableAudio3DiTModel, StableAudio3Pipeline
    from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder

    folder = tmp_path_factory.mktemp("released") / "tiny-audio-3"
    torch.manual_seed(1)
    tokenizer = unigram(folder / "tokenizer", 24)
    part = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8}
    module = transformers.T5GemmaModuleConfig
    text = transformers.T5GemmaEncoderModel(transformers.T5GemmaConfig(encoder=module(**part), decoder=module(**part), is_encoder_decoder=False, vocab_size=len(tokenizer)))
    vae = AutoencoderSAME(2, 8, 8, [2], [4], [2], 4, dim_heads=8, decoder_sinusoidal_blocks=[1])
    transformer = StableAudio3DiTModel(4, embed_dim=32, depth=2, num_heads=4, cond_token_dim=16, global_cond_dim=16, local_add_cond_dim=5, timestep_features_dim=32, num_memory_tokens=3)
    duration = StableAudio3DurationEmbedder(16, 16, 0.0, 1.0, 0.5, 20.0)
    parts = {"vae": vae, "text_encoder": text, "transformer": transformer, "duration_embedder": duration}
    pipeline = StableAudio3Pipeline(
        **{name: random_weights(part) for name, part in parts.items()}, tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, stochastic_sampling=request.param),
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return folder, pipeline
