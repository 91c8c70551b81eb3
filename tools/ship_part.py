"""A shipped model of one part, such as a joint encoder, a flow or a composer of scores, from a trained one, in half the bytes.

    python tools/ship_part.py --model runs/joint/model --card card.md --out mousai/starter_joint
    python tools/ship_part.py --model runs/symbolic_prior/model --grid runs/symbolic_grid/model --card card.md --out mousai/starter_symbolic

Matrices are stored in float16. With `--grid` a composer gets the prior of the grid of another model folder, which was trained for the same phrase VAE.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mousai import checkpoint  # noqa: E402
from mousai.pipelines.symbolic import load  # noqa: E402
from mousai.recipe import phrases_fingerprint  # noqa: E402
from tools.ship_starter import halved, relative  # noqa: E402

LIMIT = 12 * 2**20  # bytes of weights


def ship(model: Path, card: Path, out: Path, grid: Path | None = None) -> None:
    """Write the model folder `out`; ValueError or FileNotFoundError says what is wrong with what was given."""
    settings, state = checkpoint.load_model(model)
    if grid is not None:
        more, weights = checkpoint.load_model(grid)
        if "grid" not in more or more["trained_for"] != settings.get("trained_for"):
            raise ValueError(f"{grid}: expected a prior of the grid for the phrase VAE {settings.get('trained_for')}, came one for {more.get('trained_for')}")
        settings |= {"grid": more["grid"], "provenance": settings["provenance"] | {"grid": {**more["provenance"], "phrases": None}}}
        state |= {name: value for name, value in weights.items() if name.startswith("grid.")}
    if composes := "trained_for" in settings:
        load(model)  # its parts belong together
    state = {name: halved(value) for name, value in state.items()}
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > LIMIT:
        raise ValueError(f"the weights take {size / 2**20:.1f} MiB, more than the {LIMIT / 2**20:.0f} that ship with the package")
    settings = relative({key: value for key, value in settings.items() if key not in ("format", "trained_for")})
    checkpoint.save_model(out, settings, state, card.read_text())
    if composes:  # for the phrase VAE as it is stored now
        checkpoint.save_model(out, settings | {"trained_for": phrases_fingerprint(out)}, state, card.read_text())
    print(f"wrote {out}: {size / 2**20:.1f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--card", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--grid", type=Path)
    options = parser.parse_args()
    try:
        ship(options.model, options.card, options.out, options.grid)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
