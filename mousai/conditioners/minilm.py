"""MiniLM-L6 in plain torch: the shipped model's text encoder without transformers, whose import alone takes seconds.

A BERT of six layers (Devlin et al., arXiv 1810.04805; Wang et al., arXiv 2002.10957): embeddings of words and places,
then self-attention and a feed-forward layer, each added and followed by a layer norm. Equal to transformers' `BertModel`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from mousai import compat

HEADS = 12
EPS = 1e-12  # of the layer norms


class MiniLM:
    """The frozen encoder of a folder, in float32; `features` is the width of its states, `pad` the id of padding."""

    def __init__(self, folder: Path, max_length: int) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.pad = self.tokenizer.token_to_id("[PAD]")
        self.weights = load_file(folder / "model.safetensors")
        self.layers = 1 + max(int(name.split(".")[2]) for name in self.weights if name.startswith("encoder.layer."))
        positions, self.features = self.weights["embeddings.position_embeddings.weight"].shape
        if max_length > positions:
            raise ValueError(f"max_length is {max_length}, 'minilm' reads at most {positions} tokens")

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self.weights = {name: weight.to(device) for name, weight in self.weights.items()}

    def ids(self, texts: list[str], limit: int | None = None) -> list[list[int]]:
        """The ids of each text with the special ones around them, at most `limit`."""
        self.tokenizer.no_truncation() if limit is None else self.tokenizer.enable_truncation(limit)
        with compat.without_panics("the tokenizer of 'minilm'"):
            return [row.ids for row in self.tokenizer.encode_batch(texts)]

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden states `(b, n, 384)` of ids `(b, n)` under a boolean mask of their shape."""
        weights = self.weights
        x = F.embedding(ids, weights["embeddings.word_embeddings.weight"])
        x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]] + weights["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        seen = mask[:, None, None, :]  # (b, 1, 1, n)
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}"
            projected = (self._linear(x, f"{at}.attention.self.{name}") for name in ("query", "key", "value"))
            q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in projected)  # (b, heads, n, d)
            heard = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
            x = self._norm(x + self._linear(heard, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            wide = F.gelu(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._linear(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], EPS)
