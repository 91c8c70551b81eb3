"""Text → vector → sound (MUSE): a flow draws points of a joint text–music space, and a cascade that is told points makes music of some.

The flow's folder names the joint encoder whose vectors it makes, and the cascade's conditioner does too: what does not
belong together is refused when it is loaded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mousai import checkpoint, config
from mousai.conditioners.joint import VECTOR, Joint, JointConfig
from mousai.pipelines.batches import fitting, in_batches
from mousai.pipelines.cascade import Cascade, check_model, place_and_precision
from mousai.pipelines.system import check_conditions
from mousai.recipe import part_from, part_with_weights
from mousai.request.clip import Request
from mousai.trust import DOWNLOADS, allowing, trusting
from mousai.types import Callback, Conditioner, Generator, SamplingSettings

logger = logging.getLogger(__name__)

AT_ONCE = 256  # vectors that are drawn in one batch
SHIPPED, AUTO, NONE = "starter_flow", "auto", "none"  # which flow: the first where it is of the model's space, or no vectors


class Flow:
    """Texts to unit vectors of a joint space; `space` is the joint encoder's fingerprint."""

    def __init__(self, joint: Joint, conditioner: Conditioner, generator: Generator, *, name: str = "", fingerprint: str = "", licences: dict[str, Any] | None = None) -> None:
        if generator.latent_channels != joint.features:
            raise ValueError(f"the flow {name} makes vectors of {generator.latent_channels} features, the joint encoder {joint.config} has {joint.features}")
        check_conditions(conditioner.gives, generator.accepts, name)
        self.joint, self.conditioner, self.generator = joint, conditioner, generator
        self.name, self.fingerprint, self.licences = name, fingerprint, licences or {}
        self.device = torch.device("cpu")

    @property
    def space(self) -> str:
        return self.joint.space

    def to(self, device: torch.device | str) -> Flow:
        self.device = torch.device(device)
        for part in (self.joint, self.conditioner, self.generator):
            part.to(self.device)
        return self

    def settings(self, said: SamplingSettings) -> SamplingSettings:
        """What is said over the flow's own; ValueError for a sampler that it does not have."""
        if said.sampler not in (None, *self.generator.samplers):
            raise ValueError(f"sampler: vectors are sampled by {', '.join(self.generator.samplers)}; came {said.sampler!r}")
        return said.over(self.generator.sampling)

    @torch.no_grad()
    def vectors(self, texts: str | Sequence[str], seeds: Sequence[int], settings: SamplingSettings = SamplingSettings(), callback: Callback | None = None) -> Tensor:
        """Unit vectors `(b, e)` float32 on the CPU, the i-th drawn from the i-th text, or the one, and `seeds[i]` alone."""
        texts = [texts] * len(seeds) if isinstance(texts, str) else list(texts)
        settings = self.settings(settings)
        distinct = list(dict.fromkeys(texts))
        told = self.conditioner.encode(distinct)
        condition = told[torch.tensor([distinct.index(text) for text in texts], device=self.device)]
        negative = None if settings.negative is None else self.conditioner.encode([settings.negative])
        each = self.vector_bytes(condition.tokens.shape[1], guided=settings.guidance not in (None, 1.0))
        batch = fitting(min(AT_ONCE, len(seeds)), each, self.device, "vector")

        def make(first: int, b: int) -> Tensor:
            against = None if negative is None else negative.expand(b)
            drawn = self.generator.sample(condition[first : first + b], 1, seeds=list(seeds[first : first + b]), negative=against, settings=settings)
            if callback:
                callback(first + b, len(seeds))
            return drawn[..., 0].float().cpu()

        return torch.cat(list(in_batches(len(seeds), batch, make, self.device, "vector")))

    def vector_bytes(self, num_tokens: int, guided: bool) -> int:
        """About the memory that one more vector of a text of so many tokens takes in sampling; 0 = nobody knows."""
        row = getattr(getattr(self.generator, "network", None), "row_bytes", None)
        return row(num_tokens) * (2 if guided else 1) if row else 0


def load_flow(path_or_name: str | Path, device: torch.device | str | None = None, *, trust: bool = False, download: bool = False) -> Flow:
    """The flow of a model folder, or of a name: "starter_flow" comes with the package; as `cascade.load`."""
    where, _ = place_and_precision(device, "float32")
    settings = check_model(path_or_name, ("joint", "conditioner", "generator"))
    folder = checkpoint.model_folder(path_or_name)
    settings, state = checkpoint.load_model(folder)
    if "type" in settings["joint"]:
        raise ValueError(f"{path_or_name}: its joint encoder is one that was trained, no name of one")
    with trusting(trust), allowing(*([DOWNLOADS] if download else [])):
        joint = Joint(config.from_dict(JointConfig, settings["joint"], f"{path_or_name}: joint"))
        generator = part_with_weights("generator", settings, state, str(path_or_name)).requires_grad_(False)
        conditioner = part_from("conditioner", settings["conditioner"], f"{path_or_name}: conditioner").build()
    name = Path(os.path.abspath(path_or_name)).name
    flow = Flow(joint, conditioner, generator, name=name, fingerprint=checkpoint.fingerprint(folder), licences=settings.get("licences"))
    if settings.get("space") not in (None, joint.space):
        raise ValueError(f"{path_or_name}: makes vectors of the space {settings['space']}, the joint encoder {joint.config} is {joint.space}; name the one it was trained for")
    return flow.to(where)


def check_told(cascade: Cascade, space: str, features: int, flow: str) -> None:
    """ValueError unless a cascade is told vectors of this joint space."""
    accepts = cascade.generator.accepts.vectors
    if VECTOR not in accepts:
        raise ValueError(f"the model {cascade.name} is told no vectors; name one that was trained by recipes/muse/generator_vector.yaml")
    if accepts[VECTOR] != features:
        raise ValueError(f"the model {cascade.name} is told vectors of {accepts[VECTOR]} features, those of {flow} have {features}")
    own = getattr(cascade.conditioner, "joint", None)
    if own is not None and own.space != space:
        raise ValueError(f"the model {cascade.name} is told vectors of the space {own.space}, those of {flow} are of {space}")


def flow_for(cascade: Cascade, flow: str | Path = AUTO) -> Flow | None:
    """The flow that draws what a cascade is told: a folder's or a name's, or with "auto" the shipped one, for a model that is told vectors of its space.

    None with "none", and with "auto" for any other model; ValueError as of `load_flow` and `check_told`.
    """
    if str(flow) == NONE:
        return None
    if str(flow) == AUTO:
        own = getattr(cascade.conditioner, "joint", None)
        if VECTOR not in cascade.generator.accepts.vectors:
            return None
        if own is None or own.space != checkpoint.load_config(checkpoint.model_folder(SHIPPED)).get("space"):
            logger.warning("%s is told vectors of another space than %s draws: none are drawn; name a flow of that space", cascade.name, SHIPPED)
            return None
        flow = SHIPPED
    system = load_flow(flow, cascade.device)
    check_told(cascade, system.space, system.joint.features, system.name)
    return system


def told_vectors(request: Request, flow: Flow | None) -> Request:
    """The request with a vector for each clip, drawn by the flow from its prompt and its seed; as it is where it has some, and without a flow."""
    if flow is None or request.vectors is not None:
        return request
    return replace(request, vectors=flow.vectors(request.prompts, [request.seed_of(index) for index in range(len(request))]))
