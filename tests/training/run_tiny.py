"""A small training run: `run_tiny.py FOLDER key=value… [-- FOLDER key=value…]`; prints what each saw as a line of JSON.

It is no test module: the tests call `main`, or start it in a process of its own, alone or under torchrun, and kill it.
"""

import hashlib
import itertools
import json
import os
import signal
import sys

import torch
from torch import nn

from mousai import config
from mousai.data.loader import batches
from mousai.networks.unet1d import UNet1d, UNet1dConfig
from mousai.randomness import generator_of
from mousai.training import parallel
from mousai.training.config import TrainConfig
from mousai.training.loop import accelerator_for, train

WIDTH = 8
SETTINGS = {"steps": 30, "batch_size": 2, "lr": 1e-2, "warmup_steps": 5, "final_lr": 0.1, "save_every": 7, "valid_every": 10}


class Denoiser(nn.Module):
    """Learns to remove noise; has dropout, a buffer and a tied weight: what makes states hard to keep."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1), nn.GELU()) for _ in range(2))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.again = self.out
        self.register_buffer("seen", torch.zeros(1))

    def loss(self, data, generator):
        x = data + 0.1 * torch.randn(data.shape, generator=generator)
        for block in self.blocks:
            x = block(x) + x
        if self.training:
            self.seen += 1
        error = (self.again(self.out(x)) - data).square().mean()
        return error, {"rms": error.detach().sqrt()}


class UNetDenoiser(nn.Module):
    """The same with the U-Net, whose items are what FSDP splits."""

    def __init__(self):
        super().__init__()
        parts = {"attentions": (0, 1), "cross_attentions": (1, 1), "attention_heads": 2, "attention_features": 4, "embedding_features": 4}
        self.unet = UNet1d(UNet1dConfig(4, (8, 8), (1, 2), (1, 2), modulation_features=8, inject_channels=(4, 0), **parts))

    def loss(self, data, generator):
        data = data.view(-1, 4, 2)  # (b, d, l)
        t = torch.rand(len(data), generator=generator)
        x = data + t[:, None, None] * torch.randn(data.shape, generator=generator)
        error = (self.unet(x, t, tokens=x.mT, inject={0: x}) - data).square().mean()
        return error, {}


class Items(torch.utils.data.Dataset):
    """Item `i` is noise drawn from `i`."""

    def __init__(self):
        self.drawn = []

    def __getitem__(self, index):
        self.drawn.append(index)
        return {"data": torch.randn(WIDTH, generator=generator_of((index,)))}


def main(folder, *assignments, faults=None, model=Denoiser, **options):
    """Trains `model`; `faults` maps a batch's number to poison (an infinite item) or the name of a signal for this process."""
    setting = config.from_dict(TrainConfig, config.override({"train": SETTINGS}, [f"train.{a}" for a in assignments])["train"])
    torch.manual_seed(1)
    model, items = model(), Items()
    accelerator = accelerator_for(setting, folder)
    place = {"rank": accelerator.process_index, "world": accelerator.num_processes}

    def stream(first):
        for number, batch in enumerate(batches(items, setting.batch_size, first, **place), first):
            fault = (faults or {}).get(number)
            if fault and fault != "poison":
                os.kill(os.getpid(), getattr(signal, fault))
            yield {"data": batch["data"] * torch.inf} if fault == "poison" else batch

    outcome = train(
        model, lambda model, batch, generator: model.loss(batch["data"], generator), stream, setting, folder, accelerator, seed=4,
        valid=lambda: itertools.islice(batches(Items(), 2, 1000, **place), 2), **options,
    )  # fmt: skip
    weights = hashlib.sha256()
    for parameter in model.parameters():
        weights.update((parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).detach().numpy())
    return {
        "step": outcome.step, "reason": outcome.reason, "items": items.drawn, "weights": weights.hexdigest(),
        "processes": accelerator.num_processes, "rank": accelerator.process_index,
        "sharded": sum(hasattr(p, "full_tensor") for p in model.parameters()),
        "blocks": sum(type(module).__name__.startswith("FSDP") for module in model.modules()),
    }  # fmt: skip


if __name__ == "__main__":
    parallel.SHARD_PARAMETERS = WIDTH
    runs = [list(group) for end, group in itertools.groupby(sys.argv[1:], lambda a: a == "--") if not end]
    for run in runs:
        faults = dict((int(n), f) for n, f in (a.split(":") for a in run if ":" in a))
        model = {"model": UNetDenoiser} if "unet" in run else {}
        seen = json.dumps(main(*(a for a in run if ":" not in a and a != "unet"), faults=faults, **model))
        os.write(1, f"{seen}\n".encode())  # at once: two processes share the pipe
    if torch.distributed.is_initialized():  # gloo may abort a process whose peer has left without a word
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
