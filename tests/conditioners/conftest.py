"""A tiny T5 with a real tokenizer, trained on a few sentences, and a tiny BERT beside it."""

import pytest

SENTENCES = [
    "slow piano, melancholic",
    "fast electronic dance music with a heavy bass",
    "a quiet guitar and a warm voice in the evening",
    "orchestral film music, strings and brass, 90 bpm, 2 of 4",
]


def save_tokenizer(folder):
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder)
    return len(wrapped)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory):
    """Saved with its decoder, as the published T5s are, in float16: the encoder alone is to be read, in float32."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("tiny_t5")
    vocabulary = save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=vocabulary, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).half().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A BERT of 20 positions, without a pooler."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("tiny_bert")
    vocabulary = save_tokenizer(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=20,
    )  # fmt: skip
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory):
    """An encoder with a decoder that is no T5."""
    import transformers

    folder = tmp_path_factory.mktemp("tiny_bart")
    vocabulary = save_tokenizer(folder)
    small = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                 encoder_ffn_dim=16, decoder_ffn_dim=16)  # fmt: skip
    config = transformers.BartConfig(vocab_size=vocabulary, max_position_embeddings=64, **small)
    transformers.BartModel(config).save_pretrained(folder)
    return folder
