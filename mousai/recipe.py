"""The one place where a name in a YAML meets a class: recipes, and the parts of a model folder.

A recipe is `{format: 1, seed, codec, conditioner, generator, data, train}`. Without `generator` it trains the codec on
audio; with it, the generator on a latent cache. A part is `{type: name, …its config}`; a trained codec is `{path: folder}`.
With `joint` in the place of `codec` it trains a joint text–music encoder, `{type: name, …}` alone, or, with `{name: …}`
(conditioners/joint.py), a generator of the vectors of that encoder; both on a cache too. Of symbolic music it is `{…, phrases,
prior, data, train}`: without `prior` it trains the phrase VAE on scores, with it the prior on the phrases' latents; with `grid` in
its place the prior that infills.
A name is a built-in one, or `package.module:Class` for any class that follows `types.py` (docs/extending.md): recipes may
have such, model folders only where they are trusted (trust.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mousai import checkpoint, config
from mousai.checks import did_you_mean, short
from mousai.trust import is_trusted, trusting

if TYPE_CHECKING:  # imported where a recipe is read: who loads a model for use need not wait for what trains it
    from mousai.conditioners.joint import JointConfig
    from mousai.data.latents import LatentDataConfig
    from mousai.data.loader import AudioDataConfig
    from mousai.symbolic.phrase_data import PhraseDataConfig
    from mousai.symbolic.prior_data import PriorDataConfig
    from mousai.training.config import TrainConfig

FORMAT = 1

# type: module:class; imported on use, since a text encoder's library takes seconds to load.
CODECS = {
    "dmae_waveform": "mousai.codecs.dmae.waveform:WaveformDMAE",
    "dmae_mdct": "mousai.codecs.dmae.mdct:MDCTDMAE",
    "magnitude": "mousai.codecs.magnitude.codec:MagnitudeCodec",
    "oobleck": "mousai.codecs.oobleck.codec:OobleckCodec",
    "same": "mousai.codecs.same.codec:SameCodec",
}
CONDITIONERS = {
    "text": "mousai.conditioners.text:TextConditioner",
    "music_text": "mousai.conditioners.music:MusicTextConditioner",
    "joint": "mousai.conditioners.joint:JointConditioner",
    "released_text": "mousai.conditioners.released:ReleasedText",
    "joint_text": "mousai.conditioners.joint_text:JointTextConditioner",
}
JOINTS = {"contrastive": "mousai.conditioners.contrastive:Contrastive"}
GENERATORS = {
    "latent_diffusion": "mousai.generators.latent_diffusion:LatentDiffusion",
    "vector_flow": "mousai.generators.muq_flow:VectorFlow",
    "stable_audio": "mousai.generators.stable_audio:StableAudio",
    "stable_audio3": "mousai.generators.stable_audio3:StableAudio3",
}
# A name that stands for several: module:function from a part's fields to the one that they mean, and the fields as that takes them.
SHARED_NAMES = {("codec", "dmae"): "mousai.codecs.dmae.config:told_apart"}
LONG_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
PHRASES = {"phrase_vae": "mousai.symbolic.phrase_vae:PhraseVAE"}
SYSTEM = {"codec": CODECS, "conditioner": CONDITIONERS, "generator": GENERATORS}
PRIORS = {"phrase_prior": "mousai.symbolic.prior:PhrasePrior"}
GRIDS = {"grid_prior": "mousai.symbolic.grid:GridPrior"}
SYMBOLIC = {"phrases": PHRASES, "prior": PRIORS, "grid": GRIDS}
REGISTRIES = {**SYSTEM, "joint": JOINTS, **SYMBOLIC}


@dataclass(frozen=True)
class Part:
    """A codec, conditioner, generator or other part by name, with its config."""

    kind: str
    type: str
    config: Any

    def build(self, seed: int | None = None) -> nn.Module:
        """The part itself; with `seed`, its first weights follow from that alone."""
        cls, _ = _class(self.kind, self.to_dict(), self.kind, trusted=True)  # whoever made this part has looked
        if seed is None:
            return cls(self.config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(self.config)

    @property
    def licence(self) -> str | None:
        """The licence of a conditioner's weights, where it is known."""
        cls, _ = _class(self.kind, self.to_dict(), self.kind, trusted=True)
        return cls.licence_of(self.config)

    def to_dict(self) -> dict[str, Any]:
        """The part as a recipe has it, with every field."""
        return {"type": self.type, **config.to_dict(self.config)}


