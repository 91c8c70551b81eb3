"""A released archinet autoencoder, from a file on disk, as a mousai model folder.

    python tools/convert_archinet.py pytorch_model.bin --recipe recipes/paper/dmae_v2.yaml --out models/dmae_v2 \\
        --sources music.jsonl

The recipe gives the shape. Latents are standardised by what `--sources` (a folder, manifest or tar pattern) measures,
as a generator wants them; without sources they stay as the encoder gives them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mousai import checkpoint  # noqa: E402
from mousai.codecs.dmae import archinet  # noqa: E402
from mousai.jobs.export import calibrated_codec  # noqa: E402
from mousai.recipe import load_recipe  # noqa: E402


def convert(file: Path, recipe_path: Path, out: Path, sources: list[str]) -> None:
    """Write the model folder `out`; ValueError or FileNotFoundError says what is wrong with what was given."""
    chosen = [f"data.sources={sources}", "data.split=null"] if sources else []
    recipe = load_recipe(recipe_path, chosen)
    if recipe.codec.to_dict().get("type") != "dmae":
        raise ValueError(f"{recipe_path}: expected a recipe that trains a dmae")
    state = archinet.dmae_state(archinet.read(file), recipe.codec.config)
    if sources:
        settings, weights = calibrated_codec(recipe, state, str(file))
    else:
        checkpoint.load_strict(recipe.codec.build(), state, str(file))
        settings, weights = {"codec": recipe.codec.to_dict()}, {f"codec.{name}": value for name, value in state.items()}
    settings["provenance"] = {"converted_from": file.name, "calibrated_on": sources}
    card = f"# A mousai codec\n\nConverted from `{file.name}`, whose licence it keeps.\n"
    checkpoint.save_model(out, settings, weights, card)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", nargs="+", default=[])
    options = parser.parse_args()
    try:
        convert(options.file, options.recipe, options.out, options.sources)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
