"""What must be so before any test imports torch: one thread that does not spin, no network, torchaudio without its library,
no index in the user's home; a Ctrl-C that is heard, which a shell's background jobs do not; and a command line that is put
together once, which takes longer than many a command."""

import functools
import os
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
signal.signal(signal.SIGINT, signal.default_int_handler)
_cache = tempfile.TemporaryDirectory(prefix="mousai-tests-")  # removed at the end
os.environ["MOUSAI_CACHE"] = _cache.name

import pytest  # noqa: E402
import typer.main  # noqa: E402

import mousai  # noqa: E402, F401  (installs the hook of mousai/compat.py)

typer.main.get_command = functools.cache(typer.main.get_command)

TINY_CODEC = {
    "type": "dmae", "stereo": "mid_side",
    "encoder": {"spectrum": "log_magnitude", "bottleneck": "none", "linear": "only", "multipliers": [1, 1], "factors": [4],
                "num_blocks": [0], "out_channels": 8, "n_fft": 1023, "hop_length": 256},
    "unet": {"in_channels": 512, "channels": [32, 32], "factors": [1, 2], "items": [1, 1], "inject_channels": [16, 0],
             "modulation_features": 16, "resnet_groups": 4},
    "transform": {"type": "mdct", "bands": 256},
    "prior": {"channels": 16, "blocks": 1},
    "decode": {"steps": 3, "stride_frames": 64, "context_frames": 8},
}  # fmt: skip
TINY_GENERATOR = {
    "type": "latent_diffusion", "max_tokens": 24, "sample": {"steps": 4, "guidance": 3.0, "resamples": 2},
    "unet": {"in_channels": 8, "channels": [16, 16], "factors": [1, 2], "items": [1, 1], "attentions": [0, 1], "cross_attentions": [1, 1],
             "embedding_features": 32, "attention_heads": 2, "attention_features": 8, "modulation_features": 16, "resnet_groups": 4},
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """A BERT of random weights with a tokenizer of whole words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"piano guitar slow fast calm melancholic dance noise 1 2 3 4 of".split()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    settings = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, max_position_embeddings=32
    )
    transformers.BertModel(settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_joint(tmp_path_factory, tiny_encoder):
    """The folder of a joint text–music encoder of random weights: 12 features, 16 kHz, clips of half a second."""
    from mousai import checkpoint
    from mousai.recipe import part_from

    small = {
        "type": "contrastive", "features": 12, "hidden": 16, "text_features": 32, "clip_seconds": 0.5, "text": {"name": str(tiny_encoder), "max_length": 16},
        "mel": {"sample_rate": 16000, "n_fft": 256, "hop": 128, "bands": 20}, "tower": {"channels": [8, 8], "blocks": [0, 1], "kernel": 3},
    }  # fmt: skip
    part = part_from("joint", small)
    state = {f"joint.{name}": value for name, value in part.build(seed=2).state_dict().items()}
    folder = tmp_path_factory.mktemp("models") / "tiny_joint"
    checkpoint.save_model(folder, {"joint": part.to_dict()}, state, "# A joint encoder")
    return folder


@pytest.fixture(scope="session")
def tiny_cascade(tmp_path_factory, tiny_encoder):
    """The folder of a whole cascade with small numbers and random weights, 48 kHz stereo, stored in float16."""
    conditioner = {"type": "text", "name": str(tiny_encoder), "max_length": 24}
    return random_model(tmp_path_factory.mktemp("models") / "tiny", conditioner, TINY_GENERATOR)


@pytest.fixture(scope="session")
def tiny_musical_cascade(tmp_path_factory, tiny_encoder):
    """The folder of one that is told tempo, key, metre and chords."""
    conditioner = {"type": "music_text", "name": str(tiny_encoder), "max_length": 24}
    return random_model(tmp_path_factory.mktemp("models") / "tiny_musical", conditioner, {**TINY_GENERATOR, "music": {"hop": 1024}})


@pytest.fixture(scope="session")
def tiny_told_cascade(tmp_path_factory, tiny_encoder, tiny_joint):
    """The folder of one that is told vectors of `tiny_joint`."""
    conditioner = {"type": "joint_text", "name": str(tiny_encoder), "max_length": 24, "joint": {"name": str(tiny_joint)}}
    return random_model(tmp_path_factory.mktemp("models") / "tiny_told", conditioner, {**TINY_GENERATOR, "vector": {"features": 12}})


@pytest.fixture(scope="session")
def tiny_flow(tmp_path_factory, tiny_encoder, tiny_joint):
    """The folder of a flow of random weights to vectors of `tiny_joint`."""
    from mousai import checkpoint
    from mousai.recipe import part_from

    generator = part_from("generator", {
        "type": "vector_flow", "features": 12, "embedding_features": 32, "max_tokens": 16, "sample": {"steps": 2},
        "network": {"type": "decoder", "width": 16, "layers": 1, "heads": 2},
    })  # fmt: skip
    conditioner = part_from("conditioner", {"type": "text", "name": str(tiny_encoder), "max_length": 16})
    state = {f"generator.{name}": value for name, value in generator.build(seed=3).state_dict().items()}
    folder = tmp_path_factory.mktemp("models") / "tiny_flow"
    settings = {"joint": {"name": str(tiny_joint)}, "conditioner": conditioner.to_dict(), "generator": generator.to_dict()}
    settings |= {"space": checkpoint.fingerprint(tiny_joint), "licences": {"joint": None, "conditioner": None}}
    checkpoint.save_model(folder, settings, state, "# A flow")
    return folder


def random_model(folder, conditioner, generator):
    """Writes a cascade of `TINY_CODEC` and these parts, its weights from chance."""
    import torch

    from mousai import checkpoint
    from mousai.recipe import part_from

    parts = {kind: part_from(kind, data) for kind, data in {"codec": TINY_CODEC, "conditioner": conditioner, "generator": generator}.items()}
    models = {kind: parts[kind].build(seed=1) for kind in ("codec", "generator")}
    models["codec"].initialise([0.1 * torch.randn(2, 2, 65536, generator=torch.Generator().manual_seed(0))])
    state = {}
    for kind, model in models.items():
        for name, value in model.state_dict().items():
            state[f"{kind}.{name}"] = value.half() if value.is_floating_point() else value
    data = {"recipe": {"data": {"rms": 0.1}}}
    settings = {kind: part.to_dict() for kind, part in parts.items()} | {"provenance": data | {"codec": data}}
    checkpoint.save_model(folder, settings, state, "# A tiny cascade\n")
    return folder