@dataclass(frozen=True)
class Folder:
    """A trained part, in a model folder."""

    path: str

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path}


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe: what is trained, on what, and how."""

    seed: int
    codec: Part | Folder | None
    conditioner: Part | None
    generator: Part | None
    data: AudioDataConfig | LatentDataConfig | PhraseDataConfig | PriorDataConfig
    train: TrainConfig
    phrases: Part | Folder | None = None
    prior: Part | None = None
    grid: Part | None = None
    joint: Part | JointConfig | None = None

    @property
    def trains(self) -> str:
        """Which part it trains."""
        if self.phrases is not None:
            return next((kind for kind in ("prior", "grid") if getattr(self, kind) is not None), "phrases")
        if isinstance(self.joint, Part):
            return "joint"
        return "codec" if self.generator is None else "generator"

    @property
    def cached(self) -> bool:
        """Whether it trains on a latent cache."""
        return self.trains in ("generator", "joint")

    @property
    def outside(self) -> list[str]:
        """The classes outside mousai that it names."""
        return [part.type for kind in REGISTRIES if isinstance(part := getattr(self, kind), Part) and ":" in part.type]

    def to_dict(self) -> dict[str, Any]:
        """The recipe as YAML has it, with every field; `recipe_from` gives the same recipe back."""
        parts = {kind: _plain(part) for kind in REGISTRIES if (part := getattr(self, kind)) is not None}
        return {"format": FORMAT, "seed": self.seed, **parts, "data": config.to_dict(self.data), "train": config.to_dict(self.train)}


def _plain(part: Part | Folder | JointConfig) -> dict[str, Any]:
    return part.to_dict() if isinstance(part, (Part, Folder)) else config.to_dict(part)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file, with overrides such as "train.steps=100"; ValueError in one line if it is wrong."""
    return recipe_from(config.override(config.read_yaml(path), overrides), str(path), trust=True)  # it is run because somebody says so


def recipe_from(data: Mapping[str, Any], where: str = "recipe", trust: bool | Iterable[str] = False) -> Recipe:
    """The recipe of a plain dict, checked throughout; `where` begins the error messages, `trust` is as in trust.py."""
    try:
        with trusting(trust):
            return _recipe_from(data)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _recipe_from(data: Mapping[str, Any]) -> Recipe:
    from mousai.data.latents import LatentDataConfig
    from mousai.data.loader import AudioDataConfig
    from mousai.training.config import TrainConfig

    config.check_keys(data, ("format", "seed", *REGISTRIES, "data", "train"))
    symbolic = any(data.get(kind) is not None for kind in SYMBOLIC)
    for key in ("format", "phrases" if symbolic else "joint" if data.get("joint") is not None else "codec", "data", "train"):
        if data.get(key) is None:
            raise ValueError(f"missing key {key!r}")
    if data["format"] != FORMAT:
        raise ValueError(f"expected format: {FORMAT}, came {short(data['format'])}; it needs another version of mousai")
    seed = data.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ValueError(f"seed: expected a whole number from 0 on, came {short(seed)}")
    if symbolic:
        return _symbolic_from(data, seed)
    codec, conditioner, generator, joint = (part_from(kind, data[kind]) if data.get(kind) is not None else None for kind in (*SYSTEM, "joint"))
    check_kinds(codec, conditioner, generator, joint)
    data_class = AudioDataConfig if generator is None and joint is None else LatentDataConfig
    return Recipe(
        seed, codec, conditioner, generator,
        config.from_dict(data_class, data["data"], "data"), config.from_dict(TrainConfig, data["train"], "train"), joint=joint,
    )  # fmt: skip


