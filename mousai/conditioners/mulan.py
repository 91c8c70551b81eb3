"""MuQ-MuLan (Zhu et al., arXiv 2501.01108) through the package `muq`, as a `joint.Encoder`: 512 features, 24 kHz, clips of 10 s.

The package is installed without what it asks for, which breaks a CPU environment (docs/muse.md):
`pip install --no-deps muq==0.1.0 nnAudio easydict`. What it lacks under transformers 5 is mended here and nowhere else:

- `x_clip` is imported for the size of a vocabulary that a pretrained text encoder has no use for;
- the conformer's config has no `_attn_implementation` (needed since transformers 4.48);
- the conformer no longer gives `hidden_states` (since 5.0): they are the inputs of its layers, and its output.

All of it can go when a `muq` later than 0.1.0 runs on transformers 5.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from mousai.checks import short, within
from mousai.conditioners.joint import JointConfig
from mousai.files import file_hash, read_json
from mousai.trust import DOWNLOADS, is_allowed

logger = logging.getLogger(__name__)

INSTALL = "pip install --no-deps muq==0.1.0 nnAudio easydict"
RELEASED = "OpenMuQ/MuQ-MuLan-large"
LICENCE = "CC-BY-NC-4.0"  # of the weights; the package is under MIT
TEXT_ENCODER, AUDIO_ENCODER = "xlm-roberta", "muq"  # the one kind of each that is loaded: of others `muq` has code of their own run
WEIGHTS = "model.safetensors"  # what `muq` reads of a folder


class MuLan:
    whole_clips, rms = True, None  # the last clip goes on with the beginning, and the level counts, as in the package's own forward pass

    def __init__(self, model: nn.Module, tokenizer: Any, fingerprint: str) -> None:
        self.model, self.fingerprint = model.eval().requires_grad_(False), fingerprint
        model.mulan.text._tokenizer = tokenizer
        self.features, self.sample_rate, self.clip_seconds = model.config.mulan.dim_latent, model.sr, model.clip_secs

    def to(self, device: torch.device | str) -> MuLan:
        self.model.to(device)
        return self

    def of_texts(self, texts: list[str]) -> Tensor:
        return self.model(texts=texts)

    def of_clips(self, audio: Tensor) -> Tensor:
        return self.model.mulan_module.get_audio_latents(audio)


def load(config: JointConfig) -> MuLan:
    """The encoder of a folder or a Hugging Face name; ImportError, FileNotFoundError or ValueError says what is missing or wrong."""
    if lacks := [name for name in ("muq", "nnAudio", "easydict") if importlib.util.find_spec(name) is None]:
        raise ImportError(f"MuQ-MuLan needs {', '.join(lacks)}: {INSTALL} (not with what it asks for, see docs/muse.md)")
    folder = found(config)
    settings = read_json(folder / "config.json", kind=dict)
    text, audio = (within(settings, part).get("name") for part in ("text_model", "audio_model"))
    if not isinstance(text, str) or TEXT_ENCODER not in text:
        raise ValueError(f"{config.name}: expected a text_model of the kind {TEXT_ENCODER}, came {short(text)}; another may want code of its own to be run")
    if not isinstance(audio, str) or AUDIO_ENCODER not in audio.lower():
        raise ValueError(f"{config.name}: expected an audio_model of the kind {AUDIO_ENCODER}, came {short(audio)}; another may want code of its own to be run")
    fingerprint = f"mulan {weights_hash(folder)}"
    with standing_in_for_x_clip(), _only_here(not is_allowed(DOWNLOADS)):
        try:
            from safetensors.torch import load_model
            from transformers import AutoTokenizer

            model = importlib.import_module("muq").MuQMuLan(settings)  # setup.cfg cannot name the package, see above
            missing, unexpected = load_model(model, folder / WEIGHTS, strict=False)
            tokenizer = AutoTokenizer.from_pretrained(text, trust_remote_code=False)
        except MemoryError:
            raise
        except Exception as error:  # transformers and muq raise what they like for files that are damaged
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"MuQ-MuLan {config.name!r} cannot be loaded: {reason}; to have what it names fetched say --download (download=True)") from error
    check_fit(config.name, model, missing, unexpected)
    mend(model)
    return MuLan(model, tokenizer, fingerprint)


def found(config: JointConfig) -> Path:
    """The folder of a name, which is fetched where that is allowed."""
    path = Path(config.name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or config.name.startswith((".", "/", "~")) or config.name.count("/") != 1:
        raise FileNotFoundError(f"no MuQ-MuLan at {config.name}: give a folder with config.json and weights, or {RELEASED}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.name, revision=config.revision, local_files_only=not is_allowed(DOWNLOADS)))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"MuQ-MuLan {config.name!r} is not in the Hugging Face cache of this machine; to have it fetched say --download (download=True)") from error


def licence_of(config: JointConfig) -> str | None:
    """All released weights of the family are for non-commercial use."""
    return LICENCE


def weights_hash(folder: Path) -> str:
    """12 hexadecimal digits that name the weights of a folder: of the one file that is read, whatever lies beside it."""
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"missing weights: {folder} has no {WEIGHTS}")
    return file_hash(folder / WEIGHTS)[:12]


def check_fit(name: str, model: nn.Module, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """ValueError in a line for weights that a model has and the file lacks; of those that only the file has, and of buffers, a line in the log."""
    parameters = dict(model.named_parameters())
    lacks, idle = ([key for key in sorted(missing) if (key in parameters) == which] for which in (True, False))
    if lacks:
        raise ValueError(f"MuQ-MuLan {name!r}: its {WEIGHTS} lacks {len(lacks)} weights ({', '.join(lacks[:3])}{', …' if len(lacks) > 3 else ''}); copy or fetch it again")
    for what, keys in (("has no use for", sorted(unexpected)), ("does not find", idle)):
        if keys:
            logger.warning("MuQ-MuLan %r %s %d tensors of %s (%s%s)", name, what, len(keys), WEIGHTS, ", ".join(keys[:3]), ", …" if len(keys) > 3 else "")


def mend(model: nn.Module) -> None:
    """Has the conformers in `model` run on transformers 5, with the hidden states that `muq` reads."""
    for module in model.modules():
        conformer = getattr(module, "conformer", None)
        if isinstance(conformer, nn.Module) and not isinstance(conformer, WithStates):
            conformer.config._attn_implementation = "eager"
            module.conformer = WithStates(conformer)


class WithStates(nn.Module):
    """A conformer that gives what goes into each of its layers, and what comes out, as `hidden_states`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = True) -> dict[str, Any]:
        states: list[Tensor] = []
        hooks = [layer.register_forward_pre_hook(lambda _, given: states.append(given[0])) for layer in self.inner.layers]
        try:
            last = self.inner(x, attention_mask=attention_mask).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return {"last_hidden_state": last, "hidden_states": (*states, last)}


@contextmanager
def standing_in_for_x_clip() -> Iterator[None]:
    """Within the block `x_clip.tokenizer.tokenizer.vocab_size` can be imported where x_clip is not installed."""
    if importlib.util.find_spec("x_clip") is not None:
        yield
        return
    package, module = ModuleType("x_clip"), ModuleType("x_clip.tokenizer")
    module.tokenizer = SimpleNamespace(vocab_size=49408)
    sys.modules.update({"x_clip": package, "x_clip.tokenizer": module})
    try:
        yield
    finally:
        for name in ("x_clip", "x_clip.tokenizer"):
            sys.modules.pop(name, None)


@contextmanager
def _only_here(offline: bool) -> Iterator[None]:
    """Within the block nothing is fetched: `muq` hands no such setting on to the encoders that it names."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
