"""CLAP (Wu et al., arXiv 2211.06687) through transformers, as a `joint.Encoder`: 512 features, 48 kHz, clips of 10 s."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mousai import compat
from mousai.conditioners.joint import JointConfig
from mousai.conditioners.text import quiet
from mousai.trust import DOWNLOADS, is_allowed

LICENCES = {"laion/clap-htsat-unfused": "Apache-2.0", "laion/clap-htsat-fused": "Apache-2.0", "laion/larger_clap_music": "Apache-2.0", "laion/larger_clap_music_and_speech": "Apache-2.0"}


class Clap:
    whole_clips, rms = False, None

    def __init__(self, model: nn.Module, processor: Any) -> None:
        self.model, self.processor, self.device = model.eval().requires_grad_(False), processor, torch.device("cpu")
        hears = processor.feature_extractor
        self.features, self.sample_rate, self.clip_seconds = model.config.projection_dim, hears.sampling_rate, hears.max_length_s
        self.fingerprint = f"clap {_digest(model)}"

    def to(self, device: torch.device | str) -> Clap:
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    def of_texts(self, texts: list[str]) -> Tensor:
        with compat.without_panics("the tokenizer of the joint encoder"):
            given = self.processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self.device)
        return self.model.get_text_features(**given).pooler_output

    def of_clips(self, audio: Tensor) -> Tensor:
        given = self.processor.feature_extractor(list(audio.cpu().numpy()), sampling_rate=self.sample_rate, return_tensors="pt").to(self.device)
        return self.model.get_audio_features(**given).pooler_output


def load(config: JointConfig) -> Clap:
    """The encoder of a folder or a Hugging Face name; FileNotFoundError or ValueError says what is missing or wrong."""
    folder = Path(config.name).expanduser()
    here = folder.is_dir()
    if not here and (folder.exists() or config.name.startswith((".", "/", "~")) or config.name.count("/") != 1):
        raise FileNotFoundError(f"no CLAP at {config.name}: give a folder with config.json, weights, tokenizer and feature extractor, or a name such as laion/larger_clap_music")
    from transformers import ClapModel, ClapProcessor

    source = str(folder) if here else config.name
    options = {"revision": config.revision or "main", "local_files_only": here or not is_allowed(DOWNLOADS), "trust_remote_code": False}
    try:
        with quiet():
            model, report = ClapModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True, use_safetensors=True, **options)
            processor = ClapProcessor.from_pretrained(source, **options)
    except MemoryError:
        raise
    except Exception as error:  # transformers raises what it likes for files that are damaged
        reason = " ".join(str(error).split())[:200]
        kind = ValueError if here else FileNotFoundError
        raise kind(f"CLAP {config.name!r} cannot be loaded: {reason}; to have a name fetched say --download (download=True)") from error
    if report["missing_keys"]:
        raise ValueError(f"CLAP {config.name!r} lacks {len(report['missing_keys'])} tensors, the first {min(report['missing_keys'])}")
    return Clap(model, processor)


def licence_of(config: JointConfig) -> str | None:
    """Those of the released names; whose weights a folder has, it does not say."""
    return LICENCES.get(config.name)


def _digest(model: nn.Module) -> str:
    """8 digits that name the weights: their checksum, which takes a fraction of a second."""
    crc = 0
    for value in model.state_dict().values():
        crc = zlib.crc32(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(), crc) if value.numel() else crc
    return f"{crc:08x}"