def _symbolic_from(data: Mapping[str, Any], seed: int) -> Recipe:
    from mousai.symbolic.phrase_data import PhraseDataConfig
    from mousai.symbolic.prior_data import PriorDataConfig
    from mousai.training.config import TrainConfig

    for kind in (*SYSTEM, "joint"):
        if data.get(kind) is not None:
            raise ValueError(f"{kind}: has no place beside phrases; a recipe is of audio or of scores")
    phrases, prior, grid = (part_from(kind, data[kind]) if data.get(kind) is not None else None for kind in SYMBOLIC)
    alone = prior is None and grid is None
    if prior is not None and grid is not None:
        raise ValueError("grid: is trained by a recipe of its own; expected prior or grid, came both")
    if alone and isinstance(phrases, Folder):
        raise ValueError("nothing to train: phrases is a trained one and there is no prior")
    if not alone and not isinstance(phrases, Folder):
        raise ValueError("phrases: a prior needs a trained phrase VAE; expected {path: model folder}")
    data_class = PhraseDataConfig if alone else PriorDataConfig
    train = config.from_dict(TrainConfig, data["train"], "train")
    return Recipe(seed, None, None, None, config.from_dict(data_class, data["data"], "data"), train, phrases, prior, grid)


def check_kinds(codec: Any, conditioner: Any, generator: Any, joint: Any) -> None:
    """ValueError unless these parts of a recipe, or None, say one thing to be trained."""
    if isinstance(joint, Part):
        if codec or conditioner or generator:
            raise ValueError("joint: is trained alone, its text encoder is in its own config; leave codec, conditioner and generator away")
        return
    if (conditioner is None) != (generator is None):
        raise ValueError("expected both conditioner and generator (to train a generator) or neither (to train the codec)")
    if joint is not None and (codec is not None or generator is None):
        raise ValueError("joint: {name: …} says whose vectors a generator is to make; expected conditioner and generator beside it, and no codec")
    if generator is None and isinstance(codec, Folder):
        raise ValueError("nothing to train: codec is a trained one and there is no generator")
    if generator is not None and joint is None and not isinstance(codec, Folder):
        raise ValueError("codec: a generator needs a trained codec; expected {path: model folder}")


def part_from(kind: str, data: Mapping[str, Any], where: str = "") -> Part | Folder | JointConfig:
    """The part of that `kind` of `REGISTRIES` that a dict of a recipe or a model folder describes."""
    where = where or kind
    if isinstance(data, Mapping) and kind == "joint" and "type" not in data:
        from mousai.conditioners.joint import JointConfig

        return config.from_dict(JointConfig, data, where)
    if isinstance(data, Mapping) and kind in ("codec", "phrases") and "path" in data:
        return config.from_dict(Folder, data, where)
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        raise ValueError(f"{where}: expected a mapping with a type, one of {', '.join(REGISTRIES[kind])}, or package.module:Class")
    cls, fields = _class(kind, data, where)
    return Part(kind, data["type"], config.from_dict(config_of(cls, f"{where}.type"), fields, where))


def _class(kind: str, data: Mapping[str, Any], where: str, trusted: bool = False) -> tuple[type, dict[str, Any]]:
    """The class of a part, and the part's fields as its config takes them."""
    name, fields = data.get("type"), {key: value for key, value in data.items() if key != "type"}
    if (kind, name) in SHARED_NAMES:
        module, function = SHARED_NAMES[kind, name].split(":")
        name, fields = getattr(importlib.import_module(module), function)(fields)
    if name in REGISTRIES[kind]:
        module, cls = REGISTRIES[kind][name].split(":")
        return getattr(importlib.import_module(module), cls), fields
    if not isinstance(name, str) or not LONG_NAME.fullmatch(name):
        known = [*(shared for of, shared in SHARED_NAMES if of == kind), *REGISTRIES[kind]]
        raise ValueError(f"{where}.type: expected one of {', '.join(known)}, or package.module:Class; came {short(name)}{did_you_mean(name, known)}")
    if not (trusted or is_trusted(name)):
        raise ValueError(f"{where}.type: {name} is no part of mousai, loading it runs its code; if you trust whoever made it, say --trust (trust=True)")
    return outside(name, f"{where}.type"), fields


