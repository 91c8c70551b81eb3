"""The shipped model from two trained ones: a generator's cascade with the newest decoder, in half the bytes.

    python tools/ship_starter.py --codec runs/magnitude/model --generator runs/generator/model --card card.md --out mousai/starter

Matrices are stored in float16, but for those that latents follow from, which stay as they are. The codec may have been
trained on since the generator's cache was made, as long as its latents are the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from mousai import checkpoint  # noqa: E402
from mousai.recipe import codec_fingerprint, part_from  # noqa: E402

LIMIT = 64 * 2**20  # bytes of weights that ship with the package


def ship(codec: Path, generator: Path, card: Path, out: Path) -> None:
    """Write the model folder `out`; ValueError or FileNotFoundError says what is wrong with what was given."""
    made, used = codec_fingerprint(codec), codec_fingerprint(generator)
    if made != used:
        raise ValueError(f"{generator} was trained on the latents of codec {used}, {codec} makes those of {made}")
    codec_settings, codec_state = checkpoint.load_model(codec)
    settings, state = checkpoint.load_model(generator)
    state = {name: value for name, value in state.items() if not name.startswith("codec.")}
    state |= {name: value for name, value in codec_state.items() if name.startswith("codec.")}
    parts = part_from("codec", codec_settings["codec"]).build().LATENT_PARTS
    state = {name: halved(value) if not name.startswith(tuple(f"codec.{part}." for part in parts)) else value for name, value in state.items()}
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > LIMIT:
        raise ValueError(f"the weights take {size / 2**20:.1f} MiB, more than the {LIMIT / 2**20:.0f} that ship with the package")
    settings = {key: value for key, value in settings.items() if key != "format"} | {"codec": codec_settings["codec"]}
    settings["provenance"] = relative({**settings["provenance"], "codec": codec_settings["provenance"]})
    checkpoint.save_model(out, settings, state, card.read_text())
    print(f"wrote {out}: {size / 2**20:.1f} MiB")


def halved(value: Tensor) -> Tensor:
    """In float16, if it is a matrix of float32; scales and statistics are few and stay."""
    return value.half() if value.dtype == torch.float32 and value.ndim >= 2 else value


def relative(value: Any) -> Any:
    """`value` with the last two parts of every absolute path in it: what lay where on one machine means nothing elsewhere."""
    if isinstance(value, dict):
        return {key: relative(item) for key, item in value.items()}
    if isinstance(value, list):
        return [relative(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return "/".join(Path(value).parts[-2:])
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--codec", "--generator", "--card", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    try:
        ship(options.codec, options.generator, options.card, options.out)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