def outside(name: str, where: str) -> type:
    """The class that `package.module:Class` names; ValueError, beginning with `where`, for none."""
    module, _, cls = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), cls, None)
    except Exception as error:  # whatever foreign code raises
        came = f"{type(error).__name__}: {error}"
        raise ValueError(f"{where}: {name} cannot be imported ({came}); install it, put its folder on PYTHONPATH, or mend it") from error
    if not isinstance(found, type):
        raise ValueError(f"{where}: the module {module} has no class {cls}")
    return found


def config_of(cls: type, where: str) -> type:
    """The config class of a part: the annotation of `config` in its `__init__`."""
    try:
        found = typing.get_type_hints(cls.__init__).get("config")
    except Exception as error:  # whatever a foreign annotation raises
        raise ValueError(f"{where}: the annotations of {cls.__name__}.__init__ cannot be read ({type(error).__name__}: {error})") from error
    if not dataclasses.is_dataclass(found):
        raise ValueError(f"{where}: expected {cls.__name__}.__init__(self, config: …) with a dataclass as the annotation, came {found!r}")
    return found


def load_part(kind: str, folder: str | Path) -> nn.Module:
    """The trained codec, generator or joint encoder of a model folder; ValueError or FileNotFoundError says what is wrong."""
    settings, state = checkpoint.load_model(folder)
    return part_with_weights(kind, settings, state, str(folder))


def part_with_weights(kind: str, settings: Mapping[str, Any], state: Mapping[str, torch.Tensor], where: str) -> nn.Module:
    """The codec or generator of a model folder's config and weights (whose names begin with `kind`)."""
    if kind not in settings:
        raise ValueError(f"{where}: this model folder has no {kind}; it has {', '.join(key for key in REGISTRIES if key in settings)}")
    module = part_from(kind, settings[kind], f"{where}: {kind}").build()
    own = {name.removeprefix(f"{kind}."): value for name, value in state.items() if name.startswith(f"{kind}.")}
    checkpoint.load_strict(module, own, f"{where}: {kind}")
    return module.eval()


def phrases_fingerprint(folder: str | Path) -> str:
    """12 hexadecimal digits that name the phrase VAE of a model folder, whatever else it holds: by its config and weights."""
    settings, state = checkpoint.load_model(folder)
    if "phrases" not in settings:
        raise ValueError(f"{folder}: this model folder has no phrases; expected that of a phrase VAE")
    return _named(settings["phrases"], {name: value for name, value in state.items() if name.startswith("phrases.")})


def codec_fingerprint(folder: str | Path) -> str:
    """12 hexadecimal digits that name the latents which the codec of a model folder makes, whatever else it holds.

    A codec class may name the parts that its latents depend on, config fields and weights alike, as `LATENT_PARTS`; a
    cache then stays good while the decoder alone is trained on. Without it everything counts.
    """
    settings, state = checkpoint.load_model(folder)
    if "codec" not in settings:
        raise ValueError(f"{folder}: this model folder has no codec")
    cls, _ = _class("codec", settings["codec"], f"{folder}: codec")
    parts = getattr(cls, "LATENT_PARTS", None)
    kept = {key: value for key, value in settings["codec"].items() if parts is None or (key in (*parts, "type") and value is not None)}
    counted = {name: value for name, value in state.items() if name.startswith("codec.") and (parts is None or name.split(".")[1] in parts)}
    return _named(kept, counted)


def _named(settings: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
